"""The lesion network: predicts the fourteen lesion probabilities of a joint.

A 3D ResNet34 encodes the joint's ROI on T1 and, with the same weights, on STIR. It never strides
across slices, so any number of slices will do. Fourteen linear heads read the concatenated
embeddings.

Source: paper, "Detecting SIJ lesions"; architecture and attribute names are SpineNet V2's.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from models.findings import HEADS, Lesion
from models.regions import REGIONS_PER_JOINT

BLOCKS = (3, 4, 6, 3)
IN_PLANE_STRIDES = (1, 1, 2)
"""Of all stages but the last, which the architecture gives."""


class Pooling(StrEnum):
    """How the features are pooled.

    GLOBAL is the paper's global average. ZONES first normalises the joint by the intensity of its
    own bone. It then averages over each quadrant, the joint space and all of them together, and
    pools the slices by both mean and maximum.
    """

    GLOBAL = "global"
    ZONES = "zones"


@dataclass(frozen=True)
class LesionArchitecture:
    """Hyperparameters of the lesion network.

    Parameters
    ----------
    width
        Channels of the first stage (64 in the paper); doubled at each stage.
    kernel_depth
        Depth of the convolution kernels in slices: 3 in the paper, 1 to encode slices separately.
    pooling
        How the features are pooled.
    sees_zones
        Whether the masks of the joint's regions are added as input channels, so that the network
        need not infer the bone on which a lesion lies.
    last_stride
        In-plane stride of the last stage: 2 in the paper, 1 for cells half as wide.
    strongest_cells
        Whether zone pooling takes the maxima over slices of a zone's mean and of its strongest
        cell, so that neither a small lesion nor one on few slices is averaged away; otherwise the
        mean and the maximum over slices of the zone's mean.
    sees_surroundings
        Whether the image relative to the intensity around the zones is a further input channel,
        beside the one that is levelled to the zones, which diffuse lesions enter.
    inner_slices
        Sclerosis is not read on the first and the last slice of a joint, where contours run on
        into the ligaments, which are as dark.
    """

    width: int = 64
    kernel_depth: int = 3
    pooling: Pooling = Pooling.GLOBAL
    sees_zones: bool = False
    last_stride: int = 2
    strongest_cells: bool = False
    sees_surroundings: bool = False
    inner_slices: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or self.kernel_depth < 1 or self.kernel_depth % 2 == 0:
            raise ValueError(f"width must be positive and kernel_depth odd, got {self}")

    @property
    def inputs(self) -> int:
        """Input channels: the image and, if enabled, each region's mask and the other levels."""
        masks = len(REGIONS_PER_JOINT) if self.sees_zones else 0
        return 1 + masks + self.sees_surroundings

    @property
    def features(self) -> int:
        """Output channels of the last stage."""
        return self.width << (len(BLOCKS) - 1)

    @property
    def embedding(self) -> int:
        """Size of one sequence's embedding."""
        return self.features * (2 if self.pooling is Pooling.ZONES else 1)


WHOLE_ZONE = len(REGIONS_PER_JOINT)
"""Index of the zone that unites all five regions; it comes after them."""


def zone_of_head(number: int) -> int:
    """The zone that a head reads with zone pooling."""
    head = HEADS[number]
    if head.lesion is Lesion.SCLEROSIS:
        return WHOLE_ZONE
    return REGIONS_PER_JOINT.index(head.region)


class BasicBlock(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, inputs: int, outputs: int, stride: int, depth: int) -> None:
        super().__init__()
        kernel, padding, strides = (depth, 3, 3), (depth // 2, 1, 1), (1, stride, stride)
        self.conv1 = nn.Conv3d(inputs, outputs, kernel, strides, padding, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, kernel, 1, padding, bias=False)
        self.bn2 = nn.BatchNorm3d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, strides, bias=False), nn.BatchNorm3d(outputs)
            )

    def forward(self, features: Tensor, keep: Tensor | None) -> Tensor:
        """Output features; slices masked out by `keep` stay zero."""
        identity = features if self.downsample is None else self.downsample(features)
        inner = _kept(nnf.relu(self.bn1(self.conv1(features))), keep)
        return _kept(nnf.relu(self.bn2(self.conv2(inner)) + identity), keep)


def _kept(features: Tensor, keep: Tensor | None) -> Tensor:
    return features if keep is None else features * keep.to(features.dtype)


