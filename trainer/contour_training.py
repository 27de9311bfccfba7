"""Teaching the contour network: batches, loss, and the comparison with the truth.

Source: paper, "Implementation details" (Adam, L2 on the field, weighted L2 on the heatmaps).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.contour_unet import CHANNELS_PER_JOINT, FIELD_ROW, SIDES, SINK, SOURCE
from models.findings import Side
from models.walk import WalkRules, contours_from_maps, peaks
from trainer.augment import (
    Movement,
    Spoiling,
    bent,
    moved_images,
    moved_points,
    random_moves,
    spoilt,
)
from trainer.cases import GREY_PER_UNIT, StoredCase, read_case
from trainer.fields import Field, Grid, area_between, heatmaps, spread_px, taught_field
from trainer.metrics import ContourError, ContourScores, contour_error, contour_scores

SHARE_WITH_JOINT = 0.8
"""Share of a batch's slices that show a joint."""

HEAT_WEIGHT, HEAT_PEAK_WEIGHT = 30.0, 10.0
FIELD_STRIDE = 2
FIELD_FLOOR, FIELD_REACH_PX = 0.2, 20.0
"""The field's loss weighs 1 on the contour and falls to the floor over about this distance."""


@dataclass(frozen=True, eq=False)
class SliceStock:
    """Every slice of all cases.

    Parameters
    ----------
    images
        uint8, ``(n, 224, 224)``.
    contours
        float32, ``(n, 2, 16, 2)``, NaN where not seen.
    """

    images: Tensor
    contours: Tensor

    @property
    def shows_joint(self) -> Tensor:
        """True for slices with at least one contour, ``(n,)``."""
        return ~self.contours[:, :, 0, 0].isnan().all(dim=1)


def read_slices(folder: Path, seeds: range) -> SliceStock:
    """All slices of the cases of some subjects."""
    cases = [read_case(folder, seed) for seed in seeds]
    images = torch.from_numpy(np.concatenate([case.images for case in cases]))
    contours = torch.from_numpy(np.concatenate([case.contours for case in cases]))
    return SliceStock(images, contours)


