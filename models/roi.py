"""The square around each joint that the lesion network looks at.

One rotation makes both joints' ends level, one square per joint holds its contour on every
slice, and the same square in the patient is cut from T1 and STIR. The ilium is always on the
first columns, so that both joints look alike.

Source: paper, "Region of interest extraction"; the margin and the robust envelope are ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from models.delineation import Contour, Delineation
from models.findings import Side
from models.volume import Volume

_Floats = NDArray[np.float64]
_STRAY_MM = 10.0


@dataclass(frozen=True)
class RoiRules:
    """How the squares are cut.

    Parameters
    ----------
    margin_mm
        Bone kept around the joint's box. 0 is the paper's literal box.
    size_px
        Side of the square that the network sees (the paper's is 224).
    most_rotation_deg
        The rotation is never larger.
    spare_slices
        Slices kept before the first and after the last that shows the joint.
    """

    margin_mm: float = 15.0
    size_px: int = 112
    most_rotation_deg: float = 20.0
    spare_slices: int = 1


@dataclass(frozen=True, eq=False)
class RoiBox:
    """A joint's square in the patient, and how far it reaches from front to back.

    Parameters
    ----------
    across, down
        Unit vectors of the square's columns and rows, LPS.
    centre_mm
        Of the square, along (across, down).
    half_mm
        Half of its side.
    depth_mm
        First and last position along the slices' normal.
    normal
        Unit vector of the slices' normal, LPS.
    """

    side: Side
    across: _Floats
    down: _Floats
    normal: _Floats
    centre_mm: tuple[float, float]
    half_mm: float
    depth_mm: tuple[float, float]


@dataclass(frozen=True)
class Sighting:
    """A volume with the contours seen on it."""

    volume: Volume
    delineation: Delineation


def joint_boxes(sightings: Iterable[Sighting], rules: RoiRules) -> Mapping[Side, RoiBox]:
    """The square of each joint that is seen at all.

    Parameters
    ----------
    sightings
        T1 and STIR in canonical orientation; the first gives the plane.
    rules
        Margin and limits.

    Returns
    -------
    Mapping
        A box for each side with at least one contour.
    """
    seen = tuple(sightings)
    plane = seen[0].volume
    lines = {side: _lines(seen, side) for side in Side}
    axes = _levelled_axes(plane, lines, rules.most_rotation_deg)
    reach_mm = rules.spare_slices * plane.spacing_mm[0]
    return {
        side: _box(side, mine, axes, rules.margin_mm, reach_mm)
        for side, mine in lines.items()
        if mine
    }


def _levelled_axes(
    plane: Volume, lines: Mapping[Side, list[_Floats]], most_deg: float
) -> tuple[_Floats, _Floats, _Floats]:
    """The plane's (across, down, normal), turned in the plane until the joints are level."""
    across, down, normal = _axes(plane)
    angle = _levelling_angle(lines, across, down, most_deg)
    turned_across = np.cos(angle) * across + np.sin(angle) * down
    turned_down = np.cos(angle) * down - np.sin(angle) * across
    return turned_across, turned_down, normal


def _box(
    side: Side,
    lines: list[_Floats],
    axes: tuple[_Floats, _Floats, _Floats],
    margin_mm: float,
    reach_mm: float,
) -> RoiBox:
    across, down, normal = axes
    ilium_first = across if side is Side.RIGHT else -across
    low, high = _robust_envelope(
        [line @ np.stack([ilium_first, down, normal], axis=1) for line in lines]
    )
    centre = (low + high) / 2
    return RoiBox(
        side,
        ilium_first,
        down,
        normal,
        (float(centre[0]), float(centre[1])),
        float((high - low)[:2].max() / 2 + margin_mm),
        (float(low[2] - reach_mm), float(high[2] + reach_mm)),
    )


def _lines(seen: tuple[Sighting, ...], side: Side) -> list[_Floats]:
    return [_in_patient(s.volume, contour) for s in seen for contour in s.delineation.of(side)]


def _in_patient(volume: Volume, contour: Contour) -> _Floats:
    return volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))


def _axes(volume: Volume) -> tuple[_Floats, _Floats, _Floats]:
    """Unit vectors of columns, rows and the slices' normal, the last from front to back."""
    across = volume.affine[:3, 2] / np.linalg.norm(volume.affine[:3, 2])
    down = volume.affine[:3, 1] / np.linalg.norm(volume.affine[:3, 1])
    normal = np.cross(across, down)
    return across, down, normal * np.sign(normal @ volume.affine[:3, 0])


