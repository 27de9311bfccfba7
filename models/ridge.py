"""The way between two known ends when the walk has lost it: along the ridge of the field.

The field converges on the contour, so its negative divergence is highest there. The cheapest
path over that map always arrives.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

Maps = NDArray[np.float32]
Points = NDArray[np.float64]


def geodesic(field: Maps, source: Points, sink: Points, border_px: int = 20) -> Points:
    """The cheapest path from source to sink along the ridge on which the field converges.

    Parameters
    ----------
    field
        ``(2, size, size)``, (row, column) components.
    source, sink
        (row, column).
    border_px
        How far the path may leave the box that both ends span.

    Returns
    -------
    NDArray
        ``(n, 2)``, source first and sink last.
    """
    size = field.shape[-1]
    ends = np.clip(np.rint([source, sink]).astype(int), 0, size - 1)
    low = np.maximum(ends.min(axis=0) - border_px, 0)
    high = np.minimum(ends.max(axis=0) + border_px + 1, size)
    window = field[:, low[0] : high[0], low[1] : high[1]]
    divergence = np.gradient(window[0], axis=0) + np.gradient(window[1], axis=1)
    cost = 1 / (0.05 + np.maximum(0, -divergence))
    first, last = np.ravel_multi_index(tuple((ends - low).T), cost.shape)
    _, before = dijkstra(_grid_graph(cost), indices=first, return_predecessors=True)
    nodes = [last]
    while nodes[-1] != first:
        nodes.append(before[nodes[-1]])
    inner = np.stack(np.unravel_index(nodes[::-1], cost.shape), axis=1)[1:-1] + low
    return np.vstack([source, inner, sink]).astype(np.float64)


def _grid_graph(cost: NDArray[np.floating]) -> coo_array:
    """Eight-connected pixels; an edge costs its length times the mean cost of its ends."""
    rows, columns = cost.shape
    number = np.arange(cost.size).reshape(cost.shape)
    starts, ends, weights = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
        there = (slice(down, rows), slice(max(0, right), columns + min(0, right)))
        starts.append(number[here].ravel())
        ends.append(number[there].ravel())
        weights.append((np.hypot(down, right) * (cost[here] + cost[there]) / 2).ravel())
    start, end, weight = (np.concatenate(part) for part in (starts, ends, weights))
    both = (np.concatenate([weight, weight]), (np.r_[start, end], np.r_[end, start]))
    return coo_array(both, shape=(cost.size, cost.size)).tocsr()
