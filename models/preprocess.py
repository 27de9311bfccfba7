"""What is done to the images before a network sees them, and how to find the way back.

A volume is first brought into one canonical orientation (columns run to the patient's left,
rows to the feet, slices from front to back), so that left and right are always the patient's.
Each slice is then zero-padded to a square, resampled to 224 × 224 and scaled by percentiles of
the whole volume.

Source: paper, "Implementation details"; LPS axes from DICOM PS3.3 C.7.6.2.1.1.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from models.delineation import Contour, Delineation
from models.volume import Volume

PREPROCESSING_VERSION = 1
"""Rises whenever a network trained before would see different numbers."""

NETWORK_PX = 224
"""Side of the square that the contour network sees (paper)."""

DARK_PERCENTILE, BRIGHT_PERCENTILE = 1.0, 99.0
BRIGHTEST = 2.0
"""Values above twice the bright percentile (vessels, coil flare) are cut."""

_CLEAR_OF_ROUNDING = 1e-9


def canonical(volume: Volume) -> Volume:
    """The same voxels, reordered into the canonical orientation.

    Parameters
    ----------
    volume
        Slices in any in-plane orientation and either order; the first axis must be the slices.

    Returns
    -------
    Volume
        Columns run to the patient's left (+x), rows to the feet (-z) and slices from front to
        back (+y), each as nearly as the grid allows; nothing is resampled. The affine maps every
        voxel to where it was before.
    """
    row, column = volume.affine[:3, 1], volume.affine[:3, 2]
    upright = abs(column[0]) / np.linalg.norm(column) + abs(row[2]) / np.linalg.norm(row)
    lying = abs(row[0]) / np.linalg.norm(row) + abs(column[2]) / np.linalg.norm(column)
    if lying > upright + _CLEAR_OF_ROUNDING:
        volume = Volume(volume.voxels.transpose(0, 2, 1), volume.affine[:, [0, 2, 1, 3]])
    x, y, z = volume.affine[:3, :3]
    against = (y[0] < 0, z[1] > 0, x[2] < 0)
    return _flipped(volume, tuple(axis for axis in range(3) if against[axis]))


def _flipped(volume: Volume, axes: tuple[int, ...]) -> Volume:
    affine = volume.affine.copy()
    for axis in axes:
        affine[:, 3] += affine[:, axis] * (volume.voxels.shape[axis] - 1)
        affine[:, axis] *= -1
    return Volume(np.ascontiguousarray(np.flip(volume.voxels, axes)), affine)


def carried(delineation: Delineation, origin: Volume, target: Volume) -> Delineation:
    """A delineation drawn on one ordering of a volume, in the indices of another.

    Parameters
    ----------
    delineation
        In the indices of `origin`.
    origin, target
        The same voxels in two orders, such as a volume and its canonical form.

    Returns
    -------
    Delineation
        In the indices of `target`; every point stays where it was in the patient.
    """
    return Delineation(tuple(_carried_contour(c, origin, target) for c in delineation.contours))


def _carried_contour(contour: Contour, origin: Volume, target: Volume) -> Contour:
    slices = np.full((len(contour.points), 1), float(contour.slice_index))
    at = target.to_indices(origin.to_patient(np.hstack([slices, contour.points])))
    return Contour(round(float(at[0, 0])), contour.side, at[:, 1:], contour.quality)


@dataclass(frozen=True)
class SquareFrame:
    """The square the network sees, against the image it was made from.

    Points are index-centred on both sides: (0, 0) is the centre of the first pixel.

    Parameters
    ----------
    rows, columns
        Of the image.
    size_px
        Side of the network's square.
    """

    rows: int
    columns: int
    size_px: int = NETWORK_PX

    @property
    def side_px(self) -> int:
        """Side of the zero-padded square, in the image's pixels."""
        return max(self.rows, self.columns)

    @property
    def scale(self) -> float:
        """Network pixels per image pixel."""
        return self.size_px / self.side_px

    @property
    def offset(self) -> NDArray[np.float64]:
        """Zero rows and columns put before the image's first."""
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
    """Intensities scaled by the volume's own percentiles.

    Parameters
    ----------
    voxels
        Shape ``(slices, rows, columns)``, any unit.

    Returns
    -------
    NDArray
        0 at the 1st percentile, 1 at the 99th, cut to 0 to 2; zeros if the volume is flat.
    """
    sample = voxels[:, ::4, ::4] if min(voxels.shape[1:]) >= 64 else voxels
    dark, bright = np.percentile(sample, (DARK_PERCENTILE, BRIGHT_PERCENTILE))
    if bright <= dark:
        return np.zeros_like(voxels, dtype=np.float32)
    scaled = (voxels - np.float32(dark)) / np.float32(bright - dark)
    return np.asarray(np.clip(scaled, 0, BRIGHTEST), dtype=np.float32)


def network_slices(volume: Volume, size_px: int = NETWORK_PX) -> torch.Tensor:
    """Every slice of a canonical volume as the contour network sees it.

    Parameters
    ----------
    volume
        In canonical orientation.
    size_px
        Side of the network's square.

    Returns
    -------
    torch.Tensor
        float32, shape ``(slices, 1, size_px, size_px)``: normalised, zero-padded, bicubic.
    """
    frame = frame_of(volume, size_px)
    top, left = (int(n) for n in frame.offset)
    bottom, right = frame.side_px - frame.rows - top, frame.side_px - frame.columns - left
    images = torch.from_numpy(np.ascontiguousarray(normalised(volume.voxels))).unsqueeze(1)
    squares = nnf.pad(images, (left, right, top, bottom))
    return nnf.interpolate(
        squares, size=(size_px, size_px), mode="bicubic", antialias=True, align_corners=False
    )
