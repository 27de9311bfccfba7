"""Synthetic erosions added to the training crops of the lesion network.

The phantom draws erosions in few ways, to which a network soon overfits. Here pits of varying
size, softness and filling are placed on the border of joint space and bone, and distractor spots
in the bone behind it.

In phantoms as in patients, erosions of one bone tend to occur with erosions across the joint, so a
network trained on them alone does not learn on which side a pit lies. Most synthetic erosions are
therefore on one bone only, and none crosses the middle of the joint.

Source: appearance of erosions on T1 and STIR as radiologists describe it (dark on T1, bright on
STIR where inflamed; filled with fat the other way round); about 3 mm and more across.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as nnf
from torch import Tensor

from models.findings import HEADS, ILIUM, QUADRANTS, SACRUM, Lesion, Region
from models.regions import BAND_MM, REGIONS_PER_JOINT, ZONE_MM

SHARE_OF_QUADRANTS = 0.4
"""Share of the quadrants of a chosen joint's bones that are drawn on."""

SHARE_OF_SPOTS = 0.4
"""Share of drawn quadrants that get distractor spots in the bone instead of pits."""

SHARE_OF_FAT = 0.25
MOST_PITS = 4
RADIUS_MM = (1.5, 4.0)
DEEPEST_SLICES = 1.6
GRAIN = 0.4
"""Share of the original signal that remains visible."""

_BONES = (ILIUM, SACRUM, QUADRANTS)
"""Bones to draw on; one entry is chosen per joint."""

_JOINT = 1 + REGIONS_PER_JOINT.index(Region.JOINT)
_EROSION_HEADS = {
    head.region: number for number, head in enumerate(HEADS) if head.lesion is Lesion.EROSION
}


def with_synthetic_erosions(
    stacks: Tensor, positive: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add erosions to some joints.

    Parameters
    ----------
    stacks
        Intensities and zones, float32, ``(2 · joints, 2, slices, size, size)``, T1 first.
    positive
        Labels, ``(joints, 14)``; a quadrant without a label is not changed.
    share
        Share of joints to draw on.

    Returns
    -------
    tuple
        Copies of both; labels are 1 where a pit was drawn.
    """
    stacks, positive = stacks.clone(), positive.clone()
    count = len(positive)
    for joint in (torch.rand(count, generator=generator) < share).nonzero()[:, 0].tolist():
        both = stacks[[joint, count + joint]]
        bones = _BONES[int(torch.randint(len(_BONES), (1,), generator=generator))]
        for region in bones:
            head, zone = _EROSION_HEADS[region], 1 + REGIONS_PER_JOINT.index(region)
            chosen = torch.rand(1, generator=generator) < SHARE_OF_QUADRANTS
            if chosen and not positive[joint, head].isnan():
                drawn = _Drawing(both[:, 0], both[:, 1], zone, generator).filled()
                positive[joint, head] = 1.0 if drawn else positive[joint, head]
        stacks[[joint, count + joint]] = both
    return stacks, positive


@dataclass(frozen=True, eq=False)
class _Drawing:
    """One quadrant of a joint.

    Parameters
    ----------
    grey, zones
        Of T1 and STIR, ``(2, slices, size, size)``; `grey` is drawn on.
    """

    grey: Tensor
    zones: Tensor
    zone: int
    generator: torch.Generator

    def filled(self) -> bool:
        """Draw pits or distractor spots; return whether a pit was drawn."""
        is_distractor = self._chance() < SHARE_OF_SPOTS
        fat = self._chance() < SHARE_OF_FAT
        levels = [
            self._between(1.0, 1.5) if fat else self._between(0.25, 0.8),
            self._between(0.3, 0.8) if fat else self._between(0.7, 3.0),
        ]
        pits = 0
        for _ in range(1 + int(self._chance() * MOST_PITS)):
            place = self._place(in_bone=is_distractor)
            if place is not None:
                self._paint(self._shape(place), levels)
                pits += not is_distractor
        return pits > 0

    def _place(self, in_bone: bool) -> Tensor | None:
        """Slice, row and column of a centre, on T1; None where the quadrant is not visible."""
        quadrant = self._quadrant[0]
        joint = (self.zones[0] == _JOINT).float()
        reach = 2 * round(0.5 * (ZONE_MM - BAND_MM) * self._px_per_mm) + 1 if in_bone else 3
        beside = nnf.max_pool2d(joint, reach, 1, reach // 2) > 0
        places = (quadrant & (~beside if in_bone else beside)).nonzero()
        if not len(places):
            return None
        return places[int(self._chance() * len(places))].float()

    @cached_property
    def _quadrant(self) -> Tensor:
        """Mask of the quadrant, shaped like `zones`."""
        return self.zones == self.zone

    @cached_property
    def _with_half_joint(self) -> Tensor:
        """Mask of the quadrant and its bone's half of the joint space, shaped like `zones`."""
        reach = 2 * round(BAND_MM * self._px_per_mm) + 1
        near = nnf.max_pool2d(self._quadrant.float(), reach, 1, reach // 2) > 0
        return self._quadrant | (near & (self.zones == _JOINT))

    @cached_property
    def _px_per_mm(self) -> float:
        """Resolution, from the known width of the quadrant's zone."""
        quadrant = self._quadrant[0]
        rows = int(quadrant.any(dim=2).sum())
        width_px = float(quadrant.sum()) / max(rows, 1)
        return max(width_px / (ZONE_MM - BAND_MM), 0.5)

    def _shape(self, centre: Tensor) -> Tensor:
        """Coverage of each voxel by a pit, 0 to 1, ``(slices, size, size)``."""
        slices, size = self.grey.shape[1], self.grey.shape[-1]
        radii_px = [self._between(*RADIUS_MM) * self._px_per_mm for _ in range(2)]
        across = self._between(0.6, DEEPEST_SLICES)
        turn = torch.tensor(self._between(0, torch.pi))
        line = torch.arange(size, dtype=torch.float32)
        down, right = line[:, None] - centre[1], line[None] - centre[2]
        long = down * turn.cos() + right * turn.sin()
        wide = right * turn.cos() - down * turn.sin()
        off = (torch.arange(slices) - centre[0] - self._between(-0.4, 0.4)) / across
        away = (long / radii_px[0]) ** 2 + (wide / radii_px[1]) ** 2 + off[:, None, None] ** 2
        edge = self._between(0.5, 1.5) / min(radii_px)
        return ((1 - away.sqrt()) / edge + 0.5).clamp(0, 1)

    def _paint(self, shape: Tensor, levels: list[float]) -> None:
        """Draw a pit with a brightness relative to the quadrant's bone."""
        for grey, inside, own, level in zip(
            self.grey, self._quadrant, self._with_half_joint, levels, strict=True
        ):
            marrow = grey[inside].mean() if inside.any() else grey.mean()
            share = shape * own
            filled = (level * marrow + GRAIN * (grey - marrow)).clamp(min=0)
            grey.add_(share * (filled - grey))

    def _chance(self) -> float:
        return float(torch.rand(1, generator=self.generator))

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * self._chance()
