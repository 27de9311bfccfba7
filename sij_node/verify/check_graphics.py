"""Checks graphics: every line and point lies where it was found.

Source: DICOM PS3.3 C.18.6.1.2 and C.10.5.1.2: pixel coordinates are (column, row), and start at
the corner of the first pixel, not at its centre.
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.delineation import Contour
from models.findings import Side, Sight
from sij_node.errors import ResultsInconsistent
from sij_node.verify.expected_results import SourceSlice, contour_mm, sight_mm

SAME_POINT_PX = 0.05
FROM_CORNER_TO_CENTRE = 0.5

_Points = NDArray[np.float64]


def drawn_mm(graphic: Iterable[float], source: SourceSlice) -> _Points:
    """LPS positions of pixel coordinates (column, row, column, row, …) on an image."""
    pixels = np.array(list(graphic)).reshape(-1, 2)
    return source.plane.at(pixels[:, ::-1] - FROM_CORNER_TO_CENTRE)


def check_line(line: _Points, contour: Contour, source: SourceSlice, what: str) -> None:
    """Check that a drawn line follows a contour.

    Parameters
    ----------
    line
        Vertices, LPS, shape ``(n, 3)``.

    Raises
    ------
    ResultsInconsistent
        If they diverge anywhere, or their end points differ.
    """
    found = contour_mm(source.series, contour)
    ends = np.linalg.norm(line[[0, -1]] - found[[0, -1]], axis=1).max()
    apart_mm = max(_farthest_mm(line, found), _farthest_mm(found, line), float(ends))
    _check_near(apart_mm, source, what)


def check_point(point: _Points, sight: Sight, source: SourceSlice, what: str) -> None:
    """Check that a drawn point lies where a lesion is best seen.

    Raises
    ------
    ResultsInconsistent
        If it does not.
    """
    apart = np.linalg.norm(point - sight_mm(source.series, sight))
    _check_near(float(apart), source, what)


def contour_at(source: SourceSlice, side: Side) -> Contour:
    """The contour found on a slice.

    Raises
    ------
    ResultsInconsistent
        If there is none.
    """
    contour = source.series.delineation.on(source.index, side)
    if contour is None:
        raise ResultsInconsistent(
            f"A contour of the {side} joint is drawn on slice {source.index}, where none was found."
        )
    return contour


def check_all(reported: Sequence[Hashable], found: Sequence[Hashable], what: str) -> None:
    """Check that everything found is reported exactly once, and nothing else is.

    Raises
    ------
    ResultsInconsistent
        If it is not.
    """
    if len(reported) != len(set(reported)) or set(reported) != set(found):
        raise ResultsInconsistent(f"It shows {len(reported)} {what}; {len(found)} were found.")


def is_near(one: _Points, other: _Points, source: SourceSlice) -> bool:
    """Whether two points are equal within rounding."""
    return _in_pixels(float(np.linalg.norm(one - other)), source) <= SAME_POINT_PX


def _in_pixels(apart_mm: float, source: SourceSlice) -> float:
    return apart_mm / min(source.series.source.volume.spacing_mm[1:])


def _check_near(apart_mm: float, source: SourceSlice, what: str) -> None:
    apart_px = _in_pixels(apart_mm, source)
    if apart_px > SAME_POINT_PX:
        raise ResultsInconsistent(
            f"{what} is drawn {apart_px:.2f} pixels from where it was found, on slice "
            f"{source.index}."
        )


def _farthest_mm(points: _Points, line: _Points) -> float:
    """Largest distance of any of the points from a polyline."""
    beginnings, steps = line[:-1], np.diff(line, axis=0)
    from_beginnings = points[:, None] - beginnings
    lengths = np.maximum((steps**2).sum(axis=1), np.finfo(np.float64).tiny)
    parts = np.clip((from_beginnings * steps).sum(axis=2) / lengths, 0, 1)
    apart = np.linalg.norm(from_beginnings - parts[..., None] * steps, axis=2)
    return float(apart.min(axis=1).max())
