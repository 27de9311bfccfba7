"""Peaks of heatmaps with subpixel accuracy: the superior and inferior end of a joint."""

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]
Points = NDArray[np.float64]
Heights = NDArray[np.float64]

_PARABOLA_PX = 2
"""Distance of the samples on either side of a peak that refine it; more than 1 reduces noise."""


def peaks(heatmaps: Maps) -> tuple[Points, Heights]:
    """Position and height of each heatmap's highest peak.

    Parameters
    ----------
    heatmaps
        ``(n, size, size)``.

    Returns
    -------
    tuple
        (row, column), ``(n, 2)``, with subpixel accuracy from a parabola through the logarithm of
        the heatmap, which is exact for a Gaussian; heights, ``(n,)``.
    """
    each = np.arange(len(heatmaps))
    best = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1)
    row, column = np.unravel_index(best, heatmaps.shape[1:])
    heights = heatmaps[each, row, column].astype(np.float64)
    return _refined(heatmaps, row, column), heights


def _refined(heatmaps: Maps, row: NDArray[np.intp], column: NDArray[np.intp]) -> Points:
    count, rows, columns = heatmaps.shape
    each = np.arange(count)
    row = np.clip(row, _PARABOLA_PX, rows - 1 - _PARABOLA_PX)
    column = np.clip(column, _PARABOLA_PX, columns - 1 - _PARABOLA_PX)
    offsets = []
    for down, right in ((_PARABOLA_PX, 0), (0, _PARABOLA_PX)):
        before, here, after = (
            np.log(np.maximum(heatmaps[each, row + way * down, column + way * right], 1e-3))
            for way in (-1, 0, 1)
        )
        bend = np.minimum(before - 2 * here + after, -1e-3)
        offsets.append(np.clip(0.5 * (before - after) / bend, -0.5, 0.5) * _PARABOLA_PX)
    refined: Points = np.stack([row, column], axis=1) + np.stack(offsets, axis=1)
    return refined
