"""Joints for lesion training from label slabs: images, zones and labels, drawn anew at every step.

A slab (`trainer.phantom.label_slabs`) holds tissue labels, lesions among them, so its joint can be
given ever new appearances (`trainer.phantom.appearance`). Zones are cut along contours with the
errors of the shipped contour network; labels follow from the true joint line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from models.findings import HEADS, QUADRANTS, Lesion, Region
from models.joint_unet import SQUARE_MM
from models.regions import BAND_MM, REGIONS_PER_JOINT, ZONE_MM
from models.roi import RoiRules
from trainer.phantom.appearance import lesion_pairs
from trainer.phantom.label_slabs import CLOSE_SLICES
from trainer.phantom.tissue_labels import TissueLabel

VISIBLE_MM = 7.0
"""A slice shows the joint from this length of cartilage on, as on the phantom."""

LEAST_SLICES = 3
VALIDATION_FILES = 3
FINE_POINTS = 48

SHIFT_MM, BEND_MM, ENDS_MM, FAR_ENDS_MM, FAR_SHARE = 0.8, 0.5, 2.0, 9.0, 0.12
MISSED_SHARE, FALSE_SHARE = 0.05, 0.4
"""Errors of contours: standard deviations of a line's shift, of its bending and of each end along
the line; of few ends the larger one; the share of missed slices, and of joints with a false contour
beside the first or last slice. As seen with contour 0.9 (docs/delineation_real.md)."""

MARROW_MM2, PIT_MM2 = 20.0, 5.0
"""Areas on one slice from which a lesion of the marrow, or an erosion, is labelled present. Less
than that is left unlabelled."""

FUSED, BARELY_FUSED = 0.1, 0.02
"""Shares of the joint line bridged by bone from which ankylosis is present, and absent."""

FOCAL_SHARE, FOCAL_MOST = 0.5, 3
FOCAL_RADIUS_MM, FOCAL_SLICES, FOCAL_OFF_MM = (2.5, 8.0), (0.6, 1.8), (1.0, 9.0)
"""Share of joints that get focal lesions, how many at most, and their size and distance."""

_FOCAL = (
    TissueLabel.OEDEMA,
    TissueLabel.OEDEMA,
    TissueLabel.FATTY_LESION,
    TissueLabel.SCLEROSIS,
)
_MARROW = (TissueLabel.SACRUM, TissueLabel.ILIUM, TissueLabel.MARROW_ISLAND)
_IN_QUADRANTS = {
    Lesion.OEDEMA: (TissueLabel.OEDEMA, MARROW_MM2),
    Lesion.FATTY_LESION: (TissueLabel.FATTY_LESION, MARROW_MM2),
    Lesion.EROSION: (TissueLabel.EROSION, PIT_MM2),
}


@dataclass(frozen=True, eq=False)
class SlabJoint:
    """One slab that shows a joint on enough slices.

    Parameters
    ----------
    labels
        uint8, ``(slices, subslices, size, size)``; columns run laterally.
    lines
        (row, column) of the true line, ``(slices, 16, 2)``; not a number where none is seen.
    positive
        ``(14,)`` in the order of HEADS; not a number where too little is seen to say.
    """

    labels: Tensor
    lines: Tensor
    positive: Tensor


@dataclass(frozen=True, eq=False)
class SlabShare:
    """Joints from slabs that take part in lesion training.

    Parameters
    ----------
    share
        Of each batch.
    rules
        Margin and size of the crops.
    """

    joints: tuple[SlabJoint, ...]
    share: float
    rules: RoiRules

    def count(self, size: int) -> int:
        """How many joints of a batch come from slabs."""
        return round(size * self.share) if self.joints else 0


def slab_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files of `trainer.phantom.draw_slabs` for training, and the last few for validation."""
    files = sorted(folder.glob("*.npz"))
    return files[:-VALIDATION_FILES], files[-VALIDATION_FILES:]


def slab_joints(files: Sequence[Path]) -> tuple[SlabJoint, ...]:
    """The joints of the slabs in some files."""
    joints = []
    for path in files:
        with np.load(path) as kept:
            labels, lines, visible = (
                torch.from_numpy(kept[name]) for name in ("labels", "lines", "visible_mm")
            )
        lines = lines[:, :, 0]
        lines[visible[:, :, 0] < VISIBLE_MM] = torch.nan
        for number in range(len(labels)):
            if int((~lines[number, :, 0, 0].isnan()).sum()) >= LEAST_SLICES:
                positive = slab_labels(labels[number], lines[number])
                joints.append(SlabJoint(labels[number], lines[number], positive))
    return tuple(joints)


