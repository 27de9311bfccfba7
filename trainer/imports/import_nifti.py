"""Imports NIfTI images with masks of the sacrum and hip bones as a case, without drawn contours.

The contour on each coronal slice is the line halfway between sacrum and hip, wherever they are
within a joint's width of each other.

Source: the layout of TotalSegmentator's output: one folder with ``sacrum.nii.gz``,
``hip_left.nii.gz`` and ``hip_right.nii.gz`` on the grid of the image; NIfTI positions are RAS.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from models.case_file import (
    SUFFIX,
    Case,
    CaseFileInvalid,
    CaseSeries,
    check_subject,
    write_case_file,
)
from models.delineation import Contour, Delineation
from models.findings import Side
from models.orientation import canonical
from models.volume import Volume
from trainer.nifti import read_nifti

MASKS = {Side.LEFT: "hip_left", Side.RIGHT: "hip_right"}
WIDEST_JOINT_MM = 8.0
"""Largest distance between the bones in the joint; segmentations exclude cartilage."""
LEAST_MM = 7.0

Mask = NDArray[np.bool_]


def import_nifti(
    images: Annotated[list[Path], typer.Argument(help="One image per series, as KIND=FILE.")],
    masks: Annotated[
        Path, typer.Option(help="Folder with the masks sacrum, hip_left and hip_right.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the case file.")],
    subject: Annotated[str, typer.Option(help="Pseudonym of the subject.")],
    visit: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Convert NIfTI images with bone masks to a case file; KIND is T1, STIR or another name."""
    check_subject(subject)
    named = dict(_kind_and_path(str(image)) for image in images)
    series = tuple(
        CaseSeries(kind, volume, medial_lines(volume, _masks_for(masks, path)))
        for kind, path in named.items()
        for volume in [read_nifti(path)]
    )
    out.mkdir(parents=True, exist_ok=True)
    written = write_case_file(Case(subject, series), out / f"{subject}-{visit}{SUFFIX}")
    counts = ", ".join(f"{s.kind} {len(s.delineation.contours)}" for s in series if s.delineation)
    typer.echo(f"{written}: contours {counts or 'none'}")


def _kind_and_path(text: str) -> tuple[str, Path]:
    kind, equals, path = text.partition("=")
    if not equals:
        raise CaseFileInvalid(f"{text!r} must be given as KIND=FILE, for example T1={text}")
    return kind, Path(path)


def _masks_for(folder: Path, image: Path) -> dict[str, Volume]:
    found = {}
    for name in ("sacrum", *MASKS.values()):
        path = next((p for s in (".nii.gz", ".nii") if (p := folder / f"{name}{s}").exists()), None)
        if path is None:
            raise CaseFileInvalid(f"{folder} has no {name}.nii.gz, which is needed for {image}")
        found[name] = read_nifti(path)
    return found


def medial_lines(volume: Volume, masks: dict[str, Volume]) -> Delineation:
    """The line halfway between sacrum and hip on every slice where they are close together.

    Parameters
    ----------
    volume
        The image.
    masks
        "sacrum", "hip_left" and "hip_right", on the grid of the image.

    Raises
    ------
    CaseFileInvalid
        If a mask is on a different grid.
    """
    for name, mask in masks.items():
        if mask.voxels.shape != volume.voxels.shape or not np.allclose(
            mask.affine, volume.affine, atol=1e-2
        ):
            raise CaseFileInvalid(
                f"the mask {name} is not on the grid of the image; resample it to that grid"
            )
    upright = {name: canonical(mask) for name, mask in masks.items()}
    grid = canonical(volume)
    contours = []
    for side, name in MASKS.items():
        for index in range(len(grid.voxels)):
            sacrum, hip = upright["sacrum"].voxels[index] > 0, upright[name].voxels[index] > 0
            line = _medial_line(sacrum, hip, grid.spacing_mm[1:])
            if line is not None:
                contours.append(_in_the_order_given(index, side, line, grid, volume))
    return Delineation(tuple(contours))


def _medial_line(
    sacrum: Mask, hip: Mask, pixel_mm: tuple[float, float]
) -> NDArray[np.float64] | None:
    """(row, column) halfway between the bones in each row; None if too short."""
    if not sacrum.any() or not hip.any():
        return None
    apart = [np.asarray(distance_transform_edt(~bone, sampling=pixel_mm)) for bone in (sacrum, hip)]
    between = (apart[0] + apart[1] < WIDEST_JOINT_MM) & ~(sacrum & hip)
    rows, columns = [], []
    for row in np.flatnonzero(between.any(axis=1)):
        inside = np.flatnonzero(between[row])
        nearest = inside[np.abs(apart[0][row, inside] - apart[1][row, inside]).argmin()]
        rows.append(float(row))
        columns.append(float(nearest))
    part = _longest_part(np.array(rows))
    if (part.stop - part.start) * pixel_mm[0] < LEAST_MM:
        return None
    return np.stack([np.array(rows)[part], _smoothed(np.array(columns)[part])], axis=1)


def _longest_part(rows: NDArray[np.float64]) -> slice:
    edges = np.flatnonzero(np.diff(rows, prepend=-9, append=np.inf) > 1)
    longest = int(np.diff(edges).argmax()) if len(edges) > 1 else 0
    return slice(int(edges[longest]), int(edges[longest + 1])) if len(edges) > 1 else slice(0, 0)


def _smoothed(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(columns, 2, mode="edge")
    return np.convolve(padded, np.ones(5) / 5, mode="valid")


def _in_the_order_given(
    index: int, side: Side, line: NDArray[np.float64], grid: Volume, given: Volume
) -> Contour:
    at = given.to_indices(grid.to_patient(np.insert(line, 0, index, axis=1)))
    return Contour(round(float(at[0, 0])), side, at[:, 1:], 1.0)
