"""Where a joint can begin and end on a slice.

A heatmap of an end can have more than one peak: where cartilage is interrupted, the upper part
has its own lower end. All clear peaks are kept; which of them belong together is decided later,
by the field between them.
"""

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]
Points = NDArray[np.float64]
Heights = NDArray[np.float64]

_PARABOLA_PX = 2
"""A peak is refined from values this far to either side, which steadies it against noise."""

_BLOCK_PX = 8
"""Peaks in the same or a neighbouring block of this side are one peak."""

_LOWEST, _LOWEST_SHARE = 0.05, 0.15
"""A further peak has at least this height, and this share of the highest one."""


def peaks(heatmaps: Maps) -> tuple[Points, Heights]:
    """Place and height of each heatmap's highest peak.

    Parameters
    ----------
    heatmaps
        ``(n, size, size)``.

    Returns
    -------
    tuple
        (row, column) refined below a pixel by the parabola through the heatmap's logarithm, which
        is exact for a Gaussian, ``(n, 2)``; heights ``(n,)``.
    """
    each = np.arange(len(heatmaps))
    best = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1)
    row, column = np.unravel_index(best, heatmaps.shape[1:])
    heights = heatmaps[each, row, column].astype(np.float64)
    return _refined(heatmaps, each, row, column), heights


def _refined(
    heatmaps: Maps,
    which: NDArray[np.intp],
    row: NDArray[np.intp],
    column: NDArray[np.intp],
) -> Points:
    rows, columns = heatmaps.shape[1:]
    row = np.clip(row, _PARABOLA_PX, rows - 1 - _PARABOLA_PX)
    column = np.clip(column, _PARABOLA_PX, columns - 1 - _PARABOLA_PX)
    offsets = []
    for down, right in ((_PARABOLA_PX, 0), (0, _PARABOLA_PX)):
        before, here, after = (
            np.log(np.maximum(heatmaps[which, row + way * down, column + way * right], 1e-3))
            for way in (-1, 0, 1)
        )
        bend = np.minimum(before - 2 * here + after, -1e-3)
        offsets.append(np.clip(0.5 * (before - after) / bend, -0.5, 0.5) * _PARABOLA_PX)
    refined: Points = np.stack([row, column], axis=1) + np.stack(offsets, axis=1)
    return refined


def clear_peaks(heatmaps: Maps, most: int) -> list[tuple[Points, Heights]]:
    """The clear peaks of each heatmap, the highest first.

    Parameters
    ----------
    heatmaps
        ``(n, size, size)``; what exceeds a multiple of 8 pixels is not searched.
    most
        No more than this many each.

    Returns
    -------
    list
        Places ``(peaks, 2)`` and heights ``(peaks,)`` of each heatmap; at least one.
    """
    blocks = _in_blocks(heatmaps)
    heights = blocks.max(axis=3)
    lowest = np.maximum(_LOWEST, _LOWEST_SHARE * heights.max(axis=(1, 2), keepdims=True))
    which, down, right = np.nonzero((heights == _around(heights)) & (heights >= lowest))
    inside = blocks[which, down, right].argmax(axis=1)
    row, column = down * _BLOCK_PX + inside // _BLOCK_PX, right * _BLOCK_PX + inside % _BLOCK_PX
    places, found = _refined(heatmaps, which, row, column), heights[which, down, right]
    highest, their_heights = peaks(heatmaps)
    clear = []
    for number in range(len(heatmaps)):
        of_it = np.flatnonzero(which == number)
        first = of_it[np.argsort(-found[of_it], kind="stable")][:most]
        if len(first) > 1:
            clear.append((places[first], found[first].astype(np.float64)))
        else:
            clear.append((highest[[number]], their_heights[[number]]))
    return clear


def _in_blocks(heatmaps: Maps) -> Maps:
    """The pixels of each block, ``(n, blocks down, blocks across, pixels)``."""
    count, rows, columns = heatmaps.shape
    down, right = rows // _BLOCK_PX, columns // _BLOCK_PX
    whole = heatmaps[:, : down * _BLOCK_PX, : right * _BLOCK_PX]
    parted = whole.reshape(count, down, _BLOCK_PX, right, _BLOCK_PX)
    return parted.transpose(0, 1, 3, 2, 4).reshape(count, down, right, _BLOCK_PX**2)


def _around(heights: Maps) -> Maps:
    """The largest value in each block's neighbourhood of 3 × 3, itself included."""
    padded = np.pad(heights, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    across = np.maximum(np.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    return np.maximum(np.maximum(across[:, :-2], across[:, 1:-1]), across[:, 2:])
