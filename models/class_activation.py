"""Locates lesions by class activation: a head's logit decomposed by sequence, slice and cell.

A head is linear in the pooled features, so its logit is a sum over the cells of both sequences
plus a bias. Mean pooling spreads a contribution over all slices; max pooling assigns it, channel
by channel, to the slice, or the cell, with the maximum. The decomposition is exact.

Source: class activation maps (Zhou et al., CVPR 2016), extended to slices and zones.
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
    cells_inside,
    zone_averages,
    zone_of_head,
)

SHARPNESS = 3
"""Exponent of the activation when it weights the pixels for the point of a lesion."""


@dataclass(frozen=True, eq=False)
class SequenceFeatures:
    """Features of the last stage for one sequence of one joint.

    Parameters
    ----------
    features
        From `LesionResNet34.feature_maps`, ``(1, channels, slices, h, w)``.
    zones
        Labels 0 to 5, ``(1, slices, size, size)``.
    present
        ``(1, slices)``.
    strongest_cells, inner_slices
        As in `LesionArchitecture`.
    """

    features: Tensor
    zones: Tensor
    present: Tensor
    strongest_cells: bool = False
    inner_slices: bool = False

    @cached_property
    def averages(self) -> ZoneAverages:
        """Pooled features of every zone on every slice."""
        return zone_averages(
            self.features, self.zones, self.present, self.strongest_cells, self.inner_slices
        )


@dataclass(frozen=True, eq=False)
class LogitContribution:
    """The contribution of one sequence to one head's logit.

    Parameters
    ----------
    activation
        What speaks for the lesion in each cell, whatever the cell's weight, ``(slices, h, w)``.
    added
        Contribution of each cell to the logit, ``(slices, h, w)``.
    inside
        True for pixels of the square that the head reads, ``(slices, size, size)``.
    """

    activation: Tensor
    added: Tensor
    inside: Tensor

    @property
    def per_slice(self) -> Tensor:
        """Contribution of each slice to the logit, ``(slices,)``."""
        return self.added.sum(dim=(1, 2))


def logit_contributions(
    network: LesionResNet34, number: int, seen: Sequence[SequenceFeatures]
) -> tuple[LogitContribution, ...]:
    """Decompose a head's logit.

    Parameters
    ----------
    number
        Index of the head in HEADS.
    seen
        T1, then STIR, of the same joint.

    Returns
    -------
    tuple
        One for each sequence; the contributions of all slices add up to the logit without bias.
    """
    weights = network.heads.weight[number].detach().chunk(2)
    if network.architecture.pooling is Pooling.GLOBAL:
        return tuple(_everywhere(one, w) for one, w in zip(seen, weights, strict=True))
    zone = zone_of_head(number)
    return tuple(_in_zone(one, zone, w) for one, w in zip(seen, weights, strict=True))


def _everywhere(seen: SequenceFeatures, weights: Tensor) -> LogitContribution:
    present = seen.present[0].to(weights.dtype)
    factors = present[:, None] * weights / present.sum().clamp(min=1)
    features = seen.features[0]
    _, _, rows, columns = features.shape
    share = (present / (rows * columns))[:, None, None].expand(-1, rows, columns)
    inside = seen.present[0, :, None, None].expand(seen.zones.shape[1:])
    activation = _weighted(features, factors)
    return LogitContribution(activation, activation * share, inside)


def _in_zone(seen: SequenceFeatures, zone: int, weights: Tensor) -> LogitContribution:
    averages, (of_first, of_largest) = seen.averages, weights.chunk(2)
    features, labels = seen.features[0], seen.zones[0]
    shows = averages.seen[0, zone, :, None]
    share = averages.weights[0, zone] / averages.area[0, zone, :, None, None].clamp(min=1e-6)
    largest = _of_largest(averages, averages.peaks, zone) * of_largest
    inside = (labels > 0) if zone == WHOLE_ZONE else (labels == zone + 1)
    if averages.cells is None:
        means = shows * of_first / shows.sum().clamp(min=1)
        activation = _weighted(features, means + largest)
        return LogitContribution(activation, activation * share, inside)
    means = _of_largest(averages, averages.per_slice, zone) * of_first
    cells = cells_inside(averages.weights)[0, zone]
    at_peak = cells & (features == averages.cells[0, zone].T[:, :, None, None])
    at_peak = at_peak / at_peak.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    activation = _weighted(features, shows * (of_first + of_largest)) * (share > 0)
    added = _weighted(features, means) * share + _weighted(features * at_peak, largest)
    return LogitContribution(activation, added, inside)


def _of_largest(averages: ZoneAverages, features: Tensor, zone: int) -> Tensor:
    """Share of each slice in the maximum of each channel, ``(slices, c)``."""
    shows, per_slice = averages.seen[0, zone, :, None], features[0, zone]
    largest = averages.largest(features)[0, zone]
    has_largest = (shows & (per_slice == largest)).to(per_slice.dtype)
    return has_largest / has_largest.sum(dim=0).clamp(min=1)


def _weighted(features: Tensor, factors: Tensor) -> Tensor:
    """Sum of the channels ``(c, slices, h, w)``, weighted per slice by ``(slices, c)``."""
    return torch.einsum("cshw,sc->shw", features, factors)


def single_slice_logits(
    network: LesionResNet34, number: int, seen: Sequence[SequenceFeatures], counted: int
) -> Tensor:
    """A head's logit for each single slice of one sequence, combined with the full other sequence.

    Parameters
    ----------
    number, seen
        As for `logit_contributions`.
    counted
        Index of the sequence that is reduced to a single slice.

    Returns
    -------
    Tensor
        ``(slices,)``; minus infinity for a slice that does not show the head's zone.
    """
    weights = network.heads.weight[number].detach().chunk(2)
    zone = zone_of_head(number)
    one, other = seen[counted], seen[1 - counted]
    constant = (
        _embedding(network, other, zone) @ weights[1 - counted]
        + network.heads.bias[number].detach()
    )
    if network.architecture.pooling is Pooling.GLOBAL:
        added = one.features[0].mean(dim=(2, 3)).T @ weights[counted]
        shown = one.present[0]
    else:
        of_mean, of_largest = weights[counted].chunk(2)
        added = one.averages.per_slice[0, zone] @ of_mean + one.averages.peaks[0, zone] @ of_largest
        shown = one.averages.seen[0, zone]
    return (added + constant).masked_fill(~shown, -torch.inf)


def _embedding(network: LesionResNet34, seen: SequenceFeatures, zone: int) -> Tensor:
    """The embedding of one zone of a sequence; averages that are known are used again."""
    if network.architecture.pooling is Pooling.ZONES:
        return seen.averages.summary[0, zone]
    return network.pooled(seen.features, seen.zones, seen.present)[0, 0]


@dataclass(frozen=True)
class RoiPoint:
    """A point of a joint's square: sequence, slice, and (row, column) on that slice.

    Slices are counted from the first within the box; pixels are index-centred.
    """

    sequence: int
    slice_number: int
    row: float
    column: float


def strongest_point(contributions: Sequence[LogitContribution]) -> RoiPoint | None:
    """The point of highest activation, on the slice that contributes most to the logit.

    Parameters
    ----------
    contributions
        Both sequences' contributions, from `logit_contributions`.

    Returns
    -------
    SquarePoint or None
        None if no slice has a positive contribution.
    """
    added = [one.per_slice for one in contributions]
    sequence = max(range(len(added)), key=lambda number: float(added[number].max()))
    slice_number = int(added[sequence].argmax())
    if added[sequence][slice_number] <= 0:
        return None
    one = contributions[sequence]
    row, column = _strongest(one.activation[slice_number], one.inside[slice_number])
    return RoiPoint(sequence, slice_number, row, column)


def _strongest(activation: Tensor, inside: Tensor) -> tuple[float, float]:
    """(row, column) of the strongest activation within a zone.

    This is the mean of the zone's pixels weighted by activation, because a cell is a dozen pixels
    wide; if that lies outside a curved zone, the nearest pixel of the zone.
    """
    size = (inside.shape[0], inside.shape[1])
    fine = nnf.interpolate(activation[None, None], size, mode="bilinear", align_corners=False)
    pixels, values = inside.nonzero().double(), fine[0, 0][inside].double()
    rise = values - values.min()
    weights = (rise / rise.max().clamp(min=1e-12)) ** SHARPNESS
    if not weights.any():
        weights = torch.ones_like(weights)
    mean = (pixels * weights[:, None]).sum(dim=0) / weights.sum()
    distances = (pixels - mean).norm(dim=1)
    nearest = int(distances.argmin())
    point = mean if distances[nearest] < 1 else pixels[nearest]
    return float(point[0]), float(point[1])
