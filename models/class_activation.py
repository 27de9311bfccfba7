"""Where the lesion network sees a lesion: its own answer, taken apart by sequence, slice and place.

A head adds up weighted averages of what the last stage sees, so its logit is a sum over the cells
of both sequences, and a bias. The mean over the slices gives each slice its share; the largest
value over the slices belongs, channel by channel, to the slice that has it. Nothing is estimated:
the parts make the whole.

Source: class activation maps (Zhou et al., CVPR 2016), here over slices and zones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as nnf
from torch import Tensor

from models.lesion_resnet34 import (
    WHOLE_ZONE,
    LesionResNet34,
    Pooling,
    ZoneAverages,
    zone_averages,
    zone_of_head,
)

SHARPNESS = 3
"""Power of the activation with which a pixel draws the point to itself."""


@dataclass(frozen=True, eq=False)
class SequenceFeatures:
    """What the last stage sees of one sequence of one joint.

    Parameters
    ----------
    features
        Of `LesionResNet34.feature_maps`, ``(1, channels, slices, h, w)``.
    zones
        Labels 0 to 5, ``(1, slices, size, size)``.
    present
        ``(1, slices)``.
    """

    features: Tensor
    zones: Tensor
    present: Tensor

    @cached_property
    def averages(self) -> ZoneAverages:
        """Of every zone on every slice."""
        return zone_averages(self.features, self.zones, self.present)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one sequence adds to one head's logit.

    Parameters
    ----------
    activation
        How strongly each cell speaks for the lesion, ``(slices, h, w)``.
    share
        Its part in its slice, ``(slices, h, w)``; a slice that counts adds up to 1.
    inside
        Pixels of the square that the head looks at, ``(slices, size, size)``.
    """

    activation: Tensor
    share: Tensor
    inside: Tensor

    @property
    def of_slices(self) -> Tensor:
        """What each slice adds to the logit, ``(slices,)``."""
        return (self.activation * self.share).sum(dim=(1, 2))


def head_evidence(
    network: LesionResNet34, number: int, seen: Sequence[SequenceFeatures]
) -> tuple[Evidence, ...]:
    """A head's logit without its bias, taken apart.

    Parameters
    ----------
    number
        Of the head, in the order of HEADS.
    seen
        T1, then STIR, of the same joint.

    Returns
    -------
    tuple
        Of each sequence; all that their slices add is the logit less the bias.
    """
    weights = network.heads.weight[number].detach().chunk(2)
    if network.architecture.pooling is Pooling.GLOBAL:
        return tuple(_everywhere(one, w) for one, w in zip(seen, weights, strict=True))
    zone = zone_of_head(number)
    return tuple(_in_zone(one, zone, w) for one, w in zip(seen, weights, strict=True))


def _everywhere(seen: SequenceFeatures, weights: Tensor) -> Evidence:
    present = seen.present[0].to(weights.dtype)
    factors = present[:, None] * weights / present.sum().clamp(min=1)
    features = seen.features[0]
    _, _, rows, columns = features.shape
    share = (present / (rows * columns))[:, None, None].expand(-1, rows, columns)
    inside = seen.present[0, :, None, None].expand(seen.zones.shape[1:])
    return Evidence(_spoken(features, factors), share, inside)


def _in_zone(seen: SequenceFeatures, zone: int, weights: Tensor) -> Evidence:
    averages, (of_mean, of_largest) = seen.averages, weights.chunk(2)
    shows, per_slice = averages.seen[0, zone, :, None], averages.per_slice[0, zone]
    has_largest = (shows & (per_slice == averages.largest[0, zone])).to(weights.dtype)
    has_largest = has_largest / has_largest.sum(dim=0).clamp(min=1)
    factors = shows * of_mean / shows.sum().clamp(min=1) + has_largest * of_largest
    share = averages.weights[0, zone] / averages.area[0, zone, :, None, None].clamp(min=1e-6)
    labels = seen.zones[0]
    inside = (labels > 0) if zone == WHOLE_ZONE else (labels == zone + 1)
    return Evidence(_spoken(seen.features[0], factors), share, inside)


def _spoken(features: Tensor, factors: Tensor) -> Tensor:
    """Channels ``(c, slices, h, w)`` summed with the factors ``(slices, c)`` of each slice."""
    return torch.einsum("cshw,sc->shw", features, factors)


def slices_alone(
    network: LesionResNet34, number: int, seen: Sequence[SequenceFeatures], counted: int
) -> Tensor:
    """What a head's logit would be, were each slice of a sequence all that this sequence shows.

    Parameters
    ----------
    number, seen
        As for `head_evidence`.
    counted
        Number of the sequence whose slices are taken alone; the other one stays as it is.

    Returns
    -------
    Tensor
        ``(slices,)``; minus infinity for a slice that does not show what the head looks at.
    """
    weights = network.heads.weight[number].detach().chunk(2)
    zone = zone_of_head(number) if network.architecture.pooling is Pooling.ZONES else 0
    one, other = seen[counted], seen[1 - counted]
    described = network.pooled(other.features, other.zones, other.present)[0, zone]
    beside = described @ weights[1 - counted] + network.heads.bias[number].detach()
    if network.architecture.pooling is Pooling.GLOBAL:
        added = one.features[0].mean(dim=(2, 3)).T @ weights[counted]
        shown = one.present[0]
    else:
        # The mean over one slice and the largest value over it are the same.
        of_mean, of_largest = weights[counted].chunk(2)
        added = one.averages.per_slice[0, zone] @ (of_mean + of_largest)
        shown = one.averages.seen[0, zone]
    return (added + beside).masked_fill(~shown, -torch.inf)


@dataclass(frozen=True)
class SquarePoint:
    """A point of a joint's square: which sequence, which of its slices, and (row, column) there.

    Slices are counted from the first that was looked at; pixels are index-centred.
    """

    sequence: int
    slice_number: int
    row: float
    column: float


def seen_best(evidence: Sequence[Evidence]) -> SquarePoint | None:
    """The point that speaks most for a lesion, on the slice that adds most to the logit.

    Parameters
    ----------
    evidence
        Of both sequences, as `head_evidence` gives it.

    Returns
    -------
    SquarePoint or None
        None where no slice speaks for the lesion.
    """
    added = [one.of_slices for one in evidence]
    sequence = max(range(len(added)), key=lambda number: float(added[number].max()))
    slice_number = int(added[sequence].argmax())
    if added[sequence][slice_number] <= 0:
        return None
    one = evidence[sequence]
    row, column = _strongest(one.activation[slice_number], one.inside[slice_number])
    return SquarePoint(sequence, slice_number, row, column)


def _strongest(activation: Tensor, inside: Tensor) -> tuple[float, float]:
    """Where within a zone the activation is strongest, as (row, column) of its pixels.

    The mean of the zone's pixels, weighed by how far the activation rises above its lowest; a
    cell is a dozen pixels wide. Where the zone bends around that mean, its nearest pixel.
    """
    size = (inside.shape[0], inside.shape[1])
    fine = nnf.interpolate(activation[None, None], size, mode="bilinear", align_corners=False)
    places, values = inside.nonzero().double(), fine[0, 0][inside].double()
    rise = values - values.min()
    weights = (rise / rise.max().clamp(min=1e-12)) ** SHARPNESS
    if not weights.any():
        weights = torch.ones_like(weights)
    mean = (places * weights[:, None]).sum(dim=0) / weights.sum()
    away = (places - mean).norm(dim=1)
    nearest = int(away.argmin())
    point = mean if away[nearest] < 1 else places[nearest]
    return float(point[0]), float(point[1])
