"""Simulated readers: their calls, and their true error rates.

A reader forms an opinion of each position. Severe, high-contrast lesions are rarely missed, faint
grade 1 lesions often; a lesion too small to be graded is called more often than normal tissue. In
each session the reader sometimes deviates from this opinion. The probabilities are known, and so
is the true confusion matrix of every reader.

Source: error rates and agreement (Cohen's kappa) as in published reading exercises: oedema about
.60, erosion .55, fatty lesion .65, sclerosis .45, ankylosis .75.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import HEADS, POSITIONS, QUADRANTS, Lesion, Position
from trainer.phantom.case import PhantomCase
from trainer.phantom.lesion_maps import JointLesions, Mask
from trainer.readers.readings import MISSING, Readings

Floats = NDArray[np.float64]

LITERATURE_KAPPA = {
    Lesion.OEDEMA: 0.60,
    Lesion.EROSION: 0.55,
    Lesion.FATTY_LESION: 0.65,
    Lesion.SCLEROSIS: 0.45,
    Lesion.ANKYLOSIS: 0.75,
}
"""Inter-reader kappa in published exercises."""

SESSION_MISSES, SESSION_ADDS = 0.05, 0.01
"""Probability that a session deviates from the reader's opinion: present, absent."""

PER_GRADE, PER_CONTRAST = 1.5, 3.0
"""Log-odds gained per Berlin grade, and from lowest to highest contrast."""


@dataclass(frozen=True)
class LesionVisibility:
    """Visibility of a lesion, as log-odds of being called present.

    Parameters
    ----------
    first_grade
        A grade 1 lesion of medium contrast.
    too_small
        An ungraded lesion of medium contrast.
    nothing
        Normal tissue.
    """

    first_grade: float
    too_small: float
    nothing: float


EYES = {
    Lesion.OEDEMA: LesionVisibility(1.2, -2.4, -3.7),
    Lesion.EROSION: LesionVisibility(0.7, -0.8, -2.85),
    Lesion.FATTY_LESION: LesionVisibility(1.45, -2.1, -3.3),
    Lesion.SCLEROSIS: LesionVisibility(0.1, -2.5, -2.5),
    Lesion.ANKYLOSIS: LesionVisibility(2.7, -5.8, -5.8),
}
"""Chosen so that two readers of the largest trial agree as in the literature. A reading then has
false negative rates of about 21, 17, 15, 26 and 14 %, and false positive rates of 5, 7, 6, 9 and
1 %."""


@dataclass(frozen=True)
class SimulatedReader:
    """A reader: name, and bias towards calling lesions present, in log-odds."""

    name: str
    leaning: float


def chance_of_calling(
    severity: NDArray[np.integer], contrast: Floats, reader: SimulatedReader
) -> Floats:
    """Probability that a reader's opinion of each position is "present".

    Parameters
    ----------
    severity
        Berlin grades, ``(joints, 14)`` in the order of HEADS.
    contrast
        Contrast of each lesion, 0 (none) to 1, same shape.

    Returns
    -------
    NDArray
        ``(joints, 14)``.
    """
    eyes = [EYES[head.lesion] for head in HEADS]
    first, small, nothing = (
        np.array([getattr(eye, name) for eye in eyes])
        for name in ("first_grade", "too_small", "nothing")
    )
    clear = PER_CONTRAST * (contrast - 0.5)
    log_odds = np.where(
        severity >= 1,
        first + PER_GRADE * (severity - 1) + clear,
        np.where(contrast > 0, small + clear, nothing),
    )
    return np.asarray(1 / (1 + np.exp(-log_odds - reader.leaning)))


@dataclass(frozen=True, eq=False)
class ErrorRates:
    """Error rates of a reading per head, ``(14,)`` each."""

    false_positive: Floats
    false_negative: Floats


@dataclass(frozen=True, eq=False)
class SimulatedReadings:
    """Simulated readings, and the true error rates of each reader.

    Parameters
    ----------
    readings
        Of all joints.
    confusion
        Of one session of each reader, in order.
    """

    readings: Readings
    confusion: tuple[ErrorRates, ...]


def read_by(
    severity: NDArray[np.integer],
    contrast: Floats,
    readers: Sequence[SimulatedReader],
    covered: NDArray[np.bool_],
    rng: np.random.Generator,
) -> SimulatedReadings:
    """Simulate the readings of joints.

    Parameters
    ----------
    severity, contrast
        See `chance_of_calling`.
    covered
        True where a reader reads a joint in a session, ``(joints, readers, sessions)``.
    """
    values = np.full((*severity.shape, *covered.shape[1:]), MISSING, np.int8)
    confusion = []
    for number, reader in enumerate(readers):
        chance = chance_of_calling(severity, contrast, reader)
        opinion = rng.random(chance.shape) < chance
        for session in range(covered.shape[2]):
            drawn = rng.random(chance.shape)
            says = np.where(opinion, drawn >= SESSION_MISSES, drawn < SESSION_ADDS)
            read = covered[:, number, session]
            values[read, :, number, session] = says[read]
        confusion.append(_confusion(severity >= 1, chance))
    return SimulatedReadings(Readings(values), tuple(confusion))


def _confusion(present: NDArray[np.bool_], chance: Floats) -> ErrorRates:
    called = chance * (1 - SESSION_MISSES) + (1 - chance) * SESSION_ADDS
    absent, there = (np.maximum(where.sum(axis=0), 1) for where in (~present, present))
    return ErrorRates(
        (called * ~present).sum(axis=0) / absent, ((1 - called) * present).sum(axis=0) / there
    )


def contrasts(case: PhantomCase) -> Floats:
    """Contrast of each of the 28 lesions, 0 where nothing was drawn, ``(28,)``."""
    patient = case.patient
    return np.array(
        [
            _contrast(patient.lesions[p.side], p, patient.quadrants[p.side].of(p.head.region))
            for p in POSITIONS
        ]
    )


def _contrast(ill: JointLesions, position: Position, inside: Mask) -> float:
    lesion, region = position.head.lesion, position.head.region
    if lesion is Lesion.ANKYLOSIS:
        return float(np.clip(ill.ankylosis[inside].mean(), 0, 1)) if inside.any() else 0.0
    if lesion is Lesion.SCLEROSIS:
        depth_mm = max(_deepest(ill.bank(bone).sclerosis_mm, inside) for bone in QUADRANTS[::2])
        return float(ill.sclerosis_opacity * np.clip((depth_mm - 0.7) / 6, 0, 1))
    bone = ill.bank(region)
    if lesion is Lesion.EROSION:
        return float(np.clip(_deepest(bone.erosion_mm, inside) / 6, 0, 1))
    oedema = lesion is Lesion.OEDEMA
    depth, opacity = (
        (bone.oedema_mm, bone.oedema_opacity) if oedema else (bone.fatty_mm, bone.fatty_opacity)
    )
    drawn = inside & (depth > 0)
    return float(opacity[drawn].mean()) if drawn.any() else 0.0


def _deepest(depth_mm: NDArray[np.float32], inside: Mask) -> float:
    return float(depth_mm[inside].max(initial=0.0))
