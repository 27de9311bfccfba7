"""The line along the middle of an area: masks of a joint, and outlines around it.

An area is read from top to bottom: on each row, the line runs halfway between its edges.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.delineation import Contour, Delineation
from models.findings import Side
from models.orientation import canonical
from models.volume import Volume

LEAST_MM = 7.0
"""A shorter line shows no joint."""
OUTLINE_ROWS_MM = 0.5

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


def middle_line(mask: Mask, pixel_mm: tuple[float, float]) -> Floats | None:
    """The middle of a mask on each row, ``(rows, 2)`` as (row, column); None if too short.

    Parameters
    ----------
    mask
        ``(rows, columns)``; the longest run of rows that it covers counts.
    pixel_mm
        Size of a row and of a column.
    """
    rows = np.flatnonzero(mask.any(axis=1)).astype(float)
    columns = np.array([np.flatnonzero(mask[int(row)])[[0, -1]].mean() for row in rows])
    return line_on_rows(rows, columns, pixel_mm[0])


def line_on_rows(rows: Floats, columns: Floats, row_mm: float) -> Floats | None:
    """A smoothed line through one column on each row, where rows follow each other longest.

    Returns
    -------
    NDArray or None
        ``(rows, 2)``; None if it is shorter than LEAST_MM.
    """
    edges = np.flatnonzero(np.diff(rows, prepend=-9, append=np.inf) > 1)
    if len(edges) < 2:
        return None
    longest = int(np.diff(edges).argmax())
    part = slice(int(edges[longest]), int(edges[longest + 1]))
    if (part.stop - part.start) * row_mm < LEAST_MM:
        return None
    return np.stack([rows[part], _smoothed(columns[part])], axis=1)


def _smoothed(columns: Floats) -> Floats:
    padded = np.pad(columns, 2, mode="edge")
    return np.convolve(padded, np.ones(5) / 5, mode="valid")


def mask_delineation(volume: Volume, joints: Mapping[Side, Volume]) -> Delineation:
    """The contours that masks of the joints show on the slices of a volume.

    Parameters
    ----------
    volume
        The image.
    joints
        Mask of each joint, on the grid of the image.
    """
    grid = canonical(volume)
    contours = []
    for side, mask in joints.items():
        for index, area in enumerate(canonical(mask).voxels > 0):
            line = middle_line(area, grid.spacing_mm[1:])
            if line is not None:
                contours.append(contour_given(index, side, line, grid, volume))
    return Delineation(tuple(contours))


def contour_given(index: int, side: Side, line: Floats, grid: Volume, given: Volume) -> Contour:
    """A line on a slice of a canonical volume, as a contour of the volume as it was given."""
    at = given.to_indices(grid.to_patient(np.insert(line, 0, index, axis=1)))
    return Contour(round(float(at[0, 0])), side, at[:, 1:], 1.0)


def outline_line(outline: Floats) -> Floats | None:
    """The line along the middle of a closed outline, from top to bottom.

    Parameters
    ----------
    outline
        Points of a planar polygon in the patient, LPS millimetres, ``(n, 3)``.

    Returns
    -------
    NDArray or None
        ``(rows, 3)``; None if the outline is too low to show a joint, or lies in an axial plane.
    """
    centre = outline.mean(axis=0)
    normal = np.linalg.svd(outline - centre)[2][2]
    down = np.array([0.0, 0.0, -1.0]) + normal[2] * normal
    if np.linalg.norm(down) < 0.5:
        return None
    down /= np.linalg.norm(down)
    across = np.cross(normal, down)
    height, width = (outline - centre) @ down, (outline - centre) @ across
    inside = np.arange(height.min() + 0.01, height.max() - 0.01, OUTLINE_ROWS_MM)
    middles = np.array([_middle_of(row, height, width) for row in inside])
    line = line_on_rows(np.arange(len(inside), dtype=float), middles, OUTLINE_ROWS_MM)
    if line is None:
        return None
    return np.asarray(centre + np.outer(inside, down) + np.outer(line[:, 1], across))


def _middle_of(row: float, height: Floats, width: Floats) -> float:
    """Halfway between the outermost edges of a polygon on a row."""
    following, beside = np.roll(height, -1), np.roll(width, -1)
    crossed = (height <= row) != (following <= row)
    share = (row - height[crossed]) / (following[crossed] - height[crossed])
    at = width[crossed] + share * (beside[crossed] - width[crossed])
    return float((at.min() + at.max()) / 2)
