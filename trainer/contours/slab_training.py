"""Teaching both joint networks from label slabs: stock, batches and losses."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from models.joint_unet import FIELD_ROW, LINE, SOURCE, standardised
from models.vector_field import Grid, blended_field
from trainer.augmentation import Movement, deformed, moved_images, moved_points, random_moves
from trainer.contours.target_fields import heatmaps
from trainer.phantom.appearance import images_of

MOVES = Movement(translation=0.08, scale=0.12, rotation_deg=10, flip=0.0, bending_px=2.0)
FIELD_MOVES = Movement(translation=0.15, scale=0.15, rotation_deg=10, flip=0.5, bending_px=1.5)
HEAT_WEIGHT, PEAK_WEIGHT, LINE_WEIGHT, PRESENCE_WEIGHT = 30.0, 10.0, 6.0, 0.5
FIELD_STRIDE, FIELD_REACH_PX, FIELD_FLOOR = 2, 16.0, 0.1
LINE_SPREAD_PX = 1.8
ABSENT_MM, PRESENT_MM = 2.0, 12.0
"""Visible lengths that mean surely absent and surely present; half way lies the rule of 7 mm."""


@dataclass(frozen=True, eq=False)
class SlabStock:
    """Slabs in memory.

    Parameters
    ----------
    labels
        uint8, ``(n, slices, subslices, size, size)``.
    lines, visible_mm
        As in `trainer.phantom.label_slabs.LabelSlab`.
    """

    labels: Tensor
    lines: Tensor
    visible_mm: Tensor

    @classmethod
    def read(cls, folder: Path) -> "SlabStock":
        """Every slab of a folder."""
        loaded = [np.load(path) for path in sorted(folder.glob("*.npz"))]
        return cls(
            *(
                torch.from_numpy(np.concatenate([one[name] for one in loaded]))
                for name in ("labels", "lines", "visible_mm")
            )
        )


def soft_presence(visible_mm: Tensor) -> Tensor:
    """How surely a slice shows a joint of which it cuts so much cartilage, 0 to 1."""
    return ((visible_mm - ABSENT_MM) / (PRESENT_MM - ABSENT_MM)).clamp(0, 1)


def close_batches(
    stock: SlabStock, size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Images ``(n, 3, size, size)``, lines ``(n, 1, 16, 2)`` and visible lengths, without end."""
    seen = stock.visible_mm[:, 1:-1, 0]
    pools = [(seen > 4).nonzero(), ((seen > 0) & (seen < 14)).nonzero(), (seen <= 4).nonzero()]
    counts = [round(size * 0.6), round(size * 0.1)]
    counts.append(size - sum(counts))
    while True:
        chosen = torch.cat(
            [
                pool[torch.randint(len(pool), (count,), generator=generator)]
                for pool, count in zip(pools, counts, strict=True)
            ]
        )
        slab, middle = chosen[:, 0], chosen[:, 1] + 1
        around = middle[:, None] + torch.tensor([-1, 0, 1])
        labels = stock.labels[slab[:, None], around]
        order = torch.rand(size, generator=generator) < 0.5
        labels = torch.where(order[:, None, None, None, None], labels.flip(1), labels)
        lines, visible = stock.lines[slab, middle], stock.visible_mm[slab, middle]
        yield (*_augmented(labels, lines, MOVES, generator), visible)


