"""From the network's maps to contours: start at the upper end and follow the field downwards.

All joints of all slices walk at once. A walk that loses its way is replaced by the cheapest
path along the ridge on which the field converges. Where a slice offers several upper or lower
ends, each pair is walked and the contour is taken whose own field is most like the one seen.

Source: paper, "Delineating the sacroiliac joints"; all but the walk itself is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contour_unet import CHANNELS_PER_JOINT, FIELD_COLUMN, FIELD_ROW, SIDES, SINK, SOURCE
from models.ends import clear_peaks
from models.field import Grid, blended_field
from models.findings import Side
from models.presence import presence_certainty, shown
from models.ridge import geodesic

Maps = NDArray[np.float32]
Points = NDArray[np.float64]

_MARGIN_PX, _STRIDE_PX, _REACH_PX = 12, 3, 10.0
"""Fields are compared this far around the routes, at every third pixel, mostly near them."""

_SHORTEST_PX = 4.0
_SAME_ENDS_PX = 8.0
_DISTRUST = 3.0


@dataclass(frozen=True)
class WalkRules:
    """How the network's maps are read; lengths in network pixels.

    Parameters
    ----------
    presence_threshold
        A joint is on a slice where the product of both heatmaps' peaks is above this (see
        `both_sequences`).
    step_px
        Length of a step.
    arrival_px
        The walk ends this close to the sink, or up to three times as far where the sink's heatmap
        reaches `arrival_heat`.
    detour
        A walk longer than this many times the straight way (and 20 px more) is lost.
    points
        Equally spaced points of a finished contour.
    between_pixels
        The field is read between pixels (bilinear); else that of the nearest pixel.
    fallback
        A lost walk is replaced by the path along the ridge; else its contour is missed.
    mirrored
        The network also sees each slice mirrored, and its answers are averaged.
    both_sequences
        A slice is judged with what the other sequence shows in its place.
    contiguous
        A joint is on neighbouring slices: holes are filled, lone slices dropped.
    ends
        As many upper and lower ends of a slice are tried; 1 is the highest peaks only.
    agreement
        How much a route whose own field differs from the one seen is disliked.
    length_bonus
        In doubt the longer route, which leaves out no part of the joint: its gain per pixel.
    """

    presence_threshold: float = 0.1
    step_px: float = 1.0
    arrival_px: float = 4.0
    arrival_heat: float = 0.5
    detour: float = 2.0
    points: int = 24
    between_pixels: bool = True
    fallback: bool = True
    mirrored: bool = True
    both_sequences: bool = True
    contiguous: bool = True
    ends: int = 3
    agreement: float = 8.0
    length_bonus: float = 0.0


LITERAL_RULES = WalkRules(
    arrival_px=1.0,
    between_pixels=False,
    fallback=False,
    mirrored=False,
    both_sequences=False,
    contiguous=False,
    ends=1,
)
"""The walk as the paper states it."""

WALKS = {"best": WalkRules(), "literal": LITERAL_RULES}


@dataclass(frozen=True, eq=False)
class WalkedContour:
    """A contour in network pixels: (row, column), superior to inferior, ``(points, 2)``."""

    slice_index: int
    side: Side
    points: Points
    quality: float
    walked: bool
    """False where the fallback had to find the way."""


@dataclass(frozen=True, eq=False)
class Route:
    """A pair of ends that may belong together; joints are numbered slice by slice."""

    joint: int
    source: Points
    sink: Points
    heat: float


def contours_from_maps(
    maps: Maps, rules: WalkRules, certainty: NDArray[np.float64] | None = None
) -> tuple[WalkedContour, ...]:
    """Every contour that the network's maps show.

    Parameters
    ----------
    maps
        ``(slices, 8, size, size)`` as the contour network gives them, all slices of one volume
        in order.
    rules
        Thresholds and lengths.
    certainty
        How surely each joint is on each slice, ``(slices, 2)``; None takes what the maps say.

    Returns
    -------
    tuple of WalkedContour
        One for each slice and side where the joint is present, by slice. The quality is the
        square root of the certainty, less where other routes are likely too, where the
        line's own field differs from the one that was seen, and where the walk did not arrive.
    """
    slices, _, size, _ = maps.shape
    joints = maps.reshape(slices * len(SIDES), CHANNELS_PER_JOINT, size, size)
    certainty = certainty_of_slices(maps) if certainty is None else certainty
    there = [shown(one, rules.presence_threshold, rules.contiguous) for one in certainty.T]
    present = np.flatnonzero(np.stack(there, axis=1))
    if not len(present):
        return ()
    routes = _routes(joints, present, rules)
    paths = walk(
        torch.from_numpy(joints),
        np.array([route.joint for route in routes], dtype=np.intp),
        np.array([route.source for route in routes]).reshape(-1, 2),
        np.array([route.sink for route in routes]).reshape(-1, 2),
        rules,
    )
    contours = []
    for joint, tried in groupby(zip(routes, paths, strict=True), key=lambda one: one[0].joint):
        field = joints[joint, [FIELD_ROW, FIELD_COLUMN]]
        ways = list(tried)
        walked = any(path is not None for _, path in ways)
        if not (walked or rules.fallback):
            continue
        line, trust = _best(field, ways, rules)
        quality = float(np.sqrt(certainty.flat[joint])) * trust
        slice_index, side = divmod(joint, len(SIDES))
        contours.append(WalkedContour(slice_index, SIDES[side], line, quality, walked))
    return tuple(contours)


def certainty_of_slices(maps: Maps) -> NDArray[np.float64]:
    """How surely each joint is on each slice, by this volume alone, ``(slices, 2)``.

    Parameters
    ----------
    maps
        As for `contours_from_maps`.
    """
    slices, _, size, _ = maps.shape
    joints = maps.reshape(slices * len(SIDES), CHANNELS_PER_JOINT, size, size)
    return presence_certainty(joints).reshape(slices, len(SIDES))


def _routes(joints: Maps, present: NDArray[np.intp], rules: WalkRules) -> list[Route]:
    """Pairs of ends of each joint that is present: the lower end lies below the upper."""
    sources = clear_peaks(joints[present, SOURCE], rules.ends)
    sinks = clear_peaks(joints[present, SINK], rules.ends)
    routes: list[Route] = []
    for joint, source, sink in zip(present.tolist(), sources, sinks, strict=True):
        pairs = [
            Route(joint, begin, end, float(warm * hot))
            for (begin, warm), (end, hot) in product(
                zip(*source, strict=True), zip(*sink, strict=True)
            )
        ]
        downwards = [one for one in pairs if one.sink[0] - one.source[0] > _SHORTEST_PX]
        routes += downwards if rules.ends > 1 and downwards else pairs[:1]
    return routes


def _best(
    field: Maps, tried: Sequence[tuple[Route, Points | None]], rules: WalkRules
) -> tuple[Points, float]:
    """The line of the best of a joint's routes that were walked, and how far to trust it.

    Where no walk arrived, the ridge between the highest peaks is taken, with half the trust.
    """
    walked = [
        (route, evenly_spaced(path, rules.points)) for route, path in tried if path is not None
    ]
    if not walked:
        surest = max((route for route, _ in tried), key=lambda route: route.heat)
        ridge = evenly_spaced(geodesic(field, surest.source, surest.sink), rules.points)
        return ridge, 0.5 * _trust(disagreement(field, ridge[None])[0])
    lines = np.array([line for _, line in walked])
    apart = disagreement(field, lines)
    heats = np.array([route.heat for route, _ in walked])
    lengths = np.linalg.norm(np.diff(lines, axis=1), axis=2).sum(axis=1)
    score = np.log(np.maximum(heats, 1e-4)) + rules.length_bonus * lengths
    score -= rules.agreement * apart
    best = int(np.argmax(score))
    off = np.abs(lines[:, [0, -1]] - lines[best, [0, -1]]).max(axis=(1, 2))
    likely = np.exp(score - score[best])
    return lines[best], float(likely[off < _SAME_ENDS_PX].sum() / likely.sum()) * _trust(
        apart[best]
    )


def _trust(apart: float) -> float:
    """1 for a line whose own field is the one that was seen, less the more they differ."""
    return float(np.exp(-_DISTRUST * apart))


def disagreement(field: Maps, lines: Points) -> NDArray[np.float64]:
    """How far the field of each line is from the one that was seen.

    Parameters
    ----------
    field
        ``(2, size, size)``, (row, column) components.
    lines
        ``(n, points, 2)``; compared on the same pixels, those around any of them.

    Returns
    -------
    NDArray
        Mean squared length of the difference, ``(n,)``: 0 for the same field, 4 for the opposite.
    """
    size = field.shape[-1]
    low = np.maximum(np.floor(lines.min(axis=(0, 1))).astype(int) - _MARGIN_PX, 0)
    high = np.minimum(np.ceil(lines.max(axis=(0, 1))).astype(int) + _MARGIN_PX + 1, size)
    rows, columns = (np.arange(*ends, _STRIDE_PX) for ends in zip(low, high, strict=True))
    grid = Grid(torch.from_numpy(rows).float(), torch.from_numpy(columns).float())
    own, distance = (part.numpy() for part in blended_field(torch.from_numpy(lines).float(), grid))
    weights = np.exp(-(distance.min(axis=0) ** 2) / (2 * _REACH_PX**2))
    apart = ((own - field[:, rows[:, None], columns]) ** 2).sum(axis=1)
    return np.asarray((apart * weights).sum(axis=(1, 2)) / weights.sum(), dtype=np.float64)


def walk(
    joints: Tensor, which: NDArray[np.intp], sources: Points, sinks: Points, rules: WalkRules
) -> list[Points | None]:
    """Follow the field from every source until its sink is near, all at once.

    Parameters
    ----------
    joints
        ``(joints, 4, size, size)``, of any slices, sides and studies, on the CPU or a GPU, which
        is where the walk is computed.
    which
        The joint of each walk, ``(n,)``.
    sources, sinks
        ``(n, 2)``, (row, column).

    Returns
    -------
    list
        The path of each walk, source first and sink last, shape ``(steps, 2)``; None where the
        walk left the image or did not arrive in time.
    """
    if not len(which):
        return []
    walker, place, goal = (
        torch.as_tensor(one, device=joints.device) for one in (which, sources, sinks)
    )
    budget = (goal - place).norm(dim=1) * rules.detour + 20
    arrived_at = torch.full_like(walker, _UNDER_WAY)
    read = _read_between if rules.between_pixels else _read_nearest
    track = []
    for step in range(int(np.ceil(float(budget.max()) / rules.step_px)) + 1):
        track.append(place)
        heading, heat = read(joints, walker, place)
        left_px = (place - goal).norm(dim=1)
        warm = (heat >= rules.arrival_heat) & (left_px <= 3 * rules.arrival_px)
        there = ((left_px <= rules.arrival_px) | warm) & (step * rules.step_px <= budget)
        arrived_at = torch.where((arrived_at == _UNDER_WAY) & there, step, arrived_at)
        if step % _LOOK_EVERY == 0 and bool((arrived_at != _UNDER_WAY).all()):
            break
        place = place + rules.step_px * heading / heading.norm(dim=1, keepdim=True).clamp(min=1e-6)
    tracks = torch.stack(track, dim=1).cpu().numpy()
    return [
        None if last == _UNDER_WAY else np.vstack([path[: last + 1], sink])
        for path, last, sink in zip(tracks, arrived_at.tolist(), sinks, strict=True)
    ]


_UNDER_WAY = -1
_LOOK_EVERY = 8
"""Steps between two looks at whether all have arrived: each look makes a GPU wait."""

_READ = torch.tensor([FIELD_ROW, FIELD_COLUMN, SINK])


def _read_between(joints: Tensor, walker: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Field and sink heat at each place, bilinear; the border continues outwards."""
    size = joints.shape[-1]
    inside = places.clamp(0, size - 1)
    low = inside.long().clamp(max=size - 2)
    (row, column), (down, right) = low.T[..., None], (inside - low).T[..., None]
    one, read = walker[:, None], _READ.to(joints.device)
    value = (
        joints[one, read, row, column] * (1 - down) * (1 - right)
        + joints[one, read, row + 1, column] * down * (1 - right)
        + joints[one, read, row, column + 1] * (1 - down) * right
        + joints[one, read, row + 1, column + 1] * down * right
    )
    return value[:, :2], value[:, 2]


def _read_nearest(joints: Tensor, walker: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Field and sink heat of the pixel that is nearest to each place."""
    row, column = places.round().clamp(0, joints.shape[-1] - 1).long().T[..., None]
    value = joints[walker[:, None], _READ.to(joints.device), row, column].double()
    return value[:, :2], value[:, 2]


def evenly_spaced(line: Points, count: int) -> Points:
    """A polyline resampled to equally spaced points; its ends stay where they are.

    Parameters
    ----------
    line
        ``(n, 2)`` or ``(n, 3)``, n ≥ 1.
    count
        Points wanted, 2 or more.
    """
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    wanted = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(wanted, lengths, along) for along in line.T], axis=1)
