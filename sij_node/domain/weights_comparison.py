"""Two sets of weights on the same studies, side by side: what would change with the new ones.

28 scores of each study, which of them change sides of their thresholds, and how far the contours
lie from each other. None of it says which set is right; that takes a reader of the images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.analyser import Analysis
from models.delineation import Delineation
from models.findings import Finding, Lesion
from models.volume import Volume

POINTS = 64
"""Into so many points a contour is parted before distances are measured."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class ScorePair:
    """One position, as both see it.

    Parameters
    ----------
    before, after
        Probabilities; None where a joint was not evaluable.
    """

    position: str
    lesion: Lesion
    before: float | None
    after: float | None
    changes_sides: bool

    @property
    def change(self) -> float | None:
        """By how much the probability grows; None where one of them is missing."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before


@dataclass(frozen=True)
class StudyComparison:
    """One study, as both see it.

    Parameters
    ----------
    contour_mm
        Mean distance of contours that both draw; None where there are none.
    only_before, only_after
        Contours that only one of them draws.
    remark
        Why there is nothing to compare; else empty.
    """

    job_id: int
    study_uid: str
    scores: tuple[ScorePair, ...] = ()
    contour_mm: float | None = None
    only_before: int = 0
    only_after: int = 0
    remark: str = ""


@dataclass(frozen=True)
class WeightsComparison:
    """All studies.

    Parameters
    ----------
    before, after
        Names and versions of the networks of both sets.
    """

    before: str
    after: str
    studies: tuple[StudyComparison, ...]

    @property
    def pairs(self) -> tuple[ScorePair, ...]:
        """The scores of all studies."""
        return tuple(pair for study in self.studies for pair in study.scores)

    @property
    def changing_sides(self) -> int:
        """How many positions become present or absent."""
        return sum(pair.changes_sides for pair in self.pairs)

    @property
    def mean_change(self) -> dict[Lesion, float]:
        """By how much the probabilities of each lesion grow on average."""
        changes = {
            lesion: [p.change for p in self.pairs if p.lesion is lesion and p.change is not None]
            for lesion in Lesion
        }
        return {lesion: fmean(found) for lesion, found in changes.items() if found}

    @property
    def contour_mm(self) -> float | None:
        """Mean distance of the contours over studies."""
        found = [one.contour_mm for one in self.studies if one.contour_mm is not None]
        return fmean(found) if found else None

    def as_json(self) -> dict[str, Any]:
        """Everything, with its summary, for scripts and the page."""
        summary = {
            "positions": len(self.pairs),
            "changing_sides": self.changing_sides,
            "mean_change": dict(self.mean_change),
            "contour_mm": self.contour_mm,
        }
        return {**asdict(self), "summary": summary}


Analyse = Callable[[Volume, Volume], Analysis]


@dataclass(frozen=True, eq=False)
class WeightsOutput:
    """Volumes and what one set of weights says of them."""

    t1: Volume
    stir: Volume
    analysis: Analysis


def compared(
    job_id: int, study_uid: str, before: WeightsOutput, after: WeightsOutput
) -> StudyComparison:
    """Hold two analyses of one study side by side."""
    delineations = [
        (before.t1, before.analysis.t1, after.analysis.t1),
        (before.stir, before.analysis.stir, after.analysis.stir),
    ]
    distances = [mm for volume, one, other in delineations for mm in _distances(volume, one, other)]
    places = [(_places(one), _places(other)) for _, one, other in delineations]
    return StudyComparison(
        job_id,
        study_uid,
        score_pairs(before.analysis.findings, after.analysis.findings),
        fmean(distances) if distances else None,
        sum(len(one - other) for one, other in places),
        sum(len(other - one) for one, other in places),
    )


def score_pairs(before: Sequence[Finding], after: Sequence[Finding]) -> tuple[ScorePair, ...]:
    """The positions of two sets of findings, in their order."""
    return tuple(
        ScorePair(
            str(one.position),
            one.position.head.lesion,
            one.probability,
            other.probability,
            one.presence is not other.presence,
        )
        for one, other in zip(before, after, strict=True)
    )


def _places(delineation: Delineation) -> set[tuple[int, str]]:
    return {(one.slice_index, one.side.value) for one in delineation.contours}


def _distances(volume: Volume, one: Delineation, other: Delineation) -> Iterator[float]:
    """Mean distance in mm for each slice and side on which both draw a contour."""
    spacing = np.array(volume.spacing_mm[1:])
    for contour in one.contours:
        partner = other.on(contour.slice_index, contour.side)
        if partner is not None:
            yield contour_distance_mm(contour.points * spacing, partner.points * spacing)


def contour_distance_mm(one: Points, other: Points) -> float:
    """Mean distance from each contour to the other, both ways.

    Parameters
    ----------
    one, other
        Points in mm, shape ``(n, 2)``.
    """
    a, b = _parted(one), _parted(other)
    apart = np.linalg.norm(a[:, None] - b[None], axis=2)
    return float((apart.min(axis=0).mean() + apart.min(axis=1).mean()) / 2)


def _parted(points: Points) -> Points:
    """Evenly spaced points along a contour."""
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    at = np.linspace(0.0, along[-1], POINTS)
    return np.stack([np.interp(at, along, axis) for axis in points.T], axis=1)
