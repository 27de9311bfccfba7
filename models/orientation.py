"""The canonical orientation of volumes, and the mapping of contours back to the original.

In the canonical orientation columns run to the patient's left, rows to the feet and slices from
anterior to posterior, so left and right are always the patient's.

Source: LPS axes from DICOM PS3.3 C.7.6.2.1.1.
"""

import numpy as np

from models.delineation import Contour, Delineation
from models.volume import Volume

_CLEAR_OF_ROUNDING = 1e-9


def canonical(volume: Volume) -> Volume:
    """Reorder a volume's voxels into the canonical orientation.

    Parameters
    ----------
    volume
        Slices in any in-plane orientation and either order; the first axis must be the slices.

    Returns
    -------
    Volume
        Columns run to the patient's left (+x), rows to the feet (-z) and slices from anterior to
        posterior (+y), as closely as the grid allows. Nothing is resampled; every voxel keeps its
        position in the patient.
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
    """Map a delineation from one ordering of a volume's voxels to another.

    Parameters
    ----------
    delineation
        In the indices of `origin`.
    origin, target
        The same voxels in two orders, such as a volume and its canonical form.

    Returns
    -------
    Delineation
        In the indices of `target`; every point keeps its position in the patient.
    """
    return Delineation(tuple(_carried_contour(c, origin, target) for c in delineation.contours))


def _carried_contour(contour: Contour, origin: Volume, target: Volume) -> Contour:
    slices = np.full((len(contour.points), 1), float(contour.slice_index))
    at = target.to_indices(origin.to_patient(np.hstack([slices, contour.points])))
    return Contour(round(float(at[0, 0])), contour.side, at[:, 1:], contour.quality)
