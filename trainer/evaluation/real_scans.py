"""Real scans with what people drew on them, from a folder of NIfTI or DICOM images.

Scans are ``CASE_T1W.nii.gz`` and ``CASE_STIR.nii.gz`` beside it, or the DICOM images of a study in
a folder named CASE. Joint lines are in ``lines/CASE.json``, masks of the bone around the joints in
``masks/CASE_*.nii.gz`` and outlined oedema in ``oedema/CASE_*.nii.gz``; each may be missing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing

from models.findings import Side
from models.orientation import canonical
from models.volume import Volume
from trainer.errors import TrainingInputInvalid
from trainer.nifti import read_nifti

KINDS = ("T1W", "STIR")
ENDING = "_T1W.nii.gz"

Mask = NDArray[np.bool_]
DrawnLines = Mapping[tuple[int, Side], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class RealScan:
    """One volume in canonical orientation with its annotations.

    Parameters
    ----------
    lines
        Joint lines in the volume's (row, column), by slice and side; None without annotation.
    ambiguous
        Where careful annotators might differ.
    bone
        The experts' region of bone on the volume's grid, gaps between bones closed; or None.
    oedema
        On the volume's grid, outlined by one reader in one session each.
    """

    case: str
    kind: str
    volume: Volume
    lines: DrawnLines | None
    ambiguous: frozenset[tuple[int, Side]]
    bone: Mask | None
    oedema: tuple[Mask, ...] = ()


def read_studies(folder: Path) -> Iterator[list[RealScan]]:
    """Every case of a folder: its T1, its STIR, or both.

    Raises
    ------
    TrainingInputInvalid
        If there is no scan, or lines cannot be read.
    CaseFileInvalid
        If an image cannot be read.
    """
    from trainer.dicom_series import dicom_studies  # noqa: PLC0415  pydicom only where needed

    found = False
    for case, volumes in (*_nifti_studies(folder), *dicom_studies(folder)):
        found = True
        yield [_scan(folder, case, kind, volumes[kind]) for kind in KINDS if kind in volumes]
    if not found:
        raise TrainingInputInvalid(
            f"{folder} has no scans; needed are CASE{ENDING}, with CASE_STIR.nii.gz beside it if "
            "there is one, or a folder of DICOM images for each case"
        )


def _nifti_studies(folder: Path) -> Iterator[tuple[str, Mapping[str, Volume]]]:
    for path in sorted(folder.rglob(f"*{ENDING}")):
        case = path.name.removesuffix(ENDING)
        files = {kind: path.with_name(f"{case}_{kind}.nii.gz") for kind in KINDS}
        yield case, {kind: read_nifti(file) for kind, file in files.items() if file.exists()}


def _scan(folder: Path, case: str, kind: str, given: Volume) -> RealScan:
    volume = canonical(given)
    lines, ambiguous = _lines(folder / "lines" / f"{case}.json", volume)
    masks = [_on_grid(path, volume) for path in sorted((folder / "masks").glob(f"{case}_*.nii*"))]
    outlines = sorted((folder / "oedema").glob(f"{case}_*.nii*")) if kind == "STIR" else []
    return RealScan(
        case,
        kind,
        volume,
        lines,
        ambiguous,
        _closed(masks[0], volume) if masks else None,
        tuple(_on_grid(path, volume) for path in outlines),
    )


def _lines(path: Path, volume: Volume) -> tuple[DrawnLines | None, frozenset[tuple[int, Side]]]:
    """Joint lines and ambiguous slices; what lies outside the volume belongs to another one."""
    if not path.exists():
        return None, frozenset()
    try:
        drawn: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lines = dict(_placed(drawn, volume))
        doubtful = {
            (int(number), Side(side))
            for number, sides in drawn.get("ambiguous", {}).items()
            for side in sides
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingInputInvalid(
            f"{path} cannot be read: {error}; needed are lines by slice and side in LPS mm, as in "
            '{"lines": {"7": {"right": [[x, y, z], …]}}, "ambiguous": {"7": ["right"]}}'
        ) from error
    return lines, frozenset(doubtful)


def _placed(
    drawn: Mapping[str, Any], volume: Volume
) -> Iterator[tuple[tuple[int, Side], NDArray[np.float64]]]:
    for sides in drawn["lines"].values():
        for side, points in sides.items():
            if points:
                at = volume.to_indices(np.array(points, float))
                yield (round(float(at[:, 0].mean())), Side(side)), at[:, 1:]


def _on_grid(path: Path, volume: Volume) -> Mask:
    """A mask at the voxels of a volume, through patient space; False outside of it."""
    mask = canonical(read_nifti(path))
    if mask.voxels.shape == volume.voxels.shape and np.allclose(
        mask.affine, volume.affine, atol=0.01
    ):
        return np.asarray(mask.voxels > 0)
    at = np.rint(mask.to_indices(volume.to_patient(_every_voxel(volume)))).astype(int)
    inside = np.asarray(((at >= 0) & (at < mask.voxels.shape)).all(axis=-1))
    marked = np.zeros(volume.voxels.shape, bool)
    marked[inside] = mask.voxels[tuple(at[inside].T)] > 0
    return marked


def _every_voxel(volume: Volume) -> NDArray[np.float64]:
    return np.moveaxis(np.indices(volume.voxels.shape, dtype=np.float64), 0, -1)


def _closed(mask: Mask, volume: Volume) -> Mask:
    """The mask with the joint space between both bones closed."""
    reach = max(1, round(3.0 / volume.spacing_mm[1]))
    disc = np.hypot(*np.indices((2 * reach + 1,) * 2) - reach) <= reach
    return np.stack([binary_closing(one, disc) for one in mask])
