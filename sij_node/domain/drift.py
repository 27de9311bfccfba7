"""Detects drift: changes in a sender's images, or in the results for them.

A few figures are stored for each analysed study: geometry and intensities, contour quality, lesion
probabilities. A sender's most recent studies are compared with its first ones. A new scanner, a
changed protocol or images unlike the training data show up as a shift.

Source: the two-sample Kolmogorov-Smirnov distance and its significance (Smirnov, 1948).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from models.delineation import Delineation
from models.findings import Lesion
from models.findings import Sequence as Kind
from models.volume import Volume

REFERENCE_STUDIES = 100
"""Number of a sender's first studies, which the most recent ones are compared with."""
RECENT_STUDIES = 50
MIN_STUDIES = 30
"""Minimum number of studies on either side for a comparison."""
CHANCE = 1e-5
"""False positive rate of a single comparison."""

Figures = Mapping[str, float]
"""The stored figures of a study, by name."""


@dataclass(frozen=True)
class Shift:
    """Change in one figure of a sender.

    Parameters
    ----------
    reference, recent
        Mean over the first and over the most recent studies.
    distance
        From 0 (the same values) to 1 (no value in common).
    limit
        Largest distance compatible with chance.
    """

    figure: str
    reference: float
    recent: float
    distance: float
    limit: float

    @property
    def is_beyond(self) -> bool:
        """Whether the figure has changed."""
        return self.distance > self.limit


@dataclass(frozen=True)
class Histories:
    """Figures of a sender's first and most recent studies, in any order."""

    reference: Sequence[Figures]
    recent: Sequence[Figures]


def input_figures(seen: Mapping[Kind, tuple[Volume, Delineation]]) -> dict[str, float]:
    """Figures of a study's images and contours.

    Examples
    --------
    For each sequence, such as T1: ``T1 pixel mm``, ``T1 slice distance mm``, ``T1 slices``,
    ``T1 brightness ratio``, ``T1 contours`` and ``T1 contour quality``.
    """
    figures: dict[str, float] = {}
    for kind, (volume, delineation) in seen.items():
        slice_distance_mm, row_mm, _ = volume.spacing_mm
        qualities = [contour.quality for contour in delineation.contours]
        figures |= {
            f"{kind} pixel mm": row_mm,
            f"{kind} slice distance mm": slice_distance_mm,
            f"{kind} slices": float(len(volume.voxels)),
            f"{kind} brightness ratio": brightness_ratio(volume.voxels),
            f"{kind} contours": float(len(qualities)),
        }
        if qualities:
            figures[f"{kind} contour quality"] = float(np.mean(qualities))
    return {name: round(float(value), 4) for name, value in figures.items()}


def brightness_ratio(voxels: NDArray[np.float32]) -> float:
    """Ratio of the 99th percentile to the median of all voxels that are not air.

    It does not depend on the scanner's intensity scale; 0 if everything is air.
    """
    few = voxels[::2, ::4, ::4]
    tissue = few[few > few.max(initial=0) * 0.02]
    if not tissue.size:
        return 0.0
    middle, bright = np.percentile(tissue, (50, 99))
    return float(bright / middle)


def positive(lesion: Lesion) -> str:
    """Name of the figure that is 1 if a study has the lesion, otherwise 0."""
    return f"{lesion} present"


def probable(lesion: Lesion) -> str:
    """Name of the figure that is the mean probability of the lesion over a study."""
    return f"{lesion} probability"


def shifts(histories: Histories) -> tuple[Shift, ...]:
    """Changes of all figures with enough studies for a comparison."""
    found = (
        _shift(name, _values(name, histories.reference), _values(name, histories.recent))
        for name in sorted({name for study in histories.recent for name in study})
    )
    return tuple(shift for shift in found if shift is not None)


def mean_of(name: str, studies: Iterable[Figures]) -> float | None:
    """Mean of a figure; None if no study has it."""
    values = _values(name, studies)
    return float(values.mean()) if values.size else None


def _shift(name: str, reference: NDArray[np.float64], recent: NDArray[np.float64]) -> Shift | None:
    if min(reference.size, recent.size) < MIN_STUDIES:
        return None
    return Shift(
        name,
        float(reference.mean()),
        float(recent.mean()),
        distance(reference, recent),
        limit(reference.size, recent.size),
    )


def _values(name: str, studies: Iterable[Figures]) -> NDArray[np.float64]:
    return np.array([study[name] for study in studies if name in study], dtype=np.float64)


def distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov distance: the largest gap between two cumulative distributions.

    Examples
    --------
    >>> distance(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    ends = np.union1d(first, second)
    shares = [
        np.searchsorted(np.sort(values), ends, side="right") / values.size
        for values in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def limit(first: int, second: int) -> float:
    """The distance that samples of these sizes from one distribution exceed with `CHANCE`."""
    return sqrt(-log(CHANCE / 2) / 2) * sqrt((first + second) / (first * second))
