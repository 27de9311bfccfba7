"""What the lesion network is taught from: labels, or what readers say.

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
from trainer.lesions.lesion_training import JointSample, lesion_loss
from trainer.phantom.simulated_readers import read_by
from trainer.phantom.trials import TRIALS
from trainer.readers.reader_models import readers_of
from trainer.readers.readings import Readings

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
        If readers are wanted of a site's own cases that keep no readings, or the experiment asks
        for a reader or session that nobody was.
    """
    if plan.readers is None:
        return Lesson(network, joints, lambda logits, taught, _: lesion_loss(logits, taught))
    if plan.cases.are_phantoms:
        readings = simulated_readings(joints, plan.seed)
    else:
        readings = kept_readings(joints)
    of_whom, sessions = readings.values.shape[2:]
    readers = readers_of(plan.readers, of_whom, sessions, PACE)
    try:
        targets = readers.targets(readings)
    except ValueError as error:
        raise ExperimentInvalid(
            f"{plan.name} asks for readings that are not there: {error}"
        ) from error
    taught = tuple(
        replace(joint, positive=target) for joint, target in zip(joints, targets, strict=True)
    )
    return Lesson(nn.ModuleList([network, readers]), taught, readers.loss)


def kept_readings(joints: Sequence[JointSample]) -> Readings:
    """What a site's readers said of its own joints; readers and sessions are those that there are.

    Raises
    ------
    ExperimentInvalid
        If a case keeps none.
    """
    values = [joint.readings for joint in joints if joint.readings is not None]
    if not values or len(values) < len(joints):
        raise ExperimentInvalid(
            "an experiment with [readers] needs cases that keep what readers said; prepare them "
            "anew with `python -m trainer import-cases`, or leave [readers] out"
        )
    return Readings(torch.stack(values).numpy())


def simulated_readings(joints: Sequence[JointSample], seed: int) -> Readings:
    """What the trial's readers say of phantom joints, each in all sessions."""
    grades = torch.stack([joint.grades for joint in joints]).numpy().astype(np.int64)
    contrast = np.where(grades >= 1, TYPICAL_CONTRAST, 0.0)
    everyone = np.ones((len(joints), len(TRIAL.readers), len(TRIAL.last_week_read)), bool)
    return read_by(grades, contrast, TRIAL.readers, everyone, np.random.default_rng(seed)).readings
