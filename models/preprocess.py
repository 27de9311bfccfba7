"""Preprocessing for the networks, and the mapping of points back to the image.

Each slice of a canonical volume is zero-padded to a square, resampled to 224 × 224 and scaled by
percentiles of the whole volume.

Source: paper, "Implementation details".
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from models.volume import Volume

PREPROCESSING_VERSION = 1
"""Incremented whenever an existing network would see different values."""

NETWORK_PX = 224
"""Side of the contour network's input (paper)."""

DARK_PERCENTILE, BRIGHT_PERCENTILE = 1.0, 99.0
BRIGHTEST = 2.0
"""Values above twice the bright percentile (vessels, coil flare) are clipped."""


@dataclass(frozen=True)
class SquareFrame:
    """Mapping between an image and the network's square input.

    Points are index-centred in both: (0, 0) is the centre of the first pixel.

    Parameters
    ----------
    rows, columns
        Size of the image.
    size_px
        Side of the network's input.
    """

    rows: int
    columns: int
    size_px: int = NETWORK_PX

    @property
    def side_px(self) -> int:
        """Side of the zero-padded square, in image pixels."""
        return max(self.rows, self.columns)

    @property
    def scale(self) -> float:
        """Network pixels per image pixel."""
        return self.size_px / self.side_px

    @property
    def offset(self) -> NDArray[np.float64]:
        """Rows and columns of zero padding before the image's first."""
        return np.array(
            [(self.side_px - self.rows) // 2, (self.side_px - self.columns) // 2], float
        )

    def to_network(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Network (row, column) of image points, shape ``(…, 2)``."""
        return (points + self.offset + 0.5) * self.scale - 0.5

    def to_image(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image (row, column) of network points; the inverse of `to_network`."""
        return (points + 0.5) / self.scale - 0.5 - self.offset


def frame_of(volume: Volume, size_px: int = NETWORK_PX) -> SquareFrame:
    """The square frame of a volume's slices."""
    return SquareFrame(volume.voxels.shape[1], volume.voxels.shape[2], size_px)


def normalised(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale intensities by the volume's own percentiles.

    Parameters
    ----------
    voxels
        Shape ``(slices, rows, columns)``, any unit.

    Returns
    -------
    NDArray
        0 at the 1st percentile, 1 at the 99th, clipped to 0 to 2; zeros for a constant volume.
    """
    sample = voxels[:, ::4, ::4] if min(voxels.shape[1:]) >= 64 else voxels
    dark, bright = np.percentile(sample, (DARK_PERCENTILE, BRIGHT_PERCENTILE))
    if bright <= dark:
        return np.zeros_like(voxels, dtype=np.float32)
    scaled = (voxels - np.float32(dark)) / np.float32(bright - dark)
    return np.asarray(np.clip(scaled, 0, BRIGHTEST), dtype=np.float32)


def network_slices(volume: Volume, size_px: int = NETWORK_PX) -> torch.Tensor:
    """The contour network's input for every slice of a volume.

    Parameters
    ----------
    volume
        In canonical orientation.
    size_px
        Side of the network's input.

    Returns
    -------
    torch.Tensor
        float32, shape ``(slices, 1, size_px, size_px)``: normalised, zero-padded, resampled
        bicubically.
    """
    frame = frame_of(volume, size_px)
    top, left = (int(n) for n in frame.offset)
    bottom, right = frame.side_px - frame.rows - top, frame.side_px - frame.columns - left
    images = torch.from_numpy(np.ascontiguousarray(normalised(volume.voxels))).unsqueeze(1)
    squares = nnf.pad(images, (left, right, top, bottom))
    return nnf.interpolate(
        squares, size=(size_px, size_px), mode="bicubic", antialias=True, align_corners=False
    )
