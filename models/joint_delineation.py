"""From a volume to the contours of both joints: find them coarsely, then delineate them closely.

The finding network looks at whole slices at 3 mm a pixel and says where each joint is. Around
each joint the delineating network looks at a square of 100 mm at .9 mm a pixel, whatever the
field of view and the matrix were. A contour is the best line from an upper end to a lower end
that the line's mask supports, ends and line chosen together. Which slices show the joint is one
decision for the whole joint: the run of neighbouring slices with the highest sum of logits.

Source: paper, "Delineating the sacroiliac joints"; two scales and the joint decisions are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from torch import Tensor

from models.contour_tracing import evenly_spaced
from models.contour_unet import SIDES
from models.findings import Side
from models.joint_presence import slice_places
from models.joint_unet import (
    LINE,
    SINK,
    SOURCE,
    SQUARE_MM,
    SQUARE_PX,
    JointNetwork,
    standardised,
    triples,
)
from models.volume import Volume

FIELD_PX, FIELD_MM = 128, 3.0
LEAST_MASK = 0.2
"""Of the finding network; below it nothing is seen."""
LEAST_ROWS = 5
FULL_MASK = 0.8
"""The line's mask where a line is certain."""

Floats = NDArray[np.float64]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class JointRules:
    """How the networks' answers are read.

    Parameters
    ----------
    presence_logit
        A slice speaks for the joint as far as its evidence lies above this.
    presence_trust
        How much a slice's evidence counts beside the usual extent of a joint; networks are surer
        of themselves than they should be.
    line_share
        Share of a slice's evidence that is how clearly its best line is seen; the rest is the
        network's logit of presence.
    extent_mm, extent_spread_mm
        How deep a joint usually is across the slices, and how much that varies.
    visible_logit
        Log odds that a joint which the finding network sees is on some slices at all.
    least_evidence
        A joint is looked for where the finding network's masks sum up to this, in pixels of 3 mm
        over all slices.
    least_apart_mm
        The left joint lies at least this far to the patient's left of the right one.
    line_level
        Values of the line's mask above this speak for a line, values below against it.
    end_weight
        How much the heatmaps of the ends count beside one row of the line.
    steepest
        Columns that a line may run sideways from one row to the next.
    sideways
        Cost of a column sideways.
    smoothing_rows
        Spread of the Gaussian that smooths a line's columns.
    points
        Of a finished contour.
    """

    presence_logit: float = 0.25
    presence_trust: float = 0.5
    line_share: float = 0.5
    extent_mm: float = 38.0
    extent_spread_mm: float = 6.0
    visible_logit: float = 2.0
    least_evidence: float = 8.0
    least_apart_mm: float = 45.0
    line_level: float = 0.25
    end_weight: float = 16.0
    steepest: int = 3
    sideways: float = 0.15
    smoothing_rows: float = 1.5
    points: int = 24


@dataclass(frozen=True, eq=False)
class FoundLine:
    """A contour on a slice: (row, column) in the image's pixels, superior to inferior."""

    slice_index: int
    side: Side
    points: Floats
    quality: float


@dataclass(frozen=True, eq=False)
class JointView:
    """What the delineating network says of one joint on every slice of one volume.

    Parameters
    ----------
    lines
        The best line of each slice as (row, column) in the network's square, which is mirrored if
        the side is the right one; None where there is none.
    strengths
        Mean of the line's mask along each, 0 to 1, ``(slices,)``.
    evidence
        Logit of presence, of the network and of the line, ``(slices,)``.
    centre
        (row, column) of the square's middle in the image's pixels.
    """

    side: Side
    lines: Sequence[Floats | None]
    strengths: Floats
    evidence: Floats
    centre: Floats


def joint_lines(
    network: JointNetwork, volumes: Sequence[Volume], rules: JointRules
) -> list[list[FoundLine]]:
    """Contours of both joints on one or two canonical volumes of one study."""
    middles = joint_middles([found_joints(network, volume) for volume in volumes], volumes, rules)
    found: list[list[FoundLine]] = [[] for _ in volumes]
    places = slice_places(volumes)
    for side, per_volume in middles.items():
        views = [
            joint_view(network, volume, side, centre, rules)
            for volume, centre in zip(volumes, per_volume, strict=True)
        ]
        shared = of_both([view.evidence for view in views], places)
        for lines, view, evidence, volume in zip(found, views, shared, volumes, strict=True):
            lines.extend(lines_of(view, evidence, volume, rules))
    return found


