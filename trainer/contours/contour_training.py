"""Training the contour network: batches, targets, loss and presence threshold.

Source: paper, "Implementation details" (Adam, L2 on the field, weighted L2 on the heatmaps).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contour_maps import contour_maps
from models.contour_tracing import Maps, WalkRules, contours_from_maps
from models.contour_unet import CHANNELS_PER_JOINT, FIELD_ROW, SIDES, SINK, ContourUNet
from models.joint_presence import of_both_sequences, presence_certainty, shown
from models.vector_field import Grid
from trainer.augmentation import (
    Degradation,
    Movement,
    deformed,
    degraded,
    moved_images,
    moved_points,
    random_moves,
)
from trainer.contours.target_fields import area_between, heatmaps, spread_px, training_field
from trainer.experiment import Field
from trainer.metrics.contour_error import contour_error
from trainer.prepared_cases import GREY_PER_UNIT, StoredCase, read_case

SHARE_WITH_JOINT = 0.6
SHARE_AT_BORDER = 0.2
"""Shares of a batch's slices that show a joint, and that lie at either edge of the joint, the
hardest to classify; the rest show none."""

TRACED = WalkRules(presence_threshold=0.5, fallback=False, contiguous=False)
"""Traces a contour wherever there is one."""

HEAT_WEIGHT, HEAT_PEAK_WEIGHT = 30.0, 10.0
MISSED_WEIGHT = 3
FIELD_STRIDE = 2
FIELD_REACH_PX = 20.0


@dataclass(frozen=True, eq=False)
class SlicePool:
    """Every slice of all cases.

    Parameters
    ----------
    images
        uint8, ``(n, 224, 224)``, in the order of their volumes.
    contours
        float32, ``(n, 2, 16, 2)``, NaN where not visible.
    volume
        Number of the volume of each slice, ``(n,)``.
    """

    images: Tensor
    contours: Tensor
    volume: Tensor

    @property
    def shows_joint(self) -> Tensor:
        """True for slices with at least one contour, ``(n,)``."""
        return ~self.contours[:, :, 0, 0].isnan().all(dim=1)

    @property
    def at_border(self) -> Tensor:
        """True for the slices on both sides of the edge of a joint, ``(n,)``."""
        there = ~self.contours[:, :, 0, 0].isnan()
        apart = (there[1:] != there[:-1]).any(dim=1) & (self.volume[1:] == self.volume[:-1])
        no = apart.new_zeros(1)
        return torch.cat([apart, no]) | torch.cat([no, apart])

    def on(self, device: torch.device) -> "SlicePool":
        """The same slices in a device's memory."""
        return SlicePool(*(part.to(device) for part in (self.images, self.contours, self.volume)))

    def seen(self, chosen: Tensor, offsets: Sequence[int]) -> Tensor:
        """Selected slices with their neighbours, float32, ``(chosen, offsets, 224, 224)``.

        As in `models.contour_maps.with_neighbours`: zero beyond the end of a volume.
        """
        around = chosen[:, None] + torch.tensor(offsets)
        within = around.clamp(0, len(self.images) - 1)
        same = (around == within) & (self.volume[within] == self.volume[chosen][:, None])
        return self.images[within].float() / GREY_PER_UNIT * same[..., None, None]


def slice_pool(cases: Iterable[StoredCase]) -> SlicePool:
    """All slices of some cases."""
    kept = list(cases)
    lengths = [part.stop - part.start for case in kept for part in case.parts]
    return SlicePool(
        torch.from_numpy(np.concatenate([case.images for case in kept])),
        torch.from_numpy(np.concatenate([case.contours for case in kept])),
        torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64)),
    )


def _pools(stock: SlicePool, size: int) -> list[tuple[Tensor, int]]:
    """Slices to draw from, and how many of each kind a batch contains."""
    shown, at_border = round(size * SHARE_WITH_JOINT), round(size * SHARE_AT_BORDER)
    wanted = (
        (stock.shows_joint, shown),
        (stock.at_border, at_border),
        (~stock.shows_joint, size - shown - at_border),
    )
    everything = torch.arange(len(stock.images), device=stock.images.device)
    return [(everything[kind] if kind.any() else everything, count) for kind, count in wanted]


