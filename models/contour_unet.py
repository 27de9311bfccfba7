"""The contour network: both ends of each joint, and a vector field along the joint space.

A 2D U-Net takes one slice, optionally with its neighbours, and predicts for each of the two
joints a heatmap of the superior end (source), a heatmap of the inferior end (sink), and a field
of unit vectors that leads from one to the other.

Source: paper, "Delineating the sacroiliac joints" (one network, eight output channels); the
neighbouring slices are ours.
"""

from dataclasses import dataclass

from torch import Tensor

from models.findings import Side
from models.u_net import UNet

CHANNELS_PER_JOINT = 4
"""Source, sink, and the field's row and column components, in this order."""

SOURCE, SINK, FIELD_ROW, FIELD_COLUMN = range(CHANNELS_PER_JOINT)

SIDES: tuple[Side, ...] = tuple(Side)
"""The joints in the order of the output channels: right, then left."""


@dataclass(frozen=True)
class ContourArchitecture:
    """Hyperparameters of the contour network.

    Parameters
    ----------
    width
        Channels of the first level; doubled at each level below.
    levels
        Number of resolution levels, including the first.
    fold
        Each ``fold × fold`` block of pixels becomes one pixel's channels before the first level
        and is unfolded after the last (pixel unshuffle and shuffle). 1 gives the plain U-Net.
    channels_per_joint
        4 for source, sink and field; 21 for the landmark baseline.
    neighbours
        Neighbouring slices on either side that are added as input channels; 0 in the paper.
    """

    width: int = 16
    levels: int = 5
    fold: int = 2
    channels_per_joint: int = CHANNELS_PER_JOINT
    neighbours: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.levels, self.fold, self.channels_per_joint) < 1:
            raise ValueError(f"width, levels, fold and channels must be 1 or more, got {self}")
        if self.neighbours < 0:
            raise ValueError(f"neighbours must be 0 or more, got {self}")

    @property
    def slice_offsets(self) -> tuple[int, ...]:
        """Offsets of the input slices: the slice itself, then its neighbours."""
        return (0, *(side * far for far in range(1, self.neighbours + 1) for side in (-1, 1)))


class ContourUNet(UNet):
    """A U-Net with one group of output channels for each joint.

    Parameters
    ----------
    architecture
        Hyperparameters.
    """

    def __init__(self, architecture: ContourArchitecture) -> None:
        super().__init__(
            inputs=len(architecture.slice_offsets),
            width=architecture.width,
            levels=architecture.levels,
            fold=architecture.fold,
            outputs=architecture.channels_per_joint * len(SIDES),
        )
        self.architecture = architecture

    @property
    def gives_fields(self) -> bool:
        """False for the baseline, whose channels are landmark heatmaps."""
        return self.architecture.channels_per_joint == CHANNELS_PER_JOINT

    def forward(self, images: Tensor) -> Tensor:
        """Predict the maps of both joints.

        Parameters
        ----------
        images
            ``(batch, input slices, size, size)`` from `models.contour_maps.with_neighbours`; the
            size must be a multiple of ``fold · 2^(levels - 1)``.

        Returns
        -------
        Tensor
            ``(batch, 8, size, size)``: source, sink, field row, field column of the right joint,
            then of the left.
        """
        return self.maps(self.features(images)[0])
