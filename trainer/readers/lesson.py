"""What the lesion network is taught from: true labels, or what readers say.

With readers, network and readers' matrices learn together; afterwards the matrices are laid
aside. The one that leads to the consensus never changes the order of two joints, and calibration
takes its place.

Source: paper, "The classification pipeline" (trained end to end).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from models.lesion_resnet34 import LesionResNet34
from trainer.experiment import Experiment, ExperimentInvalid
from trainer.lesion_training import JointSample, lesion_loss
from trainer.phantom.readers import read_by
from trainer.phantom.trials import TRIALS
from trainer.readers.models import readers_of
from trainer.readings import Readings

TRIAL = TRIALS["measure-like"]
"""Whose readers read the training cases, in all its sessions."""

PACE = 50.0
"""The matrices learn so many times faster than the network."""

TYPICAL_CONTRAST = 0.6
"""Of every lesion; prepared cases do not keep how clearly each one shows."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """How a lesion network is taught.

    Parameters
    ----------
    module
        Everything that learns.
    joints
        With what they teach.
    loss
        From logits, what the joints teach, and the share of the training that is done.
    """

    module: nn.Module
    joints: tuple[JointSample, ...]
    loss: Callable[[Tensor, Tensor, float], Tensor]


def lesson_of(plan: Experiment, network: LesionResNet34, joints: tuple[JointSample, ...]) -> Lesson:
    """What an experiment wants its network to learn from.

    Raises
    ------
    ExperimentInvalid
        If readers are wanted of cases that are no phantoms: those keep their consensus only.
    """
    if plan.readers is None:
        return Lesson(network, joints, lambda logits, taught, _: lesion_loss(logits, taught))
    if not plan.cases.are_phantoms:
        raise ExperimentInvalid(
            f"{plan.name} has [readers], but its cases keep only the consensus of theirs; "
            "leave [readers] out"
        )
    readers = readers_of(plan.readers, len(TRIAL.readers), len(TRIAL.last_week_read), PACE)
    targets = readers.targets(simulated_readings(joints, plan.seed))
    taught = tuple(
        replace(joint, positive=target) for joint, target in zip(joints, targets, strict=True)
    )
    return Lesson(nn.ModuleList([network, readers]), taught, readers.loss)


def simulated_readings(joints: Sequence[JointSample], seed: int) -> Readings:
    """What the trial's readers say of phantom joints, each in all sessions."""
    grades = torch.stack([joint.grades for joint in joints]).numpy().astype(np.int64)
    contrast = np.where(grades >= 1, TYPICAL_CONTRAST, 0.0)
    everyone = np.ones((len(joints), len(TRIAL.readers), len(TRIAL.last_week_read)), bool)
    return read_by(grades, contrast, TRIAL.readers, everyone, np.random.default_rng(seed)).readings