def of_both(evidence: Sequence[Floats], places: Sequence[Floats]) -> list[Floats]:
    """Presence on each slice by what both sequences show in its place.

    Parameters
    ----------
    evidence
        Logits of one sequence or two, ``(slices,)`` each.
    places
        As `models.joint_presence.slice_places` gives them.

    Returns
    -------
    list
        The mean of a slice's own logit and of the other sequence's in its place; its own alone
        where the other sequence has no slice.
    """
    if len(evidence) != 2 or any(np.isnan(one).any() for one in places):
        return list(evidence)
    first, second = zip(evidence, places, strict=True)
    return [_with_the_other(*first, *second), _with_the_other(*second, *first)]


def _with_the_other(own: Floats, at: Floats, other: Floats, others_at: Floats) -> Floats:
    seen = np.interp(at, others_at, other)
    covered = (at >= others_at[0] - 1) & (at <= others_at[-1] + 1)
    return np.where(covered, (own + seen) / 2, own)


def resampled(
    volume: Volume, centre: Floats, step_mm: float, size_px: int, mirrored: bool = False
) -> Tensor:
    """A square of every slice at a fixed scale, ``(slices, size, size)``; zero outside.

    Parameters
    ----------
    volume
        In canonical orientation.
    centre
        (row, column) of the square's middle.
    mirrored
        Columns run to the patient's right.
    """
    _, row_mm, column_mm = volume.spacing_mm
    along = (np.arange(size_px) - (size_px - 1) / 2) * step_mm
    count, rows, columns = volume.voxels.shape
    down = _read_at(centre[0] + along / row_mm, rows, step_mm / row_mm)
    sideways = -along if mirrored else along
    across = _read_at(centre[1] + sideways / column_mm, columns, step_mm / column_mm)
    images = torch.from_numpy(np.ascontiguousarray(volume.voxels))
    return down @ (images.view(count * rows, columns) @ across.T).view(count, rows, size_px)


