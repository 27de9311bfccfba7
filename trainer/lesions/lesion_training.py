"""Training the lesion network: joints, batches, loss, calibration and thresholds.

A label is positive where the Berlin score is 1 or more.

Source: paper, "Detecting SIJ lesions" and "Implementation details".
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from models.findings import HEADS, POSITIONS, Side
from models.image_quality import Reference, reference_of, whole_joint
from models.lesion_resnet34 import LesionResNet34
from trainer.augmentation import LIKELY, Movement, degraded, moved_images, random_moves
from trainer.lesions.calibration_fit import HEADS_OF_LESION, fitted_calibration, log_odds
from trainer.lesions.synthetic_erosions import with_synthetic_erosions
from trainer.metrics.classification import best_threshold
from trainer.prepared_cases import GREY_PER_UNIT, UNREAD, StoredCase, read_case

SLICES_PER_JOINT = 8
"""Slices of each sequence in a training step, spread evenly over the joint."""

GENTLE = Movement(translation=0.05, scale=0.1, rotation_deg=8.0)
"""Crops are already aligned with the contours, so they are moved only slightly; a mirrored crop is
a joint of the other side."""


@dataclass(frozen=True, eq=False)
class JointSample:
    """One joint: crops and zones of both sequences, and its 14 labels.

    Parameters
    ----------
    t1, stir
        uint8, ``(2, slices, size, size)``: intensities, then zones.
    positive
        Training targets: by default 0, 1, or NaN without a label, ``(14,)`` in the order of
        HEADS.
    grades
        True Berlin grades, ``(14,)``; NaN without a label.
    readings
        The site's readings, int8, ``(14, readers, sessions)``; None for a phantom.
    """

    t1: Tensor
    stir: Tensor
    positive: Tensor
    grades: Tensor
    readings: Tensor | None = None


def joint_samples(case: StoredCase) -> tuple[JointSample, ...]:
    """The joints of a case that are on both sequences; none if its lesions are unreadable."""
    if not case.lesions_readable:
        return ()
    severity = torch.from_numpy(case.severity).float()
    grades = torch.where(severity == UNREAD, torch.nan, severity)
    labels = torch.where(severity == UNREAD, torch.nan, (severity >= 1).float())
    samples = []
    for side in Side:
        mine = torch.tensor([position.side is side for position in POSITIONS])
        both = (case.rois.get(("t1", side)), case.rois.get(("stir", side)))
        if both[0] is not None and both[1] is not None:
            t1, stir = (torch.from_numpy(roi) for roi in both if roi is not None)
            read = None if case.readings is None else torch.from_numpy(case.readings)[mine]
            samples.append(JointSample(t1, stir, labels[mine], grades[mine], read))
    return tuple(samples)


def read_joints(folder: Path, seeds: range) -> tuple[JointSample, ...]:
    """All joints of a range of cases."""
    return tuple(sample for seed in seeds for sample in joint_samples(read_case(folder, seed)))


def lesion_batches(
    joints: tuple[JointSample, ...],
    size: int,
    generator: torch.Generator,
    synthetic_erosions: float = 0.0,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """An endless stream of augmented crops, zones ``(2 · size, 8, px, px)``, T1 first, and labels.

    A share `synthetic_erosions` of the joints gets synthetic erosions.
    """
    while True:
        order = torch.randperm(len(joints), generator=generator).tolist()
        for first in range(0, len(order) - size + 1, size):
            chosen = [joints[number] for number in order[first : first + size]]
            sequences = [joint.t1 for joint in chosen] + [joint.stir for joint in chosen]
            stacks = torch.stack([_spread_slices(roi, generator) for roi in sequences]).float()
            positive = torch.stack([joint.positive for joint in chosen])
            stacks[:, 0] /= GREY_PER_UNIT
            stacks, positive = with_synthetic_erosions(
                stacks, positive, synthetic_erosions, generator
            )
            yield *_moved(stacks, generator), positive


def _spread_slices(roi: Tensor, generator: torch.Generator) -> Tensor:
    """Eight slices in order, a random one from each eighth of the joint."""
    share = torch.rand(SLICES_PER_JOINT, generator=generator)
    at = (torch.arange(SLICES_PER_JOINT) + share) * roi.shape[1] / SLICES_PER_JOINT
    return roi[:, at.long().clamp(max=roi.shape[1] - 1)]


def _moved(stacks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Transform both sequences of a joint alike; degrade each one independently."""
    half = len(stacks) // 2
    moves = random_moves(half, GENTLE, generator)[0].repeat(2, 1, 1)
    grey = moved_images(stacks[:, 0], moves)
    zones = moved_images(stacks[:, 1], moves, mode="nearest")
    return degraded(grey, LIKELY, generator), zones.to(torch.uint8)