def _levelling_angle(
    lines: Mapping[Side, list[_Floats]], across: _Floats, down: _Floats, most_deg: float
) -> float:
    """Rotation (radians) that makes the upper ends level, and the lower ends level.

    The length-weighted mean over the two lines that join right and left, each drawn between
    medians over the slices; 0 where only one joint is seen.
    """
    if not all(lines[side] for side in Side):
        return 0.0
    plane = np.stack([across, down], axis=1)
    joins = [
        np.median([line[end] @ plane for line in lines[Side.LEFT]], axis=0)
        - np.median([line[end] @ plane for line in lines[Side.RIGHT]], axis=0)
        for end in (0, -1)
    ]
    total = np.sum(joins, axis=0)
    limit = np.radians(most_deg)
    return float(np.clip(np.arctan2(total[1], total[0]), -limit, limit))


def _robust_envelope(places: list[_Floats]) -> tuple[_Floats, _Floats]:
    """Bounds of all lines but those that stray far, in the plane, from the median bounds."""
    bounds = np.array([[line.min(axis=0), line.max(axis=0)] for line in places])
    median = np.median(bounds, axis=0)
    away = np.abs(bounds - median)[:, :, :2]
    allowed = np.maximum(4 * 1.4826 * np.median(away, axis=0), _STRAY_MM)
    kept = bounds[(away <= allowed).all(axis=(1, 2))]
    kept = kept if len(kept) else bounds
    return kept[:, 0].min(axis=0), kept[:, 1].max(axis=0)


def slices_within(volume: Volume, box: RoiBox) -> NDArray[np.intp]:
    """Indices of the slices that the box holds, in order; the nearest one if it holds none."""
    count = len(volume.voxels)
    rows, columns = (size - 1 for size in volume.voxels.shape[1:])
    middles = np.array([[number, rows / 2, columns / 2] for number in range(count)])
    depth = volume.to_patient(middles) @ box.normal
    tolerance = volume.spacing_mm[0] / 10
    front, back = box.depth_mm
    inside = np.flatnonzero((depth >= front - tolerance) & (depth <= back + tolerance))
    return inside if len(inside) else np.array([np.abs(depth - (front + back) / 2).argmin()])


def cut(
    volume: Volume, values: NDArray[np.generic], box: RoiBox, size_px: int, nearest: bool = False
) -> torch.Tensor:
    """A box's square on each of its slices.

    Parameters
    ----------
    volume
        Gives the geometry, in any orientation.
    values
        What to sample, shape of the volume: intensities or labels.
    size_px
        Side of the square.
    nearest
        True for labels: values are never mixed.

    Returns
    -------
    torch.Tensor
        float32, shape ``(slices, size_px, size_px)``; zero outside the images.
    """
    chosen = slices_within(volume, box)
    grid = torch.from_numpy(_sampling_grid(volume, chosen, box, size_px)).float()
    images = torch.from_numpy(values[chosen].astype(np.float32)).unsqueeze(1)
    mode = "nearest" if nearest else "bilinear"
    return nnf.grid_sample(images, grid, mode=mode, align_corners=True)[:, 0]


def _sampling_grid(volume: Volume, chosen: NDArray[np.intp], box: RoiBox, size_px: int) -> _Floats:
    """Where each pixel of the square lies on each slice, as grid_sample counts (column, row)."""
    offsets = ((np.arange(size_px) + 0.5) / size_px * 2 - 1) * box.half_mm
    down, across = np.meshgrid(
        box.centre_mm[1] + offsets, box.centre_mm[0] + offsets, indexing="ij"
    )
    plane = np.stack([box.across, box.down])
    per_slice = (volume.affine[:3, 3] + chosen[:, None] * volume.affine[:3, 0]) @ plane.T
    wanted = np.stack([across, down], axis=-1)[None] - per_slice[:, None, None]
    pixel = wanted @ np.linalg.inv(plane @ volume.affine[:3, 1:3]).T
    last = np.array(volume.voxels.shape[1:]) - 1
    return np.asarray((2 * pixel / np.maximum(last, 1) - 1)[..., ::-1].copy())