def slab_labels(labels: Tensor, lines: Tensor) -> Tensor:
    """Which lesions a joint shows, ``(14,)``: 1, 0, or not a number; shapes as in `SlabJoint`."""
    middle = labels[:, labels.shape[1] // 2]
    zones = zones_along(lines, middle.shape[-1], band_mm=0.0)
    area = SQUARE_MM**2
    values = []
    for head in HEADS:
        if head.lesion is Lesion.ANKYLOSIS:
            values.append(_fused(middle, lines))
            continue
        tissue, least = _IN_QUADRANTS.get(head.lesion, (TissueLabel.SCLEROSIS, MARROW_MM2))
        inside = zones > 0
        if head.region in QUADRANTS:
            inside = zones == 1 + REGIONS_PER_JOINT.index(head.region)
        seen = float((inside & (middle == tissue)).sum(dim=(1, 2)).max()) * area
        values.append(_graded(seen, least / 4, least))
    return torch.tensor(values)


def _graded(seen: float, absent: float, present: float) -> float:
    return 1.0 if seen >= present else 0.0 if seen <= absent else float("nan")


def _fused(middle: Tensor, lines: Tensor) -> float:
    """Whether bone crosses the joint, from the pixels that its line meets."""
    met = bridged = 0
    for image, line in zip(middle, lines, strict=True):
        if not line.isnan().any():
            rows, columns = _fine(line[None])[0].round().long().clamp(0, len(image) - 1).T
            tissue = image[rows, columns]
            met += len(tissue)
            bridged += int(sum((tissue == bone).sum() for bone in _MARROW))
    return _graded(bridged / max(met, 1), BARELY_FUSED, FUSED)


def _fine(lines: Tensor) -> Tensor:
    """More points along lines ``(n, points, 2)``."""
    along = lines.transpose(1, 2)
    fine = nnf.interpolate(along, size=FINE_POINTS, mode="linear", align_corners=True)
    return fine.transpose(1, 2)


def zones_along(lines: Tensor, size: int, band_mm: float = BAND_MM) -> Tensor:
    """The joint's regions beside lines, as `models.regions.region_label_map` gives them.

    Parameters
    ----------
    lines
        ``(slices, points, 2)``; columns run laterally. Not a number: no regions.
    size
        Of the square.
    band_mm
        Half width of the joint space; 0 gives every pixel to a quadrant.

    Returns
    -------
    Tensor
        uint8, ``(slices, size, size)``, 0 to 5.
    """
    there = ~lines[:, 0, 0].isnan()
    zones = torch.zeros(len(lines), size, size, dtype=torch.uint8)
    if not bool(there.any()):
        return zones
    fine = _fine(lines[there])
    index = torch.arange(size, dtype=torch.float32)
    pixels = torch.stack(torch.meshgrid(index, index, indexing="ij"), dim=-1).view(1, -1, 2)
    distance, nearest = torch.cdist(pixels, fine).min(dim=-1)
    distance = distance * SQUARE_MM
    lateral = pixels[..., 1] > fine[..., 1].gather(1, nearest)
    top, bottom = fine[..., 0].amin(1, keepdim=True), fine[..., 0].amax(1, keepdim=True)
    row = pixels[..., 0]
    upper = row < (top + bottom) / 2
    quadrant = torch.where(
        lateral, torch.where(upper, *_ids(0, 1)), torch.where(upper, *_ids(2, 3))
    )
    beside = (distance <= ZONE_MM) & (row >= top) & (row <= bottom)
    label = torch.where(beside, quadrant, 0)
    label[distance <= band_mm] = 1 + REGIONS_PER_JOINT.index(Region.JOINT)
    zones[there] = label.view(-1, size, size).to(torch.uint8)
    return zones


def _ids(one: int, other: int) -> tuple[Tensor, Tensor]:
    """Numbers of two quadrants in a map of zones."""
    return torch.tensor(one + 1), torch.tensor(other + 1)


def slab_batch(
    joints: Sequence[SlabJoint], count: int, rules: RoiRules, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Crops and zones of joints drawn at random, with new appearances, and their labels.

    Parameters
    ----------
    rules
        Margin and size of the crop.

    Returns
    -------
    tuple
        As from `drawn_joints`; which slices are present: all; and labels ``(count, 14)``.
    """
    numbers = torch.randint(len(joints), (count,), generator=generator).tolist()
    chosen = [with_focal_lesions(joints[number], generator) for number in numbers]
    stacks = drawn_joints(chosen, rules, generator)
    present = torch.ones(len(stacks), CLOSE_SLICES, dtype=torch.bool)
    return stacks, present, torch.stack([joint.positive for joint in chosen])


def drawn_joints(
    joints: Sequence[SlabJoint], rules: RoiRules, generator: torch.Generator
) -> Tensor:
    """Crops and zones of joints.

    Returns
    -------
    Tensor
        ``(2 · joints, 2, 7, px, px)``, intensities and zones, T1 first, the ilium on the side of
        the first columns.
    """
    grey = lesion_pairs(torch.stack([joint.labels for joint in joints]), generator)
    stacks = []
    for images, joint in zip(grey, (*joints, *joints), strict=True):
        lines = with_contour_errors(joint.lines, generator)
        zones = zones_along(lines, images.shape[-1])
        stacks.append(_cropped(images, zones, lines, rules))
    return torch.stack(stacks)


def with_focal_lesions(joint: SlabJoint, generator: torch.Generator) -> SlabJoint:
    """Half of the joints with a few small lesions beside the line, on one slice or two."""
    if _chance(generator) >= FOCAL_SHARE:
        return joint
    labels = joint.labels.clone()
    for _ in range(1 + int(_chance(generator) * FOCAL_MOST)):
        tissue = _FOCAL[int(_chance(generator) * len(_FOCAL))]
        labels[_blob(joint.lines, labels, generator)] = tissue
    return SlabJoint(labels, joint.lines, slab_labels(labels, joint.lines))


def _blob(lines: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Marrow inside an ellipsoid beside the line, a mask shaped like `labels`."""
    slices, subslices, size, _ = labels.shape
    shown = (~lines[:, 0, 0].isnan()).nonzero()[:, 0]
    number = int(shown[int(_chance(generator) * len(shown))])
    point = _fine(lines[number][None])[0][int(_chance(generator) * FINE_POINTS)]
    side = 1 if _chance(generator) < 0.5 else -1
    column = point[1] + side * _between(*FOCAL_OFF_MM, generator) / SQUARE_MM
    radii = [_between(*FOCAL_RADIUS_MM, generator) / SQUARE_MM for _ in range(2)]
    depth = _between(*FOCAL_SLICES, generator)
    index = torch.arange(size)
    plane = ((index - point[0]) / radii[0])[:, None] ** 2 + ((index - column) / radii[1]) ** 2
    at = torch.arange(slices)[:, None] + (torch.arange(subslices) - subslices // 2) / 3
    inside = (((at - number) / depth) ** 2)[..., None, None] + plane < 1
    marrow = torch.zeros(len(TissueLabel), dtype=torch.bool)
    marrow[list(_MARROW)] = True
    return inside & marrow[labels.long()]


def with_contour_errors(lines: Tensor, generator: torch.Generator) -> Tensor:
    """Lines ``(slices, points, 2)`` as the contour network would draw them."""
    drawn = lines.clone()
    there = (~lines[:, 0, 0].isnan()).nonzero()[:, 0].tolist()
    for number in there:
        drawn[number] = _misdrawn(lines[number], generator)
        if len(there) > LEAST_SLICES and _chance(generator) < MISSED_SHARE:
            drawn[number] = torch.nan
    if _chance(generator) < FALSE_SHARE:
        last = _chance(generator) < 0.5
        beside = there[-1] + 1 if last else there[0] - 1
        if 0 <= beside < CLOSE_SLICES:
            drawn[beside] = _misdrawn(lines[there[-1] if last else there[0]], generator)
    return drawn


def _misdrawn(line: Tensor, generator: torch.Generator) -> Tensor:
    points = len(line)
    normal = torch.randn(5, generator=generator)
    share = torch.linspace(0, 1, points)
    bend = normal[0] * SHIFT_MM + BEND_MM * (
        normal[1] * torch.sin(np.pi * share) + normal[2] * torch.sin(2 * np.pi * share)
    )
    along = line[-1] - line[0]
    along = along / along.norm().clamp(min=1e-3)
    far = torch.rand(2, generator=generator) < FAR_SHARE
    slide = torch.where(far, FAR_ENDS_MM, ENDS_MM) * normal[3:]
    moved = (slide[0] * (1 - share) + slide[1] * share)[:, None] * along
    sideways = torch.stack([-along[1], along[0]]) * bend[:, None]
    errors: Tensor = (moved + sideways) / SQUARE_MM
    return line + errors


def _cropped(images: Tensor, zones: Tensor, lines: Tensor, rules: RoiRules) -> Tensor:
    """The square around lines from images and zones ``(slices, size, size)``, ilium first."""
    known = lines[~lines[:, 0, 0].isnan()]
    low, high = known.amin(dim=(0, 1)), known.amax(dim=(0, 1))
    half = float((high - low).max()) / 2 + rules.margin_mm / SQUARE_MM
    down, across = (low + high).tolist()[0] / 2, (low + high).tolist()[1] / 2
    size, px = images.shape[-1], rules.size_px
    steps = ((torch.arange(px) + 0.5) / px * 2 - 1) * half
    rows, columns = torch.meshgrid(down + steps, across - steps, indexing="ij")
    grid = (2 * torch.stack([columns, rows], dim=-1) / (size - 1) - 1)[None]
    cut = [
        nnf.grid_sample(part[None].float(), grid, mode=mode, align_corners=True)[0]
        for part, mode in ((images, "bilinear"), (zones, "nearest"))
    ]
    return torch.stack(cut)


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * _chance(generator)


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand(1, generator=generator))
