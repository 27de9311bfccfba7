"""Training targets of the lesion network: true labels, or readings.

With readings, the network and the readers' confusion matrices are trained together; the matrices
are then discarded. The consensus matrix never changes the ranking of joints, and calibration
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
from trainer.lesions.lesion_training import JointSample, lesion_losses
from trainer.phantom.simulated_readers import read_by
from trainer.phantom.trials import TRIALS
from trainer.readers.reader_models import readers_of
from trainer.readers.readings import Readings
from trainer.training_loop import Losses

TRIAL = TRIALS["measure-like"]
"""Its simulated readers read the training cases in every session."""

PACE = 50.0
"""Learning rate of the matrices relative to the network's."""

TYPICAL_CONTRAST = 0.6
"""Contrast assumed for every lesion; prepared cases do not store it."""


@dataclass(frozen=True, eq=False)
class TrainingTargets:
    """What a lesion network is trained on.

    Parameters
    ----------
    module
        All trainable parts.
    joints
        With their targets.
    losses
        Parts of the loss, of logits, targets, and the completed share of the training.
    """

    module: nn.Module
    joints: tuple[JointSample, ...]
    losses: Callable[[Tensor, Tensor, float], Losses]


def training_targets(
    plan: Experiment, network: LesionResNet34, joints: tuple[JointSample, ...]
) -> TrainingTargets:
    """The training targets that an experiment asks for.

    Raises
    ------
    ExperimentInvalid
        If the experiment learns from readings but the cases have none, or if it names a reader
        or session that does not exist.
    """
    if plan.readers is None:
        return TrainingTargets(
            network, joints, lambda logits, taught, _: lesion_losses(logits, taught)
        )
    if plan.cases.are_phantoms:
        readings = simulated_readings(joints, plan.seed)
    else:
        readings = site_readings(joints)
    of_whom, sessions = readings.values.shape[2:]
    readers = readers_of(plan.readers, of_whom, sessions, PACE)
    try:
        targets = readers.targets(readings)
    except ValueError as error:
        raise ExperimentInvalid(
            f"{plan.name} asks for readings that do not exist: {error}"
        ) from error
    taught = tuple(
        replace(joint, positive=target) for joint, target in zip(joints, targets, strict=True)
    )
    return TrainingTargets(nn.ModuleList([network, readers]), taught, readers.losses)


def site_readings(joints: Sequence[JointSample]) -> Readings:
    """A site's own readings of its joints, with all readers and sessions that occur.

    Raises
    ------
    ExperimentInvalid
        If a case has none.
    """
    values = [joint.readings for joint in joints if joint.readings is not None]
    if not values or len(values) < len(joints):
        raise ExperimentInvalid(
            "an experiment with [readers] needs cases with readings; prepare them "
            "again with `python -m trainer import-cases`, or leave [readers] out"
        )
    return Readings(torch.stack(values).numpy())


def simulated_readings(joints: Sequence[JointSample], seed: int) -> Readings:
    """Simulated readings of phantom joints by all readers in all sessions."""
    grades = torch.stack([joint.grades for joint in joints]).numpy().astype(np.int64)
    contrast = np.where(grades >= 1, TYPICAL_CONTRAST, 0.0)
    everyone = np.ones((len(joints), len(TRIAL.readers), len(TRIAL.last_week_read)), bool)
    return read_by(grades, contrast, TRIAL.readers, everyone, np.random.default_rng(seed)).readings
