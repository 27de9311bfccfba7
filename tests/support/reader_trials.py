"""A small reader trial without images: noisy features of the truth, and readings of them."""

import numpy as np

from models.findings import HEADS
from models.lesion_resnet34 import zone_of_head
from trainer.phantom.trials import TRIALS
from trainer.reader_study.cross_validation import ReadTrial, read_trial
from trainer.reader_study.trial_visits import TrialJoints

ZONES, CHANNELS = 6, 16


def toy_joints(patients: int, visits: int, seed: int) -> TrialJoints:
    """Joints whose features contain each head's grade in a separate channel."""
    rng = np.random.default_rng(seed)
    joints = patients * visits * 2
    severity = rng.choice(4, (joints, len(HEADS)), p=[0.7, 0.15, 0.1, 0.05]).astype(np.int8)
    features = rng.normal(0, 0.5, (joints, 2, ZONES, CHANNELS)).astype(np.float32)
    for number in range(len(HEADS)):
        features[:, :, zone_of_head(number), number] += severity[:, number, None]
    logits = (severity + rng.normal(-1, 0.5, severity.shape)).astype(np.float32)
    contrast = np.where(severity > 0, 0.6, 0.0)
    patient = np.repeat(np.arange(patients), visits * 2)
    week = np.tile(np.repeat(np.array([0, 52, 104, 208])[:visits], 2), patients)
    left = np.arange(joints) % 2 == 1
    return TrialJoints(features, logits, severity, contrast, patient, week, left)


def toy_trials() -> dict[str, ReadTrial]:
    """Three trials with the names and readers of the real ones."""
    sizes = {"measure-like": (20, 4), "prevent-like": (10, 2), "surpass-like": (10, 2)}
    return {
        name: read_trial(TRIALS[name], toy_joints(*size, seed=number), 1)
        for number, (name, size) in enumerate(sizes.items())
    }
