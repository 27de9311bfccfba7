"""A delineation: the open contours of both joints, slice by slice.

A contour follows the midline of the joint space from its superior to its inferior visible end.
Points are pixel indices of the image they were drawn on, index-centred: (0, 0) is the centre of
the first pixel.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.findings import Side


@dataclass(frozen=True, eq=False)
class Contour:
    """One joint on one slice.

    Parameters
    ----------
    slice_index
        Index along the first axis of the volume.
    side
        The patient's side.
    points
        Vertices ``(row, column)`` from superior to inferior, float64, shape ``(n, 2)``, n ≥ 2.
    quality
        Confidence, 0 to 1.
    """

    slice_index: int
    side: Side
    points: NDArray[np.float64]
    quality: float

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 2 or len(self.points) < 2:
            raise ValueError(
                f"a contour needs two or more (row, column) points, got {self.points.shape}"
            )
        if not np.isfinite(self.points).all():
            raise ValueError("contour points must be finite")
        if not 0 <= self.quality <= 1:
            raise ValueError(f"quality {self.quality} is not within 0 to 1")


@dataclass(frozen=True, eq=False)
class Delineation:
    """All contours of one volume, at most one per slice and side."""

    contours: tuple[Contour, ...]

    def __post_init__(self) -> None:
        if len(self._by_place) != len(self.contours):
            raise ValueError("more than one contour for the same slice and side")

    @cached_property
    def _by_place(self) -> dict[tuple[int, Side], Contour]:
        return {(contour.slice_index, contour.side): contour for contour in self.contours}

    def on(self, slice_index: int, side: Side) -> Contour | None:
        """The contour of a joint on a slice, or None if the joint is not visible there."""
        return self._by_place.get((slice_index, side))

    def of(self, side: Side) -> tuple[Contour, ...]:
        """All contours of one joint, by slice."""
        return tuple(
            sorted((c for c in self.contours if c.side is side), key=lambda c: c.slice_index)
        )