def field_batches(
    stock: SlabStock, size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Images of whole fields of view, the lines of both joints ``(n, 2, 16, 2)``, lengths."""
    while True:
        chosen = torch.randint(len(stock.labels), (size,), generator=generator)
        lines, visible = stock.lines[chosen, 0].clone(), stock.visible_mm[chosen, 0].clone()
        images, lines = _augmented(stock.labels[chosen], lines, FIELD_MOVES, generator)
        yield images, lines, visible


def _augmented(
    labels: Tensor, lines: Tensor, movement: Movement, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    images = images_of(labels, generator)
    moves, flipped = random_moves(len(images), movement, generator)
    lines = moved_points(lines, moves, images.shape[-1])
    lines[flipped] = lines[flipped].flip(1)
    images, lines = deformed(moved_images(images, moves), lines, movement.bending_px, generator)
    cropped = _small_fields if labels.shape[2] == 1 else _cut_by_the_edge
    return standardised(cropped(images, generator)), lines


def _small_fields(images: Tensor, generator: torch.Generator) -> Tensor:
    """Most images as if less was seen: nothing outside a square that lies anywhere near."""
    size = images.shape[-1]
    draw = torch.rand(len(images), 4, generator=generator)
    for image, (chance, share, down, right) in zip(images, draw.tolist(), strict=True):
        if chance < 0.8:
            side = int(size * (0.4 + 0.55 * share**1.5))
            top, left = (
                int((size - side) / 2 + 0.6 * (at - 0.5) * (size - side)) for at in (down, right)
            )
            seen = image[:, top : top + side, left : left + side].clone()
            image.zero_()
            image[:, top : top + side, left : left + side] = seen
    return images


def _cut_by_the_edge(images: Tensor, generator: torch.Generator) -> Tensor:
    """Some images cut by the edge of a small field of view on one side."""
    cut = torch.rand(len(images), generator=generator) < 0.15
    for number in cut.nonzero()[:, 0].tolist():
        draw = torch.rand(2, generator=generator)
        strip = int(images.shape[-1] * 0.3 * float(draw[0]))
        side = int(4 * float(draw[1]))
        turned = images[number].rot90(side, (1, 2))
        turned[:, :strip] = 0
        images[number] = turned.rot90(-side, (1, 2))
    return images


def close_loss(
    maps: Tensor, logits: Tensor, lines: Tensor, visible_mm: Tensor, generator: torch.Generator
) -> Tensor:
    """Heatmaps, line and field where there is a joint, and presence everywhere."""
    size, line = maps.shape[-1], lines[:, 0]
    there = ~line[:, 0, 0].isnan() & (visible_mm[:, 0] > ABSENT_MM)
    outside = ((line < 0) | (line > size - 1)).any(dim=(1, 2))
    whole = there & ~outside
    presence = soft_presence(visible_mm[:, 0])
    judged = ~(there & outside)
    said = nnf.binary_cross_entropy_with_logits(logits, presence, reduction="none")
    loss = PRESENCE_WEIGHT * (said * judged).mean()
    sure = torch.where(there, 0.3 + 0.7 * presence, 1.0) * judged
    known = line[whole]
    length = (known[:, 1:] - known[:, :-1]).norm(dim=-1).sum(dim=1)
    spread = (0.07 * length).clamp(2.0, 4.5)
    wanted = torch.zeros(len(maps), 2, size, size)
    ends = heatmaps(known[:, [0, -1]].reshape(-1, 2), spread.repeat_interleave(2), size)
    wanted[whole] = ends.view(-1, 2, size, size)
    heat = (1 + PEAK_WEIGHT * wanted) * (maps[:, SOURCE:FIELD_ROW] - wanted).square()
    loss = loss + HEAT_WEIGHT * (heat.mean(dim=(1, 2, 3)) * sure).mean()
    if not bool(whole.any()):
        return loss
    first = torch.randint(FIELD_STRIDE, (2,), generator=generator).tolist()
    grid = Grid.of(size, FIELD_STRIDE, (first[0], first[1]))
    field, distance = blended_field(known, grid)
    picked = maps[..., first[0] :: FIELD_STRIDE, first[1] :: FIELD_STRIDE]
    near = torch.exp(-(distance**2) / (2 * FIELD_REACH_PX**2))
    weight = FIELD_FLOOR + (1 - FIELD_FLOOR) * near
    astray = (picked[whole, FIELD_ROW:LINE] - field).square().sum(dim=1)
    loss = loss + (astray * weight * sure[whole, None, None]).mean()
    mask = torch.zeros(len(maps), *picked.shape[2:])
    mask[whole] = torch.exp(-(distance**2) / (2 * LINE_SPREAD_PX**2))
    drawn = (1 + 4 * mask) * (picked[:, LINE] - mask).square()
    return loss + LINE_WEIGHT * (drawn.mean(dim=(1, 2)) * sure).mean()


def field_loss(maps: Tensor, lines: Tensor, spread_px: float = 2.0) -> Tensor:
    """L2 of a soft mask of each joint, right and left, ``(n, 2, size, size)``."""
    size = maps.shape[-1]
    there = ~lines[:, :, 0, 0].isnan()
    wanted = torch.zeros_like(maps)
    if bool(there.any()):
        _, distance = blended_field(lines[there], Grid.of(size))
        wanted[there] = torch.exp(-(distance**2) / (2 * spread_px**2))
    return ((1 + 20 * wanted) * (maps - wanted).square()).mean()