def batches(
    stock: SliceStock,
    size: int,
    movement: Movement,
    spoiling: Spoiling,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented images ``(n, 1, 224, 224)`` and contours ``(n, 2, 16, 2)``, without end."""
    with_joint = stock.shows_joint.nonzero()[:, 0]
    without = (~stock.shows_joint).nonzero()[:, 0]
    shown = round(size * SHARE_WITH_JOINT)
    while True:
        chosen = torch.cat(
            [_some(with_joint, shown, generator), _some(without, size - shown, generator)]
        )
        images = stock.images[chosen].float().unsqueeze(1) / GREY_PER_UNIT
        moves, flipped = random_moves(size, movement, generator)
        contours = moved_points(stock.contours[chosen], moves, images.shape[-1])
        contours[flipped] = contours[flipped].flip(1)
        images, contours = bent(
            moved_images(images, moves), contours, movement.bending_px, generator
        )
        yield spoilt(images, spoiling, generator), contours


def _some(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return pool[torch.randint(len(pool), (count,), generator=generator)]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the network should have said; fields only of the joints that are there.

    A joint that the image's border cuts is not judged, for what is left of it is no rule of ours.
    """

    heat: Tensor
    there: Tensor
    judged: Tensor
    field: Tensor
    field_weight: Tensor
    field_first: tuple[int, int]
    """The first row and column of every second one at which the field is given."""


def targets(
    contours: Tensor, size_px: int, generator: torch.Generator, kind: Field = Field.BLENDED
) -> Targets:
    """What the network should say of each image.

    Heatmaps are ``(n, 2, 2, size, size)``; the field of each joint that is seen is given on every
    second row and column, from a random first one, which saves most of the time.
    """
    outside = ((contours < 0) | (contours > size_px - 1)).any(dim=3)
    seen = ~contours[:, :, 0, 0].isnan()
    there = seen & ~outside.any(dim=2)
    judged = there | ~seen | outside.all(dim=2)
    lines = contours[there]
    both = there.all(dim=1, keepdim=True).expand(-1, 2)[there]
    filled = contours.nan_to_num()
    area = area_between(filled[:, 0], filled[:, 1])[:, None].expand(-1, 2)[there] * both
    spread = spread_px(lines, area).repeat_interleave(2)
    heat = torch.zeros(*contours.shape[:2], 2, size_px, size_px)
    ends = lines[:, [0, -1]].reshape(-1, 2)
    heat[there] = heatmaps(ends, spread, size_px).view(-1, 2, size_px, size_px)
    row, column = torch.randint(FIELD_STRIDE, (2,), generator=generator).tolist()
    field, distance = taught_field(kind, lines, Grid.of(size_px, FIELD_STRIDE, (row, column)))
    near = torch.exp(-(distance**2) / (2 * FIELD_REACH_PX**2))
    return Targets(
        heat, there, judged, field, FIELD_FLOOR + (1 - FIELD_FLOOR) * near, (row, column)
    )


def contour_loss(maps: Tensor, wanted: Targets) -> Tensor:
    """Weighted L2 of the heatmaps, and of the field where there is a joint."""
    joints = maps.view(len(maps), len(SIDES), -1, *maps.shape[2:])
    miss = (joints[:, :, :FIELD_ROW] - wanted.heat).square()
    judged = wanted.judged[:, :, None, None, None]
    heat = (judged * (1 + HEAT_PEAK_WEIGHT * wanted.heat) * miss).mean()
    row, column = wanted.field_first
    field = joints[:, :, FIELD_ROW:, row::FIELD_STRIDE, column::FIELD_STRIDE][wanted.there]
    astray = (field - wanted.field).square().sum(dim=1)
    return HEAT_WEIGHT * heat + (astray * wanted.field_weight).mean()


def predicted_maps(network: nn.Module, images: Tensor, batch: int = 16) -> Tensor:
    """Maps of uint8 images ``(n, 224, 224)``, float32."""
    with torch.inference_mode():
        stacks = torch.split(images.unsqueeze(1), batch)
        return torch.cat([network(stack.float() / GREY_PER_UNIT).float() for stack in stacks])


def case_errors(
    network: nn.Module, case: StoredCase, rules: WalkRules
) -> tuple[list[ContourError], int]:
    """Errors of a case's true contours in mm, and how many contours were invented."""
    maps = predicted_maps(network, torch.from_numpy(case.images)).numpy()
    found: dict[tuple[int, Side], np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = {
        (contour.slice_index, contour.side): contour.points
        for contour in contours_from_maps(maps, rules)
    }
    errors = []
    for (number, joint), line in np.ndenumerate(case.contours[:, :, 0, 0]):
        if np.isnan(line):
            continue
        mm = float(case.pixel_mm[number])
        guess = found.pop((number, SIDES[joint]), None)
        truth = case.contours[number, joint].astype(np.float64) * mm
        errors.append(contour_error(truth, None if guess is None else guess * mm))
    return errors, len(found)


def best_presence_threshold(network: nn.Module, folder: Path, seeds: range) -> float:
    """The threshold on both peaks' product that errs least often on the validation cases."""
    network.eval()
    certainty, there = [], []
    for seed in seeds:
        case = read_case(folder, seed)
        maps = predicted_maps(network, torch.from_numpy(case.images)).numpy()
        joints = maps.reshape(-1, CHANNELS_PER_JOINT, *maps.shape[2:])
        heights = [peaks(joints[:, channel])[1].clip(0, 1) for channel in (SOURCE, SINK)]
        certainty.append(heights[0] * heights[1])
        there.append(~np.isnan(case.contours[:, :, 0, 0]).ravel())
    scores, truth = np.concatenate(certainty), np.concatenate(there)
    candidates = np.linspace(0.02, 0.6, 59)
    wrong = [int(((scores > candidate) != truth).sum()) for candidate in candidates]
    return round(float(candidates[int(np.argmin(wrong))]), 3)


def evaluate_contours(
    network: nn.Module, folder: Path, seeds: range, rules: WalkRules
) -> ContourScores:
    """Scores over all cases of some subjects."""
    network.eval()
    errors: list[ContourError] = []
    false = 0
    for seed in seeds:
        of_case, invented = case_errors(network, read_case(folder, seed), rules)
        errors += of_case
        false += invented
    return contour_scores(errors, false)
