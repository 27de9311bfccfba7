"""Teaching both joint networks from label slabs: stock, batches and losses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from models.joint_delineation import FIELD_PX
from models.joint_unet import FIELD_ROW, LINE, SOURCE, SQUARE_PX, standardised
from models.vector_field import Grid, blended_field
from trainer.augmentation import (
    BEYOND,
    Movement,
    deformed,
    degraded,
    moved_images,
    moved_points,
    random_moves,
)
from trainer.contours.image_stacks import BRIGHT_GREY, stacks_folder, stacks_path
from trainer.contours.target_fields import heatmaps
from trainer.phantom.appearance import images_of
from trainer.phantom.draw_slabs import SlabKind

MOVES = Movement(translation=0.08, scale=0.12, rotation_deg=10, flip=0.0, bending_px=2.0)
FIELD_MOVES = Movement(translation=0.15, scale=0.15, rotation_deg=10, flip=0.5, bending_px=1.5)
HEAT_WEIGHT, PEAK_WEIGHT, LINE_WEIGHT, PRESENCE_WEIGHT = 30.0, 10.0, 6.0, 0.5
FIELD_STRIDE, FIELD_REACH_PX, FIELD_FLOOR = 2, 16.0, 0.1
LINE_SPREAD_PX = 1.8
STUDY_SHARE, OWN_SHARE = 0.25, 0.5
"""Of each batch, from complete simulated studies, and from a site's own where there are any."""
BATCHES_PER_READING = 150
LATERAL = 1
"""Quarter turns that bring the lateral edge of a square to the top."""
ABSENT_MM, PRESENT_MM = 2.0, 12.0
"""Visible lengths that mean surely absent and surely present; half way lies the rule of 7 mm."""


Batch = tuple[Tensor, Tensor, Tensor]
"""Images, lines and visible lengths."""


@dataclass(eq=False)
class SlabStock:
    """Slabs in memory, file by file; more are taken in while they are being drawn.

    Parameters
    ----------
    folder
        Of the files of `trainer.phantom.draw_slabs`.
    """

    folder: Path
    _names: set[str] = field(default_factory=set)
    labels: list[Tensor] = field(default_factory=list)
    lines: list[Tensor] = field(default_factory=list)
    visible_mm: list[Tensor] = field(default_factory=list)

    def grow(self) -> None:
        """Read the files that were not there before."""
        for arrays in _unread(self.folder, self._names):
            for name in ("labels", "lines", "visible_mm"):
                getattr(self, name).extend(torch.from_numpy(arrays[name]))

    def __len__(self) -> int:
        """Slabs so far."""
        return len(self.labels)


def _unread(folder: Path, names: set[str]) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of each file whose name is not among `names`, which then holds it."""
    for path in sorted(folder.glob("*.npz")):
        if path.name not in names:
            names.add(path.name)
            yield np.load(path)


@dataclass(eq=False)
class StackStock:
    """Squares of simulated studies in memory, each with its neighbours' numbers."""

    folder: Path
    _names: set[str] = field(default_factory=set)
    images: list[Tensor] = field(default_factory=list)
    lines: list[Tensor] = field(default_factory=list)
    visible_mm: list[Tensor] = field(default_factory=list)
    neighbours: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of_cases(cls, cases: Path, kind: SlabKind, numbers: range) -> "StackStock":
        """The squares of some of a site's prepared cases; those without drawn joints have none."""
        stock = cls(stacks_folder(cases, kind))
        for path in (stacks_path(cases, kind, number) for number in numbers):
            if path.exists():
                stock._take(np.load(path))
        return stock

    def grow(self) -> None:
        """Read the files that were not there before."""
        for arrays in _unread(self.folder, self._names):
            self._take(arrays)

    def _take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        first, stack = len(self.images), arrays["stack"]
        last = len(stack) - 1
        for number in range(len(stack)):
            before, behind = max(number - 1, 0), min(number + 1, last)
            before = before if stack[before] == stack[number] else number
            behind = behind if stack[behind] == stack[number] else number
            self.neighbours.append((first + before, first + behind))
        for name in ("images", "lines", "visible_mm"):
            getattr(self, name).extend(torch.from_numpy(arrays[name]))

    def batch(self, chosen: Sequence[int], generator: torch.Generator) -> Batch:
        """Degraded images ``(n, 3, size, size)`` of slices between their neighbours."""
        seen = []
        for number in chosen:
            before, behind = self.neighbours[number]
            three = torch.stack([self.images[n] for n in (before, number, behind)])
            seen.append(three.flip(0) if torch.rand(1, generator=generator) < 0.5 else three)
        images = degraded(torch.stack(seen).float() / BRIGHT_GREY, BEYOND, generator)
        lines, visible = (
            torch.stack([kept[n] for n in chosen]) for kept in (self.lines, self.visible_mm)
        )
        return images, lines, visible


