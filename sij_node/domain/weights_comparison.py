"""Compares two sets of weights on the same studies.

For each study: the 28 scores, which of them cross their threshold, and the distance between the
contours. The comparison does not show which set is right; that requires a reader.
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
"""Number of points to which contours are resampled before measuring distances."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class ScorePair:
    """The scores of both sets at one position.

    Parameters
    ----------
    before, after
        Probabilities; None if not evaluable.
    """

    position: str
    lesion: Lesion
    before: float | None
    after: float | None
    changes_sides: bool

    @property
    def change(self) -> float | None:
        """Change in probability; None if either is missing."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before


@dataclass(frozen=True)
class StudyComparison:
    """The comparison for one study.

    Parameters
    ----------
    contour_mm
        Mean distance between contours that both sets found; None if there are none.
    only_before, only_after
        Number of contours that only one set found.
    remark
        Why the study could not be compared; otherwise empty.
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
    """The comparison over all studies.

    Parameters
    ----------
    before, after
        Names and versions of both sets' networks.
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
        """Number of positions that change between present and absent."""
        return sum(pair.changes_sides for pair in self.pairs)

    @property
    def mean_change(self) -> dict[Lesion, float]:
        """Mean change in probability of each lesion."""
        changes = {
            lesion: [p.change for p in self.pairs if p.lesion is lesion and p.change is not None]
            for lesion in Lesion
        }
        return {lesion: fmean(found) for lesion, found in changes.items() if found}

    @property
    def contour_mm(self) -> float | None:
        """Mean distance between contours over studies."""
        found = [one.contour_mm for one in self.studies if one.contour_mm is not None]
        return fmean(found) if found else None

    def as_json(self) -> dict[str, Any]:
        """The whole comparison with a summary, for scripts and the page."""
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
    """Volumes and their analysis with one set of weights."""

    t1: Volume
    stir: Volume
    analysis: Analysis


def compared(
    job_id: int, study_uid: str, before: WeightsOutput, after: WeightsOutput
) -> StudyComparison:
    """Compare two analyses of a study."""
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
    """Pairs of scores from two sets of findings in the same order."""
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
    """Mean distance in mm for each slice and side with both contours."""
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
    a, b = _resampled(one), _resampled(other)
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    return float((distances.min(axis=0).mean() + distances.min(axis=1).mean()) / 2)


def _resampled(points: Points) -> Points:
    """Evenly spaced points along a contour."""
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    at = np.linspace(0.0, along[-1], POINTS)
    return np.stack([np.interp(at, along, axis) for axis in points.T], axis=1)
