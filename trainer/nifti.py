"""NIfTI images as volumes: positions from RAS to LPS, slices first.

Source: NIfTI-1 header (sform, qform, dim_info).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.case_file import CaseFileInvalid
from models.volume import Volume

CLEARLY_THICKER = 1.3
"""An axis is that of the slices if its spacing is this many times that of the others."""
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(path: Path) -> Volume:
    """A NIfTI image, with slices along the axis named in its header.

    Raises
    ------
    CaseFileInvalid
        If it is not a three-dimensional NIfTI image.
    """
    return slices_first(*_loaded(path))


def _loaded(path: Path) -> tuple[NDArray[Any], NDArray[np.float64], int | None]:
    """Voxels, LPS affine, and the slice axis of the header, if it names one."""
    import nibabel  # noqa: PLC0415  only needed to import NIfTI

    try:
        image: Any = nibabel.load(path)
        voxels = np.asarray(image.dataobj)
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise CaseFileInvalid(f"{path} cannot be read as NIfTI: {error}") from error
    if voxels.ndim != 3:
        raise CaseFileInvalid(f"{path} has {voxels.ndim} axes; a three-dimensional image is needed")
    named = image.header.get_dim_info()[2] if hasattr(image.header, "get_dim_info") else None
    return voxels, _RAS_TO_LPS @ np.asarray(image.affine, np.float64), named


def slices_first(voxels: NDArray[Any], affine: NDArray[np.float64], named: int | None) -> Volume:
    """A volume from voxels with axes in any order.

    Parameters
    ----------
    affine
        Voxel indices to LPS millimetres, ``(4, 4)``.
    named
        The slice axis, if the file names it; otherwise that of `slice_axis`.
    """
    slices = slice_axis(affine) if named is None else named
    order = [slices, *(axis for axis in range(3) if axis != slices)]
    values = np.ascontiguousarray(voxels.transpose(order), dtype=np.float32)
    return Volume(values, affine[:, [*order, 3]])


def slice_axis(affine: NDArray[np.float64]) -> int:
    """The slice axis, for headers that do not name it.

    Parameters
    ----------
    affine
        Of the voxels, ``(4, 4)``.

    Returns
    -------
    int
        The axis with clearly the largest spacing, whatever the slices' tilt; in a nearly
        isotropic image the one that runs most from front to back.
    """
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    thickest = int(spacing_mm.argmax())
    if spacing_mm[thickest] > CLEARLY_THICKER * np.delete(spacing_mm, thickest).max():
        return thickest
    return int(np.abs(affine[1, :3] / spacing_mm).argmax())
