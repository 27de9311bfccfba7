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
IN_PLANE_STRIDES = (1, 1, 2, 2)


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
    """

    width: int = 64
    kernel_depth: int = 3
    pooling: Pooling = Pooling.GLOBAL
    sees_zones: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or self.kernel_depth < 1 or self.kernel_depth % 2 == 0:
            raise ValueError(f"width must be positive and kernel_depth odd, got {self}")

    @property
    def inputs(self) -> int:
        """Input channels: the image and, if enabled, each region's mask."""
        return 1 + (len(REGIONS_PER_JOINT) if self.sees_zones else 0)

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
        first = BasicBlock(inputs, outputs, IN_PLANE_STRIDES[number], depth)
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
        mixes_slices = self.architecture.kernel_depth > 1 and not bool(present.all())
        keep = present[:, None, :, None, None] if mixes_slices else None
        if self.architecture.pooling is Pooling.ZONES:
            squares = levelled(squares, zones, present)
        inputs = squares.unsqueeze(1)
        if self.architecture.sees_zones:
            inputs = torch.cat([inputs, zone_masks(zones).to(inputs.dtype)], dim=1)
        images = _kept(inputs, keep)
        features = _kept(nnf.relu(self.bn1(self.conv1(images))), keep)
        features = nnf.max_pool3d(features, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                features = block(features, keep)
        return features.float()

    def pooled(self, features: Tensor, zones: Tensor, present: Tensor) -> Tensor:
        """The embedding of `encode`, from the output of `feature_maps`."""
        if self.architecture.pooling is Pooling.GLOBAL:
            return global_mean(features, present).unsqueeze(1)
        return zone_summary(features, zones, present)

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


def levelled(squares: Tensor, zones: Tensor, present: Tensor) -> Tensor:
    """Divide squares by the mean intensity of the joint's regions, over all present slices.

    This compares lesions with the patient's own marrow, whatever the coil and protocol. Shapes as
    in `LesionResNet34.encode`; a joint without regions is not changed.
    """
    inside = (zones > 0) & present[:, :, None, None]
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


@dataclass(frozen=True, eq=False)
class ZoneAverages:
    """Mean features of each zone on each slice.

    Parameters
    ----------
    weights
        Fraction of each cell covered by a zone, ``(n, 6, slices, h, w)``; 0 on padding slices.
    area
        Sum of the weights on each slice, ``(n, 6, slices)``.
    per_slice
        Mean features, ``(n, 6, slices, c)``.
    """

    weights: Tensor
    area: Tensor
    per_slice: Tensor

    @property
    def seen(self) -> Tensor:
        """Whether a slice shows a zone, ``(n, 6, slices)``."""
        return self.area > 0

    @property
    def largest(self) -> Tensor:
        """Maximum over the slices that show a zone, ``(n, 6, c)``; 0 if none does."""
        return self.per_slice.masked_fill(~self.seen.unsqueeze(-1), 0).amax(dim=2)


def zone_averages(features: Tensor, zones: Tensor, present: Tensor) -> ZoneAverages:
    """Average the features over each zone of each slice.

    Parameters
    ----------
    features
        ``(n, c, slices, h, w)``.
    zones
        Labels 0 to 5 at the input's resolution, ``(n, slices, H, W)``.
    present
        ``(n, slices)``.
    """
    masks = zone_masks(zones).to(features.dtype)
    masks = torch.cat([masks, masks.sum(dim=1, keepdim=True)], dim=1)
    weights = _averaged(masks, features) * present[:, None, :, None, None]
    area = weights.sum(dim=(3, 4))
    per_slice = (
        torch.einsum("ncshw,nzshw->nzsc", features, weights) / area.clamp(min=1e-6)[..., None]
    )
    return ZoneAverages(weights, area, per_slice)


def zone_summary(features: Tensor, zones: Tensor, present: Tensor) -> Tensor:
    """Mean and maximum over the slices of each zone's mean features.

    Parameters
    ----------
    features, zones, present
        As for `zone_averages`.

    Returns
    -------
    Tensor
        ``(n, 6, 2c)``; zeros for a zone that no slice shows.
    """
    averages = zone_averages(features, zones, present)
    slices = averages.seen.sum(dim=2, keepdim=True).clamp(min=1)
    return torch.cat([averages.per_slice.sum(dim=2) / slices, averages.largest], dim=2)


def _averaged(masks: Tensor, features: Tensor) -> Tensor:
    """Masks at the features' resolution: the fraction of each cell that they cover."""
    slices, rows, columns = features.shape[2:]
    return nnf.adaptive_avg_pool3d(masks, (slices, rows, columns))