def soft_presence(visible_mm: Tensor) -> Tensor:
    """How surely a slice shows a joint of which it cuts so much cartilage, 0 to 1."""
    return ((visible_mm - ABSENT_MM) / (PRESENT_MM - ABSENT_MM)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class JointStocks:
    """What one of the joint networks learns from.

    Parameters
    ----------
    slabs
        Label slabs; none if only own studies are learnt from.
    stacks
        Squares of simulated studies.
    own
        Squares of a site's own studies.
    """

    slabs: SlabStock
    stacks: StackStock
    own: StackStock | None = None

    @classmethod
    def of(cls, cache: Path, kind: SlabKind, own: StackStock | None = None) -> "JointStocks":
        """Read what a cache holds so far."""
        stocks = cls(SlabStock(cache / kind), StackStock(stacks_folder(cache, kind)), own)
        stocks.grow()
        return stocks

    def grow(self) -> None:
        """Take in what was drawn since."""
        self.slabs.grow()
        self.stacks.grow()

    def __bool__(self) -> bool:
        """Whether there is anything to learn from."""
        return bool(len(self.slabs) or (self.own and self.own.images))

    def shares(self, size: int) -> tuple[int, int, int]:
        """How many images of a batch come from slabs, simulated studies and own studies."""
        own = round(size * OWN_SHARE) if self.own and self.own.images else 0
        if own and not len(self.slabs):
            return 0, 0, size
        studies = round((size - own) * STUDY_SHARE) if self.stacks.images else 0
        return size - own - studies, studies, own


def close_batches(stocks: JointStocks, size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Images ``(n, 3, size, size)``, lines ``(n, 1, 16, 2)`` and visible lengths, without end."""
    while True:
        stocks.grow()
        of_slabs, *of_stacks = stocks.shares(size)
        seen = [slab[1:-1, 0] for slab in stocks.slabs.visible_mm]
        slab_pools = _pools(torch.stack(seen)) if of_slabs else []
        stacks = [
            (stock, _pools(torch.stack(stock.visible_mm)[:, 0]), count)
            for stock, count in zip((stocks.stacks, stocks.own), of_stacks, strict=True)
            if stock and count
        ]
        for _ in range(BATCHES_PER_READING):
            parts = [
                stock.batch(_drawn(pools, count, generator)[:, 0].tolist(), generator)
                for stock, pools, count in stacks
            ]
            if of_slabs:
                chosen = _drawn(slab_pools, of_slabs, generator)
                parts.insert(0, _of_slabs(stocks.slabs, chosen, generator))
            yield _moved(parts, MOVES, SQUARE_PX, generator)


def _pools(seen: Tensor) -> list[Tensor]:
    """Indices of slices that show the joint, that barely show it, and that hardly do."""
    return [(seen > 4).nonzero(), ((seen > 0) & (seen < 14)).nonzero(), (seen <= 4).nonzero()]


def _drawn(pools: Sequence[Tensor], size: int, generator: torch.Generator) -> Tensor:
    counts = [round(size * 0.6), round(size * 0.1)]
    counts.append(size - sum(counts))
    drawn = [
        pool[torch.randint(len(pool), (count,), generator=generator)]
        for pool, count in zip(pools, counts, strict=True)
    ]
    return torch.cat(drawn)


def _of_slabs(stock: SlabStock, chosen: Tensor, generator: torch.Generator) -> Batch:
    """Images of label slices between their neighbours, in either order."""
    labels, lines, visible = [], [], []
    for slab, middle in chosen.tolist():
        three = stock.labels[slab][middle : middle + 3]
        labels.append(three.flip(0) if torch.rand(1, generator=generator) < 0.5 else three)
        lines.append(stock.lines[slab][middle + 1])
        visible.append(stock.visible_mm[slab][middle + 1])
    images = images_of(torch.stack(labels), generator)
    return images, torch.stack(lines), torch.stack(visible)


def field_batches(stocks: JointStocks, size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Images of whole fields of view, the lines of both joints ``(n, 2, 16, 2)``, lengths."""
    while True:
        stocks.grow()
        of_slabs, *of_stacks = stocks.shares(size)
        for _ in range(BATCHES_PER_READING):
            parts = [_of_fields(stocks.slabs, of_slabs, generator)] if of_slabs else []
            for stock, count in zip((stocks.stacks, stocks.own), of_stacks, strict=True):
                if stock and count:
                    parts.append(stock.batch(_any(len(stock.images), count, generator), generator))
            yield _moved(parts, FIELD_MOVES, FIELD_PX, generator)


def _of_fields(slabs: SlabStock, count: int, generator: torch.Generator) -> Batch:
    chosen = _any(len(slabs), count, generator)
    labels, lines, visible = (
        torch.stack([kept[n] for n in chosen])
        for kept in (slabs.labels, slabs.lines, slabs.visible_mm)
    )
    return images_of(labels, generator), lines[:, 0], visible[:, 0]


def _any(there: int, count: int, generator: torch.Generator) -> list[int]:
    numbers: list[int] = torch.randint(there, (count,), generator=generator).tolist()
    return numbers


def _moved(
    parts: Sequence[Batch], movement: Movement, size: int, generator: torch.Generator
) -> Batch:
    """Joined, turned, shifted, deformed, cut to the network's size, some showing less."""
    images, lines, visible = (torch.cat(one) for one in zip(*parts, strict=True))
    moves, flipped = random_moves(len(images), movement, generator)
    lines = moved_points(lines, moves, images.shape[-1])
    lines[flipped] = lines[flipped].flip(1)
    images, lines = deformed(moved_images(images, moves), lines, movement.bending_px, generator)
    margin = (images.shape[-1] - size) // 2
    images = images[..., margin : margin + size, margin : margin + size].clone()
    cropped = _cut_by_the_edge if size == SQUARE_PX else _small_fields
    return standardised(cropped(images, generator)), lines - margin, visible


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
    cut = torch.rand(len(images), generator=generator) < 0.4
    for number in cut.nonzero()[:, 0].tolist():
        draw = torch.rand(3, generator=generator)
        strip = int(images.shape[-1] * 0.3 * float(draw[0]))
        side = LATERAL if draw[2] < 0.6 else int(4 * float(draw[1]))
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
    wanted_field, distance = blended_field(known, grid)
    picked = maps[..., first[0] :: FIELD_STRIDE, first[1] :: FIELD_STRIDE]
    near = torch.exp(-(distance**2) / (2 * FIELD_REACH_PX**2))
    weight = FIELD_FLOOR + (1 - FIELD_FLOOR) * near
    astray = (picked[whole, FIELD_ROW:LINE] - wanted_field).square().sum(dim=1)
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