class LesionResNet34(nn.Module):
    """One encoder for both sequences, and fourteen heads.

    Parameters
    ----------
    architecture
        Hyperparameters.
    """

    def __init__(self, architecture: LesionArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        width, depth = architecture.width, architecture.kernel_depth
        self.conv1 = nn.Conv3d(
            architecture.inputs, width, (depth, 7, 7), (1, 2, 2), (depth // 2, 3, 3)
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.layer1 = self._stage(0, width)
        self.layer2 = self._stage(1, width)
        self.layer3 = self._stage(2, width * 2)
        self.layer4 = self._stage(3, width * 4)
        self.heads = nn.Linear(2 * architecture.embedding, len(HEADS))

    def _stage(self, number: int, inputs: int) -> nn.ModuleList:
        outputs, depth = self.architecture.width * 2**number, self.architecture.kernel_depth
        strides = (*IN_PLANE_STRIDES, self.architecture.last_stride)
        first = BasicBlock(inputs, outputs, strides[number], depth)
        more = (BasicBlock(outputs, outputs, 1, depth) for _ in range(BLOCKS[number] - 1))
        return nn.ModuleList([first, *more])

    def encode(self, squares: Tensor, zones: Tensor, present: Tensor) -> Tensor:
        """Embed one sequence of each joint.

        Parameters
        ----------
        squares
            Normalised intensities, ``(joints, slices, size, size)``.
        zones
            Regions of the joint, 0 to 5, uint8, same shape.
        present
            False for padding slices, ``(joints, slices)``; they never affect the result.

        Returns
        -------
        Tensor
            ``(joints, zones, embedding)``; a single zone with global pooling.
        """
        return self.pooled(self.feature_maps(squares, zones, present), zones, present)

    def feature_maps(self, squares: Tensor, zones: Tensor, present: Tensor) -> Tensor:
        """Features of the last stage, before pooling.

        Parameters
        ----------
        squares, zones, present
            As for `encode`.

        Returns
        -------
        Tensor
            float32, ``(joints, channels, slices, rows, columns)``, non-negative.
        """
        inputs = self._inputs(squares, zones, present)
        if bool(present.all()):
            return self._features_of(inputs, None)
        if self.architecture.kernel_depth > 1:
            return self._features_of(inputs, present[:, None, :, None, None])
        packed = inputs.transpose(1, 2)[present]
        seen = self._features_of(packed.transpose(0, 1)[None], None)[0].transpose(0, 1)
        features = seen.new_zeros(*present.shape, *seen.shape[1:])
        features[present] = seen
        return features.transpose(1, 2)

    def _features_of(self, inputs: Tensor, keep: Tensor | None) -> Tensor:
        """Features of input channels; slices masked out by `keep` stay zero."""
        images = _kept(inputs, keep)
        features = _kept(nnf.relu(self.bn1(self.conv1(images))), keep)
        features = nnf.max_pool3d(features, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                features = block(features, keep)
        return features.float()

    def _inputs(self, squares: Tensor, zones: Tensor, present: Tensor) -> Tensor:
        """Input channels, ``(joints, channels, slices, size, size)``."""
        levelled_squares = squares
        if self.architecture.pooling is Pooling.ZONES:
            levelled_squares = levelled(squares, zones > 0, present)
        channels = [levelled_squares.unsqueeze(1)]
        if self.architecture.sees_zones:
            channels.append(zone_masks(zones).to(squares.dtype))
        if self.architecture.sees_surroundings:
            around = (zones == 0) & (squares > 0)
            channels.append(levelled(squares, around, present).unsqueeze(1))
        return torch.cat(channels, dim=1)

    def pooled(self, features: Tensor, zones: Tensor, present: Tensor) -> Tensor:
        """The embedding of `encode`, from the output of `feature_maps`."""
        if self.architecture.pooling is Pooling.GLOBAL:
            return global_mean(features, present).unsqueeze(1)
        shape = self.architecture
        averages = zone_averages(
            features, zones, present, shape.strongest_cells, shape.inner_slices
        )
        return averages.summary

    def forward(self, t1: Tensor, stir: Tensor) -> Tensor:
        """Logits from the embeddings of T1 and STIR.

        Parameters
        ----------
        t1, stir
            From `encode`, for the same joints.

        Returns
        -------
        Tensor
            ``(joints, 14)`` in the order of HEADS.
        """
        both = torch.cat([t1, stir], dim=2)
        if both.shape[1] == 1:
            both = both.expand(-1, WHOLE_ZONE + 1, -1)
        each = both[:, [zone_of_head(number) for number in range(len(HEADS))]]
        return (each * self.heads.weight).sum(dim=2) + self.heads.bias


def levelled(squares: Tensor, reference: Tensor, present: Tensor) -> Tensor:
    """Divide squares by their mean intensity where `reference` is true, over all present slices.

    This compares lesions with the patient's own tissue, whatever the coil and protocol. Shapes as
    in `LesionResNet34.encode`; a joint without such pixels is not changed.
    """
    inside = reference & present[:, :, None, None]
    area = inside.sum(dim=(1, 2, 3))
    level = (squares * inside).sum(dim=(1, 2, 3)) / area.clamp(min=1)
    usable = (area > 0) & (level > 1e-3)
    return squares / torch.where(usable, level, 1.0)[:, None, None, None]


def global_mean(features: Tensor, present: Tensor) -> Tensor:
    """Average over present slices, rows and columns: ``(n, c, s, h, w)`` to ``(n, c)``."""
    keep = present[:, None].to(features.dtype)
    per_slice = features.mean(dim=(3, 4)) * keep
    return per_slice.sum(dim=2) / keep.sum(dim=2).clamp(min=1)


def zone_masks(zones: Tensor) -> Tensor:
    """One-hot masks of the five regions: ``(n, slices, H, W)`` to ``(n, 5, slices, H, W)``."""
    labels = torch.arange(1, WHOLE_ZONE + 1, device=zones.device)[:, None, None, None]
    return zones[:, None] == labels


CELL_INSIDE = 0.3
"""A cell counts for the strongest of a zone if at least this share of it lies inside."""


@dataclass(frozen=True, eq=False)
class ZoneAverages:
    """Features of each zone on each slice.

    Parameters
    ----------
    weights
        Fraction of each cell covered by a zone, ``(n, 6, slices, h, w)``; 0 on padding slices.
    area
        Sum of the weights on each slice, ``(n, 6, slices)``.
    per_slice
        Mean features, ``(n, 6, slices, c)``.
    cells
        Features of each zone's strongest cell on each slice, same shape; None where means alone
        are pooled.
    """

    weights: Tensor
    area: Tensor
    per_slice: Tensor
    cells: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """Whether a slice shows a zone, ``(n, 6, slices)``."""
        return self.area > 0

    @property
    def peaks(self) -> Tensor:
        """Features of which the second maximum is taken."""
        return self.per_slice if self.cells is None else self.cells

    def largest(self, features: Tensor) -> Tensor:
        """Maximum over the slices that show a zone, ``(n, 6, c)``; 0 if none does."""
        return features.masked_fill(~self.seen.unsqueeze(-1), 0).amax(dim=2)

    @property
    def summary(self) -> Tensor:
        """Both pooled features, ``(n, 6, 2c)``; 0 for a zone that no slice shows."""
        if self.cells is None:
            slices = self.seen.sum(dim=2, keepdim=True).clamp(min=1)
            first = self.per_slice.sum(dim=2) / slices
        else:
            first = self.largest(self.per_slice)
        return torch.cat([first, self.largest(self.peaks)], dim=2)


def zone_averages(
    features: Tensor,
    zones: Tensor,
    present: Tensor,
    strongest_cells: bool = False,
    inner_slices: bool = False,
) -> ZoneAverages:
    """Pool the features of each zone on each slice.

    Parameters
    ----------
    features
        ``(n, c, slices, h, w)``, not negative.
    zones
        Labels 0 to 5 at the input's resolution, ``(n, slices, H, W)``.
    present
        ``(n, slices)``.
    strongest_cells, inner_slices
        As in `LesionArchitecture`.
    """
    masks = zone_masks(zones).to(features.dtype)
    masks = torch.cat([masks, masks.sum(dim=1, keepdim=True)], dim=1)
    weights = _averaged(masks, features) * present[:, None, :, None, None]
    if inner_slices:
        whole = weights[:, WHOLE_ZONE]
        whole *= _inner(whole.sum(dim=(2, 3)) > 0)[..., None, None]
    area = weights.sum(dim=(3, 4))
    per_slice = (
        torch.einsum("ncshw,nzshw->nzsc", features, weights) / area.clamp(min=1e-6)[..., None]
    )
    cells = cell_peaks(features, cells_inside(weights)) if strongest_cells else None
    return ZoneAverages(weights, area, per_slice, cells)


LEAST_INNER = 4
"""A joint on fewer slices is read on all of them."""


def _inner(shown: Tensor) -> Tensor:
    """The slices of those that show a joint, ``(n, slices)``, without the first and the last."""
    number, count = shown.cumsum(dim=1), shown.sum(dim=1, keepdim=True)
    return shown & ((count < LEAST_INNER) | ((number > 1) & (number < count)))


def cells_inside(weights: Tensor) -> Tensor:
    """The cells of which a zone's strongest is taken, from `ZoneAverages.weights`.

    Those that lie inside by `CELL_INSIDE` or more, or the one that lies inside most.
    """
    most = weights.amax(dim=(-2, -1), keepdim=True)
    return (weights > 0) & (weights >= most.clamp(max=CELL_INSIDE))


def cell_peaks(features: Tensor, inside: Tensor) -> Tensor:
    """Maximum of the features over the cells of each zone, ``(n, 6, slices, c)``; 0 without any."""
    zones = [
        (features * inside[:, zone, None].to(features.dtype)).amax(dim=(3, 4)).transpose(1, 2)
        for zone in range(inside.shape[1])
    ]
    return torch.stack(zones, dim=1)


def _averaged(masks: Tensor, features: Tensor) -> Tensor:
    """Masks at the features' resolution: the fraction of each cell that they cover."""
    slices, rows, columns = features.shape[2:]
    return nnf.adaptive_avg_pool3d(masks, (slices, rows, columns))