def lesion_logits(network: LesionResNet34, squares: Tensor, zones: Tensor) -> Tensor:
    """Logits of a batch from `lesion_batches`, T1 in its first half."""
    present = torch.ones(squares.shape[:2], dtype=torch.bool)
    t1, stir = network.encode(squares, zones, present).chunk(2)
    logits: Tensor = network(t1, stir)
    return logits


def joint_probabilities(network: LesionResNet34, joint: JointSample) -> NDArray[np.float64]:
    """The 14 probabilities of one joint, from all its slices."""
    with torch.inference_mode():
        logits: Tensor = network(*_described(network, joint))
        return logits[0].double().sigmoid().numpy()


def _described(network: LesionResNet34, joint: JointSample) -> list[Tensor]:
    """The embeddings of T1 and STIR of one joint, from all its slices."""
    described = []
    for roi in (joint.t1, joint.stir):
        present = torch.ones(1, roi.shape[1], dtype=torch.bool)
        described.append(network.encode(roi[:1].float() / GREY_PER_UNIT, roi[1:], present))
    return described


def reference_on(network: LesionResNet34, joints: tuple[JointSample, ...]) -> Reference:
    """Distribution of the embeddings of validation joints, for the analyser's outlier check."""
    network.eval()
    with torch.inference_mode():
        return reference_of(
            torch.stack([whole_joint(_described(network, joint)) for joint in joints])
        )


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and probabilities of many joints, both ``(joints, 14)``.

    Parameters
    ----------
    positive
        1, 0, or NaN without a label.
    """

    positive: NDArray[np.float64]
    probability: NDArray[np.float64]

    def known(self, heads: list[int]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Labels and probabilities of some heads pooled, where there is a label."""
        labels, probability = self.positive[:, heads], self.probability[:, heads]
        known = ~np.isnan(labels)
        return labels[known] > 0, probability[known]


def predictions(network: LesionResNet34, joints: tuple[JointSample, ...]) -> Predictions:
    """Run a network on all joints."""
    network.eval()
    probability = np.stack([joint_probabilities(network, joint) for joint in joints])
    labels = np.stack([joint.positive.double().numpy() for joint in joints])
    return Predictions(labels, probability)


def chosen_settings(of: Predictions, cases: str) -> dict[str, Any]:
    """Settings for the model card: calibration, thresholds, and the cases used to choose them.

    Parameters
    ----------
    of
        Predictions on cases not used for training.
    cases
        Description of the cases.

    Returns
    -------
    dict
        Thresholds apply to calibrated probabilities.
    """
    logits = log_odds(of.probability)
    calibration = fitted_calibration(logits, of.positive, cases)
    calibrated = Predictions(of.positive, calibration.probabilities(logits))
    return {
        "calibration": asdict(calibration),
        "thresholds": head_thresholds(calibrated),
        "thresholds_chosen": f"highest balanced accuracy of each lesion on {cases}",
    }


def head_thresholds(of: Predictions) -> tuple[float, ...]:
    """A threshold for each head: the best of its lesion, over all positions pooled."""
    by_lesion = {
        lesion: best_threshold(*of.known(heads)) for lesion, heads in HEADS_OF_LESION.items()
    }
    return tuple(by_lesion[head.lesion] for head in HEADS)


def lesion_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Binary cross-entropy over all heads, ``(joints, 14)``, where there is a label."""
    known = ~positive.isnan()
    each = nnf.binary_cross_entropy_with_logits(logits, positive.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)
