"""From the network's maps to contours: start at the upper end and follow the field downwards.

All joints of all slices walk at once. A walk that loses its way is replaced by the cheapest
path along the ridge on which the field converges.

Source: paper, "Delineating the sacroiliac joints"; all but the walk itself is ours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contour_unet import CHANNELS_PER_JOINT, FIELD_COLUMN, FIELD_ROW, SIDES, SINK, SOURCE
from models.findings import Side
from models.heatmap_peaks import peaks
from models.joint_presence import presence_certainty, shown
from models.ridge import geodesic
from models.vector_field import Grid, blended_field

Maps = NDArray[np.float32]
Points = NDArray[np.float64]

_MARGIN_PX, _STRIDE_PX, _REACH_PX = 12, 3, 10.0
"""Fields are compared this far around a contour, at every third pixel, mostly near it."""

_DISTRUST = 3.0
_LOST_TRUST = 0.5


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


LITERAL_RULES = WalkRules(
    arrival_px=1.0,
    between_pixels=False,
    fallback=False,
    mirrored=False,
    both_sequences=False,
    contiguous=False,
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
        square root of the certainty, less where the line's own field differs from the one that
        was seen, and where the walk did not arrive.
    """
    slices, _, size, _ = maps.shape
    joints = maps.reshape(slices * len(SIDES), CHANNELS_PER_JOINT, size, size)
    certainty = certainty_of_slices(maps) if certainty is None else certainty
    there = [shown(one, rules.presence_threshold, rules.contiguous) for one in certainty.T]
    present = np.flatnonzero(np.stack(there, axis=1))
    if not len(present):
        return ()
    sources, sinks = (peaks(joints[present, end])[0] for end in (SOURCE, SINK))
    paths = walk(torch.from_numpy(joints), present, sources, sinks, rules)
    contours = []
    for joint, source, sink, path in zip(present.tolist(), sources, sinks, paths, strict=True):
        if path is None and not rules.fallback:
            continue
        field = joints[joint, [FIELD_ROW, FIELD_COLUMN]]
        line = evenly_spaced(geodesic(field, source, sink) if path is None else path, rules.points)
        trust = np.exp(-_DISTRUST * disagreement(field, line))
        trust *= _LOST_TRUST if path is None else 1
        quality = float(np.sqrt(certainty.flat[joint]) * trust)
        slice_index, side = divmod(joint, len(SIDES))
        contours.append(WalkedContour(slice_index, SIDES[side], line, quality, path is not None))
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


def disagreement(field: Maps, line: Points) -> float:
    """How far the field of a line is from the one that was seen around it.

    Parameters
    ----------
    field
        ``(2, size, size)``, (row, column) components.
    line
        ``(points, 2)``.

    Returns
    -------
    float
        Mean squared length of the difference: 0 for the same field, 4 for the opposite.
    """
    size = field.shape[-1]
    low = np.maximum(np.floor(line.min(axis=0)).astype(int) - _MARGIN_PX, 0)
    high = np.minimum(np.ceil(line.max(axis=0)).astype(int) + _MARGIN_PX + 1, size)
    rows, columns = (np.arange(*ends, _STRIDE_PX) for ends in zip(low, high, strict=True))
    grid = Grid(torch.from_numpy(rows).float(), torch.from_numpy(columns).float())
    own, distance = blended_field(torch.from_numpy(line[None]).float(), grid)
    weights = np.exp(-(distance[0].numpy() ** 2) / (2 * _REACH_PX**2))
    apart = ((own[0].numpy() - field[:, rows[:, None], columns]) ** 2).sum(axis=0)
    return float((apart * weights).sum() / weights.sum())


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
