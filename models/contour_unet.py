"""The contour network: where each joint begins, where it ends, and the way between them.

A 2D U-Net reads one slice, and the slices before and behind it for comparison, and answers, for
each of the two joints, with a heatmap of the superior end (source), a heatmap of the inferior end
(sink) and a field of unit vectors that leads from one to the other.

Source: paper, "Delineating the sacroiliac joints" (one network, eight output channels); the
neighbours are ours.
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
    """The numbers that fix the network's shape.

    Parameters
    ----------
    width
        Channels of the first level; each level below has twice as many.
    levels
        Resolutions, the first included.
    fold
        The image is folded ``fold × fold`` pixels into one before the first level and the answer
        unfolded after the last, which loses no pixel. 1 is the plain U-Net.
    channels_per_joint
        4 for source, sink and field; 21 for the baseline's landmarks.
    neighbours
        Slices on either side that are seen with each slice; 0 is the paper's.
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
        """The slices that are seen at once: the one that is meant, then those around it."""
        return (0, *(side * far for far in range(1, self.neighbours + 1) for side in (-1, 1)))


class ContourUNet(UNet):
    """A U-Net with the same output channels for both joints, four each.

    Parameters
    ----------
    architecture
        Its shape.
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
        """False for the baseline, whose channels are landmarks."""
        return self.architecture.channels_per_joint == CHANNELS_PER_JOINT

    def forward(self, images: Tensor) -> Tensor:
        """Maps of both joints.

        Parameters
        ----------
        images
            ``(batch, slices seen, size, size)``, as `models.contour_maps.with_neighbours` gives
            them; the size must be a multiple of ``fold · 2^(levels - 1)``.

        Returns
        -------
        Tensor
            ``(batch, 8, size, size)``: source, sink, field row, field column of the right joint,
            then of the left.
        """
        return self.maps(self.features(images)[0])
