"""The square region of interest (ROI) around each joint: the lesion network's input.

A single in-plane rotation levels both joints. One square per joint encloses its contours on all
slices, and the same square, fixed in patient coordinates, is cut from T1 and STIR. The ilium is
always on the side of the first columns, so that right and left joints look alike.

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
    """Parameters of ROI extraction.

    Parameters
    ----------
    margin_mm
        Margin around the joint's bounding box; 0 in the paper.
    size_px
        Side of the square after resampling (224 in the paper).
    most_rotation_deg
        Largest rotation.
    spare_slices
        Slices added before the first and after the last slice that shows the joint.
    """

    margin_mm: float = 15.0
    size_px: int = 112
    most_rotation_deg: float = 20.0
    spare_slices: int = 1


@dataclass(frozen=True, eq=False)
class RoiBox:
    """A joint's square in patient coordinates, and its extent in depth.

    Parameters
    ----------
    across, down
        Unit vectors of the square's columns and rows, LPS.
    normal
        Unit normal of the slices, LPS.
    centre_mm
        Centre of the square along (across, down).
    half_mm
        Half the side of the square.
    depth_mm
        First and last position along `normal`.
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
    """A volume and its contours."""

    volume: Volume
    delineation: Delineation


def joint_boxes(sightings: Iterable[Sighting], rules: RoiRules) -> Mapping[Side, RoiBox]:
    """The box of each joint that has contours.

    Parameters
    ----------
    sightings
        T1 and STIR in canonical orientation; the first defines the plane.
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
    """The plane's (across, down, normal), rotated within the plane to level the joints."""
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
    """Unit vectors of columns, rows and slice normal, the last from anterior to posterior."""
    across = volume.affine[:3, 2] / np.linalg.norm(volume.affine[:3, 2])
    down = volume.affine[:3, 1] / np.linalg.norm(volume.affine[:3, 1])
    normal = np.cross(across, down)
    return across, down, normal * np.sign(normal @ volume.affine[:3, 0])


def _levelling_angle(
    lines: Mapping[Side, list[_Floats]], across: _Floats, down: _Floats, most_deg: float
) -> float:
    """Rotation in radians that levels the upper and the lower ends of both joints.

    Length-weighted mean of two lines from right to left, each between medians over the slices; 0
    if only one joint has contours.
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
    """Bounds of all lines, without in-plane outliers from the median bounds."""
    bounds = np.array([[line.min(axis=0), line.max(axis=0)] for line in places])
    median = np.median(bounds, axis=0)
    away = np.abs(bounds - median)[:, :, :2]
    allowed = np.maximum(4 * 1.4826 * np.median(away, axis=0), _STRAY_MM)
    kept = bounds[(away <= allowed).all(axis=(1, 2))]
    kept = kept if len(kept) else bounds
    return kept[:, 0].min(axis=0), kept[:, 1].max(axis=0)


def slices_within(volume: Volume, box: RoiBox) -> NDArray[np.intp]:
    """Indices of the slices within a box, in order; if there are none, the nearest slice."""
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
    """Resample a box's square from each of its slices.

    Parameters
    ----------
    volume
        Defines the geometry; in any orientation.
    values
        Intensities or labels to sample, shape of the volume.
    size_px
        Side of the square.
    nearest
        Nearest-neighbour sampling, for labels; otherwise bilinear.

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
    """Position of each pixel of the square on each slice, in `grid_sample`'s coordinates."""
    pixels = np.stack(np.meshgrid(np.arange(size_px), np.arange(size_px), indexing="ij"), axis=-1)
    at = on_slices(volume, chosen, box, pixels.astype(np.float64), size_px)
    last = np.array(volume.voxels.shape[1:]) - 1
    return np.asarray((2 * at / np.maximum(last, 1) - 1)[..., ::-1].copy())


def on_slices(
    volume: Volume, chosen: NDArray[np.intp], box: RoiBox, pixels: _Floats, size_px: int
) -> _Floats:
    """Map points of a box's square onto slices of a volume.

    Parameters
    ----------
    volume
        Defines the geometry; in any orientation.
    chosen
        Indices of the slices, ``(n,)``.
    pixels
        (row, column) in the square, index-centred, fractions allowed, ``(…, 2)``.
    size_px
        Side of the square.

    Returns
    -------
    NDArray
        (row, column) on each slice, index-centred, ``(n, …, 2)``.
    """
    down, across = np.moveaxis(((pixels + 0.5) / size_px * 2 - 1) * box.half_mm, -1, 0)
    wanted = np.stack([box.centre_mm[0] + across, box.centre_mm[1] + down], axis=-1)
    plane = np.stack([box.across, box.down])
    origins = (volume.affine[:3, 3] + chosen[:, None] * volume.affine[:3, 0]) @ plane.T
    apart = wanted[None] - origins.reshape(-1, *(1,) * (wanted.ndim - 1), 2)
    return np.asarray(apart @ np.linalg.inv(plane @ volume.affine[:3, 1:3]).T)
