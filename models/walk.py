"""From the network's maps to contours: start at the upper end and follow the field downwards.

All joints of all slices walk at once. A walk that loses its way is replaced by the cheapest
path along the ridge on which the field converges.

Source: paper, "Delineating the sacroiliac joints"; the fallback is ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from models.contour_unet import CHANNELS_PER_JOINT, FIELD_COLUMN, FIELD_ROW, SIDES, SINK, SOURCE
from models.findings import Side

_PARABOLA_PX = 2
"""A peak is refined from values this far to either side, which steadies it against noise."""

Maps = NDArray[np.float32]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class WalkRules:
    """How far, how fine and how long to walk; lengths in network pixels.

    Parameters
    ----------
    presence_threshold
        A joint is on a slice where the product of both heatmaps' peaks is above this.
    step_px
        Length of a step.
    arrival_px
        The walk ends this close to the sink, or where the sink's heatmap reaches
        `arrival_heat`.
    detour
        A walk longer than this many times the straight way (and 20 px more) is lost.
    points
        Equally spaced points of a finished contour.
    """

    presence_threshold: float = 0.1
    step_px: float = 1.0
    arrival_px: float = 4.0
    arrival_heat: float = 0.5
    detour: float = 2.0
    points: int = 24


@dataclass(frozen=True, eq=False)
class WalkedContour:
    """A contour in network pixels: (row, column), superior to inferior, ``(points, 2)``."""

    slice_index: int
    side: Side
    points: Points
    quality: float
    walked: bool
    """False where the fallback had to find the way."""


def contours_from_maps(maps: Maps, rules: WalkRules) -> tuple[WalkedContour, ...]:
    """Every contour that the network's maps show.

    Parameters
    ----------
    maps
        ``(slices, 8, size, size)`` as the contour network gives them.
    rules
        Thresholds and lengths.

    Returns
    -------
    tuple of WalkedContour
        One for each slice and side where the joint is present, by slice. The quality is the
        geometric mean of the heatmaps' peaks, halved where the walk did not arrive.
    """
    slices, _, size, _ = maps.shape
    joints = maps.reshape(slices * len(SIDES), CHANNELS_PER_JOINT, size, size)
    sources, source_peaks = peaks(joints[:, SOURCE])
    sinks, sink_peaks = peaks(joints[:, SINK])
    certainty = np.clip(source_peaks, 0, 1) * np.clip(sink_peaks, 0, 1)
    present = np.flatnonzero(certainty > rules.presence_threshold)
    paths = walk(joints[present], sources[present], sinks[present], rules)
    contours = []
    for joint, path in zip(present, paths, strict=True):
        field = joints[joint, [FIELD_ROW, FIELD_COLUMN]]
        line = geodesic(field, sources[joint], sinks[joint]) if path is None else path
        quality = float(np.sqrt(certainty[joint])) * (0.5 if path is None else 1.0)
        slice_index, side = divmod(int(joint), len(SIDES))
        even = evenly_spaced(line, rules.points)
        contours.append(WalkedContour(slice_index, SIDES[side], even, quality, path is not None))
    return tuple(contours)


def peaks(heatmaps: Maps) -> tuple[Points, NDArray[np.float64]]:
    """Place and height of each heatmap's peak.

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
    count, rows, columns = heatmaps.shape
    best = heatmaps.reshape(count, -1).argmax(axis=1)
    row, column = (
        np.clip(at, _PARABOLA_PX, size - 1 - _PARABOLA_PX)
        for at, size in zip(np.unravel_index(best, (rows, columns)), (rows, columns), strict=True)
    )
    each = np.arange(count)
    offsets = []
    for down, right in ((_PARABOLA_PX, 0), (0, _PARABOLA_PX)):
        before, here, after = (
            np.log(np.maximum(heatmaps[each, row + way * down, column + way * right], 1e-3))
            for way in (-1, 0, 1)
        )
        bend = np.minimum(before - 2 * here + after, -1e-3)
        offsets.append(np.clip(0.5 * (before - after) / bend, -0.5, 0.5) * _PARABOLA_PX)
    heights = heatmaps.reshape(count, -1)[each, best].astype(np.float64)
    return np.stack([row, column], axis=1) + np.stack(offsets, axis=1), heights


def walk(joints: Maps, sources: Points, sinks: Points, rules: WalkRules) -> list[Points | None]:
    """Follow every joint's field from its source until its sink is near.

    Parameters
    ----------
    joints
        ``(n, 4, size, size)``.
    sources, sinks
        ``(n, 2)``, (row, column).

    Returns
    -------
    list
        The path of each joint, source first and sink last, shape ``(steps, 2)``; None where the
        walk left the image or did not arrive in time.
    """
    if not len(joints):
        return []
    budget = np.linalg.norm(sinks - sources, axis=1) * rules.detour + 20
    steps = int(np.ceil(budget.max() / rules.step_px))
    place, arrived_at = sources.copy(), np.full(len(joints), -1)
    track = np.empty((steps + 1, *sources.shape))
    for step in range(steps + 1):
        track[step] = place
        heading, heat = _read(joints, place)
        near = np.linalg.norm(place - sinks, axis=1) <= rules.arrival_px
        on_time = step * rules.step_px <= budget
        arrived_at[(arrived_at < 0) & (near | (heat >= rules.arrival_heat)) & on_time] = step
        if (arrived_at >= 0).all():
            break
        length = np.linalg.norm(heading, axis=1, keepdims=True)
        place = place + rules.step_px * heading / np.maximum(length, 1e-6)
    return [
        np.vstack([track[: last + 1, n], sinks[n]]) if last >= 0 else None
        for n, last in enumerate(arrived_at)
    ]


def _read(joints: Maps, places: Points) -> tuple[Points, NDArray[np.float64]]:
    """Field and sink heat at one place per joint, bilinear; the border continues outwards."""
    size = joints.shape[-1]
    inside = np.clip(places, 0, size - 1)
    low = np.minimum(inside.astype(np.intp), size - 2)
    share = inside - low
    which = np.arange(len(joints))[:, None]
    channels = np.array([FIELD_ROW, FIELD_COLUMN, SINK])
    (row, column), (down, right) = low.T[..., None], share.T[..., None]
    value = (
        joints[which, channels, row, column] * (1 - down) * (1 - right)
        + joints[which, channels, row + 1, column] * down * (1 - right)
        + joints[which, channels, row, column + 1] * (1 - down) * right
        + joints[which, channels, row + 1, column + 1] * down * right
    )
    return value[:, :2], value[:, 2]


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


def evenly_spaced(line: Points, count: int) -> Points:
    """A polyline resampled to equally spaced points; its ends stay where they are.

    Parameters
    ----------
    line
        ``(n, 2)``, n ≥ 1.
    count
        Points wanted, 2 or more.
    """
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    wanted = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(wanted, lengths, line[:, axis]) for axis in (0, 1)], axis=1)