def batches(
    stock: SlicePool,
    size: int,
    offsets: Sequence[int],
    movement: Movement,
    spoiling: Degradation,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """An endless stream of augmented images and contours.

    Images are ``(size, offsets, 224, 224)``, all slices transformed alike except for the noise;
    contours ``(size, 2, 16, 2)``.
    """
    pools = _pools(stock, size)
    while True:
        chosen = torch.cat([_some(pool, count, generator) for pool, count in pools])
        images = stock.seen(chosen, offsets)
        moves, flipped = random_moves(size, movement, generator)
        contours = moved_points(stock.contours[chosen], moves, images.shape[-1])
        contours[flipped] = contours[flipped].flip(1)
        images, contours = deformed(
            moved_images(images, moves), contours, movement.bending_px, generator
        )
        yield degraded(images, spoiling, generator), contours


def _some(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return pool[torch.randint(len(pool), (count,), generator=generator)]


@dataclass(frozen=True, eq=False)
class JointsShown:
    """The joints that images show.

    A joint cut by the image border does not count in the loss: its visible part is undefined.

    Parameters
    ----------
    there, judged
        ``(n, 2)``.
    lines
        The contours that are present, ``(joints, points, 2)``.
    spread
        Standard deviation of each one's heatmaps, ``(joints,)``.
    """

    there: Tensor
    judged: Tensor
    lines: Tensor
    spread: Tensor

    @classmethod
    def of(cls, contours: Tensor, size_px: int) -> "JointsShown":
        """From the contours ``(n, 2, points, 2)`` of the images."""
        outside = ((contours < 0) | (contours > size_px - 1)).any(dim=3)
        seen = ~contours[:, :, 0, 0].isnan()
        there = seen & ~outside.any(dim=2)
        lines = contours[there]
        both = there.all(dim=1, keepdim=True).expand(-1, 2)[there]
        filled = contours.nan_to_num()
        area = area_between(filled[:, 0], filled[:, 1])[:, None].expand(-1, 2)[there] * both
        return cls(there, there | ~seen | outside.all(dim=2), lines, spread_px(lines, area))

    def heat_of(self, points: Tensor, size_px: int) -> Tensor:
        """Heatmaps of some points of each line, ``(n, 2, points, size, size)``.

        Parameters
        ----------
        points
            ``(joints, points, 2)``.
        """
        count = points.shape[1]
        heat = torch.zeros(*self.there.shape, count, size_px, size_px)
        each = heatmaps(points.reshape(-1, 2), self.spread.repeat_interleave(count), size_px)
        heat[self.there] = each.view(-1, count, size_px, size_px)
        return heat


def heat_loss(seen: Tensor, wanted: Tensor, judged: Tensor) -> Tensor:
    """Weighted L2 of heatmaps ``(n, 2, points, size, size)``."""
    weight = judged[:, :, None, None, None] * (1 + HEAT_PEAK_WEIGHT * wanted)
    return HEAT_WEIGHT * (weight * (seen - wanted).square()).mean()


@dataclass(frozen=True, eq=False)
class ContourTargets:
    """Training targets; fields only for the joints that are present."""

    heat: Tensor
    there: Tensor
    judged: Tensor
    field: Tensor
    field_weight: Tensor
    field_first: tuple[int, int]
    """First row and column of the grid on which the field is given."""


def targets(
    contours: Tensor,
    size_px: int,
    generator: torch.Generator,
    kind: Field = Field.BLENDED,
    field_floor: float = 0.2,
) -> ContourTargets:
    """Training targets of each image.

    Heatmaps are ``(n, 2, 2, size, size)``; the field of each visible joint is given on every
    second row and column with a random offset, which saves most of the time. Its loss weight is
    1 on the contour and falls to `field_floor` within about 20 px.
    """
    shown = JointsShown.of(contours, size_px)
    heat = shown.heat_of(shown.lines[:, [0, -1]], size_px)
    row, column = torch.randint(FIELD_STRIDE, (2,), generator=generator).tolist()
    grid = Grid.of(size_px, FIELD_STRIDE, (row, column))
    field, distance = training_field(kind, shown.lines, grid)
    near = torch.exp(-(distance**2) / (2 * FIELD_REACH_PX**2))
    weight = field_floor + (1 - field_floor) * near
    return ContourTargets(heat, shown.there, shown.judged, field, weight, (row, column))


def contour_loss(maps: Tensor, wanted: ContourTargets) -> Tensor:
    """The sum of `contour_losses`."""
    return torch.stack(list(contour_losses(maps, wanted).values())).sum()


def contour_losses(maps: Tensor, wanted: ContourTargets) -> dict[str, Tensor]:
    """Weighted L2 loss of the heatmaps, and of the field where there is a joint."""
    joints = maps.view(len(maps), len(SIDES), -1, *maps.shape[2:])
    heat = heat_loss(joints[:, :, :FIELD_ROW], wanted.heat, wanted.judged)
    row, column = wanted.field_first
    field = joints[:, :, FIELD_ROW:, row::FIELD_STRIDE, column::FIELD_STRIDE][wanted.there]
    astray = (field - wanted.field).square().sum(dim=1)
    field_loss = (astray * wanted.field_weight).sum()
    return {"heatmaps": heat, "field": field_loss / max(1, astray.numel())}


def validation_scores(
    network: ContourUNet,
    cases: Iterable[StoredCase],
    losses: Callable[[Tensor, Tensor], Mapping[str, Tensor]],
    device: torch.device,
) -> dict[str, float]:
    """Mean loss over all slices, its parts, and the median error of the contours.

    Parameters
    ----------
    network
        In evaluation mode.
    losses
        Of maps and contours, as in training.
    device
        Of the network and the losses.

    Returns
    -------
    dict
        ``loss``, the parts by name, and, for a network with a field, ``RMS p50, mm`` of every
        true contour, whether or not the network calls it present.
    """
    sums: dict[str, float] = {}
    count, errors = 0, list[float]()
    for case in cases:
        all_maps = maps_of_case(network, case, mirrored=False)
        for part, maps in zip(case.parts, all_maps, strict=True):
            contours = torch.from_numpy(case.contours[part]).to(device)
            for name, loss in losses(torch.from_numpy(maps).to(device), contours).items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(maps)
            count += len(maps)
            errors += _errors_mm(case, part, maps)
    scores = {name: total / count for name, total in sums.items()}
    scores = {"loss": sum(scores.values())} | (scores if len(scores) > 1 else {})
    return scores | ({"RMS p50, mm": float(np.median(errors))} if errors else {})


def _errors_mm(case: StoredCase, part: slice, maps: Maps) -> list[float]:
    """RMS error of every true contour of one series; infinite where the walk does not arrive."""
    if maps.shape[1] != len(SIDES) * CHANNELS_PER_JOINT:
        return []
    there = ~np.isnan(case.contours[part][:, :, 0, 0])
    with torch.device("cpu"):
        traced = contours_from_maps(maps, TRACED, there.astype(np.float64))
    found = {(one.slice_index, SIDES.index(one.side)): one.points for one in traced}
    errors = []
    for number, joint in np.argwhere(there).tolist():
        mm, line = float(case.pixel_mm[part][number]), found.get((number, joint))
        truth = case.contours[part][number, joint].astype(np.float64) * mm
        errors.append(contour_error(truth, None if line is None else line * mm).rms)
    return errors


def best_presence_threshold(
    network: ContourUNet, folder: Path, seeds: range, rules: WalkRules
) -> float:
    """The presence threshold with the lowest cost on the validation cases.

    A missed contour costs as much as three false ones: a missed joint loses its lesions, a false
    one only adds some adjacent bone.

    Parameters
    ----------
    network
        A contour network or a baseline.
    rules
        Applied to its maps.
    """
    network.eval()
    candidates = np.linspace(0.02, 0.6, 59)
    cost = np.zeros(len(candidates))
    for seed in seeds:
        case = read_case(folder, seed)
        for certainty, there in _presences(network, case, rules):
            for number, candidate in enumerate(candidates):
                drawn = shown(certainty, float(candidate), rules.contiguous)
                cost[number] += MISSED_WEIGHT * (there & ~drawn).sum() + (drawn & ~there).sum()
    return round(float(candidates[int(np.argmin(cost))]), 3)


def _presences(
    network: ContourUNet, case: StoredCase, rules: WalkRules
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """For each sequence and side: the certainty that slices show the joint, and which do."""
    there = ~np.isnan(case.contours[:, :, 0, 0])
    judged = [certainties(maps) for maps in maps_of_case(network, case, rules.mirrored)]
    if rules.both_sequences:
        judged = of_both_sequences(judged, [case.place_mm[part] for part in case.parts])
    for sure, part in zip(judged, case.parts, strict=True):
        yield from zip(sure.T, there[part].T, strict=True)


def maps_of_case(network: ContourUNet, case: StoredCase, mirrored: bool) -> list[Maps]:
    """A network's maps of T1 and STIR, ``(slices, channels, 224, 224)`` each."""
    images = case.network_images
    return [contour_maps(network, images[part], mirrored).numpy() for part in case.parts]


def certainties(maps: Maps) -> NDArray[np.float64]:
    """Certainty that each joint is on each slice, ``(slices, 2)``; network or baseline."""
    count, channels, size, _ = maps.shape
    joints = maps.reshape(count * len(SIDES), channels // len(SIDES), size, size)
    last = SINK if joints.shape[1] == CHANNELS_PER_JOINT else joints.shape[1] - 1
    return presence_certainty(joints, last).reshape(count, len(SIDES))
