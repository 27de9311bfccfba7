"""NRRD images and segmentations, as 3D Slicer saves them, as volumes.

Source: the NRRD format (space, space directions, space origin) and 3D Slicer's segmentation keys
(Segment0_Name, Segment0_LabelValue, Segment0_Layer).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.case_file import CaseFileInvalid
from models.volume import Volume
from trainer.nifti import slices_first

NRRD_SUFFIXES = (".nrrd", ".nhdr")
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}


def read_nrrd(path: Path) -> Volume:
    """An NRRD image.

    Raises
    ------
    CaseFileInvalid
        If it is not a three-dimensional NRRD image with a position in the patient.
    """
    voxels, header = _loaded(path)
    if voxels.ndim != 3:
        raise CaseFileInvalid(f"{path} has {voxels.ndim} axes; a three-dimensional image is needed")
    return slices_first(voxels, _affine(header, path, 3), None)


def read_segments(path: Path) -> Mapping[str, Volume]:
    """The mask of every segment of a segmentation (``.seg.nrrd``), by its name.

    Raises
    ------
    CaseFileInvalid
        If it cannot be read, or names no segment.
    """
    voxels, header = _loaded(path)
    layers = voxels if voxels.ndim == 4 else voxels[None]
    affine = _affine(header, path, voxels.ndim)
    numbers = [key.removesuffix("_Name") for key in header if key.endswith("_Name")]
    masks = {
        str(header[f"{one}_Name"]): layers[int(header.get(f"{one}_Layer", 0))]
        == int(header.get(f"{one}_LabelValue", 1))
        for one in numbers
        if one.startswith("Segment")
    }
    if not masks:
        raise CaseFileInvalid(f"{path} names no segment; save it as .seg.nrrd in 3D Slicer")
    return {name: slices_first(mask, affine, None) for name, mask in masks.items()}


def _loaded(path: Path) -> tuple[NDArray[Any], Mapping[str, Any]]:
    import nrrd  # noqa: PLC0415  only needed to import NRRD

    try:
        voxels, header = nrrd.read(str(path))
    except (OSError, ValueError, nrrd.NRRDError) as error:
        raise CaseFileInvalid(f"{path} cannot be read as NRRD: {error}") from error
    return voxels, header


def _affine(header: Mapping[str, Any], path: Path, axes: int) -> NDArray[np.float64]:
    """Voxel indices to LPS millimetres, ``(4, 4)``."""
    signs = _TO_LPS.get(str(header.get("space", "")).lower())
    if signs is None or "space directions" not in header:
        raise CaseFileInvalid(
            f"{path} does not say where it lies in the patient (space, space directions); save it "
            "with its geometry"
        )
    affine = np.eye(4)
    directions = np.array(header["space directions"], np.float64)[axes - 3 :]
    affine[:3, :3] = directions.T * np.reshape(signs, (3, 1))
    affine[:3, 3] = np.array(header.get("space origin", (0, 0, 0)), np.float64) * signs
    return affine