def _read_at(places: Floats, count: int, step_px: float) -> Tensor:
    """How pixels of an axis follow from `count` source pixels, ``(places, count)``.

    Linear between source pixels, and blurred as far as these are finer than the step, so that
    nothing is aliased; 0 beyond the axis' ends.
    """
    at = np.arange(count)
    weights = np.maximum(1 - np.abs(places[:, None] - at), 0)
    spread = 0.45 * np.sqrt(max(step_px**2 - 1, 0))
    if spread > 0.2:
        blur = np.exp(-((at[:, None] - at) ** 2) / (2 * spread**2))
        weights = weights @ (blur / blur.sum(axis=1, keepdims=True))
    return torch.from_numpy(weights.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Found:
    """Where the finding network sees a joint.

    Parameters
    ----------
    middle_mm
        In the patient.
    weight
        How much of it is seen, in pixels of 3 mm over all slices.
    """

    middle_mm: Floats
    weight: float


def found_joints(network: JointNetwork, volume: Volume) -> dict[Side, Found]:
    """Both joints of a canonical volume, each with what speaks for it."""
    count, rows, columns = volume.voxels.shape
    middle = np.array([rows - 1, columns - 1]) / 2
    stacks = standardised(triples(resampled(volume, middle, FIELD_MM, FIELD_PX)))
    with torch.inference_mode():
        maps = network.find(stacks)
        turned = network.find(stacks.flip(-1)).flip(-1).flip(1)
    masks = ((maps + turned) / 2).clamp(min=LEAST_MASK).sub(LEAST_MASK).numpy()
    step = FIELD_MM / np.array(volume.spacing_mm[1:])
    found = {}
    for number, side in enumerate(SIDES):
        at, weight = _middle_of(masks[:, number].sum(axis=0))
        slices = masks[:, number].sum(axis=(1, 2)) + 1e-6
        depth = float((np.arange(count) * slices).sum() / slices.sum())
        place = middle + (at - (FIELD_PX - 1) / 2) * step
        found[side] = Found(volume.to_patient(np.array([depth, *place])), weight)
    return found


def _middle_of(evidence: Maps, reach_px: float = 12.0) -> tuple[Floats, float]:
    """Centre of mass and sum of what lies around the highest place of a map."""
    smooth = gaussian_filter(evidence, 3.0)
    peak = np.unravel_index(int(smooth.argmax()), smooth.shape)
    rows, columns = np.indices(evidence.shape)
    weight = np.minimum(evidence, 2.0) * (np.hypot(rows - peak[0], columns - peak[1]) < reach_px)
    total = float(weight.sum())
    middle = np.array([(rows * weight).sum(), (columns * weight).sum()]) / max(total, 1e-6)
    return (middle if total > 0 else np.array(peak, float)), total


def joint_middles(
    found: Sequence[Mapping[Side, Found]], volumes: Sequence[Volume], rules: JointRules
) -> dict[Side, list[Floats]]:
    """The middle of each joint's square in every volume, (row, column) in its pixels.

    Both sequences of a study show the same joints, so what each found is averaged in the
    patient, by how much of it each saw. Joints of which too little is seen are left out, and so
    is the weaker one where right and left would change places.
    """
    middles: dict[Side, Floats] = {}
    weights: dict[Side, float] = {}
    for side in SIDES:
        share = np.array([one[side].weight for one in found])
        weights[side] = float(share.max())
        if weights[side] >= rules.least_evidence:
            places = np.array([one[side].middle_mm for one in found])
            middles[side] = (share[:, None] * places).sum(axis=0) / share.sum()
    right, left = (middles.get(side) for side in SIDES)
    if right is not None and left is not None and left[0] - right[0] < rules.least_apart_mm:
        del middles[min(weights, key=lambda side: weights[side])]
    return {
        side: [volume.to_indices(place)[1:] for volume in volumes]
        for side, place in middles.items()
    }


def joint_view(
    network: JointNetwork, volume: Volume, side: Side, centre: Floats, rules: JointRules
) -> JointView:
    """What the delineating network says of one joint on all slices."""
    square = resampled(volume, centre, SQUARE_MM, SQUARE_PX, side is Side.RIGHT)
    with torch.inference_mode():
        maps, logits = network.delineate(standardised(triples(square)))
    return view_of(side, maps.numpy(), logits.numpy().astype(float), centre, rules)


def view_of(side: Side, maps: Maps, logits: Floats, centre: Floats, rules: JointRules) -> JointView:
    """Lines and evidence from maps ``(slices, 5, 112, 112)`` and logits ``(slices,)``."""
    lines = best_lines(maps, rules)
    strengths = np.array([_strength(*one) for one in zip(maps[:, LINE], lines, strict=True)])
    seen = np.clip(strengths, 0.02, 0.98)
    evidence = logits + rules.line_share * (np.log(seen / (1 - seen)) - logits)
    return JointView(side, lines, strengths, evidence, centre)


def _strength(mask: Maps, line: Floats | None) -> float:
    """Mean of a line's mask along it."""
    if line is None:
        return 0.0
    return float(map_coordinates(mask, line.T, order=1, mode="nearest").mean())


def lines_of(
    view: JointView, evidence: Floats, volume: Volume, rules: JointRules
) -> list[FoundLine]:
    """The contours of one joint on the slices that show it, by their evidence ``(slices,)``."""
    slice_mm, row_mm, column_mm = volume.spacing_mm
    trusted = rules.presence_trust * (evidence - rules.presence_logit)
    chosen = present_run(trusted, slice_mm, rules)
    sign = -1 if view.side is Side.RIGHT else 1
    per_px = np.array([SQUARE_MM / row_mm, sign * SQUARE_MM / column_mm])
    limit = np.array(volume.voxels.shape[1:]) - 1
    found = []
    for number in chosen.tolist():
        points = view.lines[number]
        if points is None:
            continue
        image = view.centre + (points - (SQUARE_PX - 1) / 2) * per_px
        image = image[((image >= 0) & (image <= limit)).all(axis=1)]
        if len(image) >= LEAST_ROWS:
            line = evenly_spaced(image, rules.points)
            quality = _certainty(float(evidence[number]), float(view.strengths[number]))
            found.append(FoundLine(number, view.side, line, quality))
    return found


def _certainty(evidence: float, strength: float) -> float:
    """Presence times how clearly the line is seen, 0 to 1."""
    present = 1 / (1 + np.exp(-evidence))
    return float(np.clip(present * np.sqrt(np.clip(strength / FULL_MASK, 0, 1)), 0, 1))


def present_run(evidence: Floats, slice_mm: float, rules: JointRules) -> NDArray[np.intp]:
    """The run of neighbouring slices that most likely shows a joint.

    Parameters
    ----------
    evidence
        Logit of each slice, ``(slices,)``.
    slice_mm
        Between slices.
    rules
        Usual extent of a joint, and how likely it is to be visible at all.

    Returns
    -------
    NDArray
        Indices of the run with the highest sum of evidence less the extent's squared deviation;
        empty if none is more likely than that the joint is not visible.
    """
    count = len(evidence)
    sums = np.concatenate([[0.0], np.cumsum(evidence)])
    first, end = np.triu_indices(count + 1, 1)
    unusual = ((end - first) * slice_mm - rules.extent_mm) / rules.extent_spread_mm
    score = sums[end] - sums[first] - 0.5 * unusual**2
    best = int(score.argmax())
    if score[best] + rules.visible_logit <= 0:
        return np.arange(0)
    return np.arange(first[best], end[best])


def best_lines(maps: Maps, rules: JointRules) -> list[Floats | None]:
    """On each slice the line with the best sum of both ends' heat and of the mask along it.

    Parameters
    ----------
    maps
        ``(n, 5, size, size)``.

    Returns
    -------
    list
        ``(points, 2)`` as (row, column) in the square, superior to inferior; None where no line
        is better than none.
    """
    count, _, size, _ = maps.shape
    gain = np.log(np.maximum(maps[:, LINE], 0.01) / rules.line_level)
    begin, end = (
        rules.end_weight * np.log(np.maximum(maps[:, which], 1e-3)) for which in (SOURCE, SINK)
    )
    score = np.empty((count, size, size), np.float32)
    came_from = np.zeros((count, size, size), np.int8)
    shifts = range(-rules.steepest, rules.steepest + 1)
    costs = (rules.sideways * np.abs(shifts)).astype(np.float32)
    columns_of = np.array(shifts, np.int8)
    started = -128
    for row in range(size):
        fresh = begin[:, row]
        if row:
            moved = np.stack([_shifted(score[:, row - 1], s) for s in shifts], axis=-1)
            moved = moved - costs
            which = moved.argmax(axis=-1)
            kept = np.take_along_axis(moved, which[..., None], -1)[..., 0]
            came_from[:, row] = np.where(kept > fresh, columns_of[which], started)
            fresh = np.maximum(fresh, kept)
        else:
            came_from[:, row] = started
        score[:, row] = fresh + gain[:, row]
    total = score + end
    return [
        _traced(*one, maps[n, LINE], rules, started)
        for n, one in enumerate(zip(total, came_from, strict=True))
    ]


def _shifted(values: Maps, by: int) -> Maps:
    """Values ``(n, columns)`` of the column `by` further on; minus infinity beyond the border."""
    out = np.full_like(values, -1e9)
    size = values.shape[1]
    low, high = max(0, -by), min(size, size - by)
    out[:, low:high] = values[:, low + by : high + by]
    return out


def _traced(
    total: Maps, came_from: NDArray[np.int8], mask: Maps, rules: JointRules, started: int
) -> Floats | None:
    row, column = (int(k) for k in np.unravel_index(int(total.argmax()), total.shape))
    path = [(row, column)]
    while came_from[row, column] != started:
        column += int(came_from[row, column])
        row -= 1
        path.append((row, column))
    if len(path) < LEAST_ROWS:
        return None
    points = np.array(path[::-1], float)
    points[:, 1] = _refined(points.astype(int), mask)
    smooth = gaussian_filter1d(points[:, 1], rules.smoothing_rows, mode="nearest")
    return np.stack([points[:, 0], smooth], axis=1)


def _refined(path: NDArray[np.intp], mask: Maps, reach: int = 2) -> Floats:
    """Columns between pixels: the mask's centre of mass around each."""
    offsets = np.arange(-reach, reach + 1)
    columns = np.clip(path[:, 1:] + offsets, 0, mask.shape[1] - 1)
    weight = np.maximum(mask[path[:, :1], columns], 1e-3) ** 2
    return np.asarray((weight * columns).sum(axis=1) / weight.sum(axis=1))
