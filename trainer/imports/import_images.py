"""Imports images of other programs as cases: NIfTI and NRRD, with masks, curves and readings.

Contours come from curves that were drawn in 3D Slicer, from masks of the joints, or from masks of
the bones: then the contour on each coronal slice is the line halfway between sacrum and hip,
wherever they are within a joint's width of each other.

Source: the layout of TotalSegmentator's output: one folder with ``sacrum.nii.gz``,
``hip_left.nii.gz`` and ``hip_right.nii.gz`` on the grid of the image; NIfTI positions are RAS.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, distance_transform_edt

from models.case_file import (
    SUFFIX,
    Case,
    CaseFileInvalid,
    CaseSeries,
    check_subject,
    write_case_file,
)
from models.csv_table import cells_of, rows_of
from models.delineation import Contour, Delineation
from models.findings import Side
from models.mask_lines import contour_given, line_on_rows, mask_delineation
from models.orientation import canonical
from models.reading_table import readings_of, whole_number
from models.slicer_curves import CurvesInvalid, PatientLine, side_named, slicer_curves
from models.volume import Volume
from trainer.nifti import read_nifti
from trainer.nrrd_images import NRRD_SUFFIXES, read_nrrd, read_segments

MASKS = {Side.LEFT: "hip_left", Side.RIGHT: "hip_right"}
JOINTS = {Side.LEFT: "joint_left", Side.RIGHT: "joint_right"}
BONES = ("sacrum", *MASKS.values())
MASK_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
WIDEST_JOINT_MM = 8.0
"""Largest distance between the bones in the joint; segmentations exclude cartilage."""
OFF_PLANE_MM = 1.0
"""Largest distance of a curve's points from the slice that it was drawn on."""

MANIFEST_COLUMNS = ("subject", "visit", "images", "masks", "curves", "readings")

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ImageStudy:
    """The files of one visit.

    Parameters
    ----------
    images
        One file per series, by kind: T1, STIR or another name.
    masks
        Folder of masks, or a segmentation (``.seg.nrrd``); None if there are none.
    curves
        Files of curves, each with the kind of the series that it was drawn on.
    readings
        CSV table of readings; None if there are none.
    """

    subject: str
    visit: int
    images: Mapping[str, Path]
    masks: Path | None
    curves: Sequence[tuple[str, Path]]
    readings: Path | None


def import_images(
    images: Annotated[
        list[str], typer.Argument(help="One NIfTI or NRRD image per series, as KIND=FILE.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the case file.")],
    subject: Annotated[str, typer.Option(help="Pseudonym of the subject.")],
    visit: Annotated[int, typer.Option(min=1)] = 1,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder with masks of the bones (sacrum, hip_left, hip_right) or of the joints "
            "(joint_left, joint_right), or a segmentation of 3D Slicer (.seg.nrrd)."
        ),
    ] = None,
    curves: Annotated[
        list[str] | None,
        typer.Option(help="Curves of 3D Slicer (.mrk.json) as KIND=FILE; can be repeated."),
    ] = None,
    readings: Annotated[
        Path | None, typer.Option(help="CSV with all readers' scores; this visit is used.")
    ] = None,
) -> None:
    """Convert images with contours or readings to a case file; KIND is T1, STIR or another name."""
    named = dict(map(_kind_and_path, images))
    drawn = [_kind_and_path(one) for one in curves or ()]
    typer.echo(written_case(ImageStudy(subject, visit, named, masks, drawn, readings), out))


def refuse_import_nifti(
    arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Refused: now import-images."""
    raise typer.BadParameter("import-nifti is now called import-images")


def import_manifest(
    manifest: Annotated[
        Path, typer.Argument(help=f"CSV with the columns {', '.join(MANIFEST_COLUMNS)}.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the case files.")],
) -> None:
    """Convert the images of many visits: one row each, paths relative to the table.

    Several images or curves are separated by semicolons, as KIND=FILE; masks, curves and readings
    may be empty. A row that cannot be used is reported, and the others are converted.
    """
    failed = 0
    for line, study in _rows(manifest):
        try:
            typer.echo(written_case(_study(study, manifest.parent), out))
        except CaseFileInvalid as error:
            failed += 1
            typer.echo(f"{manifest}, line {line}: {error}", err=True)
    if failed:
        raise CaseFileInvalid(f"{failed} row(s) of {manifest} were not converted; see above")


def _rows(manifest: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        for line, row in rows_of(file, MANIFEST_COLUMNS, manifest):
            yield line, cells_of(row, MANIFEST_COLUMNS)


def _study(row: Mapping[str, str], home: Path) -> ImageStudy:
    try:
        visit = whole_number(row["visit"])
    except ValueError as error:
        raise CaseFileInvalid(f"the visit is no number: {error}") from error
    images, curves = (
        [(kind, home / path) for kind, path in map(_kind_and_path, row[name].split(";"))]
        if row[name]
        else []
        for name in ("images", "curves")
    )
    masks, readings = (home / row[name] if row[name] else None for name in ("masks", "readings"))
    return ImageStudy(row["subject"], visit, dict(images), masks, curves, readings)


def _kind_and_path(text: str) -> tuple[str, Path]:
    kind, equals, path = text.strip().partition("=")
    if not equals:
        raise CaseFileInvalid(f"{text!r} must be given as KIND=FILE, for example T1={text}")
    return kind, Path(path)


def written_case(study: ImageStudy, out: Path) -> str:
    """Write the case file of one visit; return what it holds, as a line of text.

    Raises
    ------
    CaseFileInvalid
        If a file cannot be used, or there are neither contours nor readings.
    """
    check_subject(study.subject)
    read = readings_of(study.readings, study.subject, study.visit) if study.readings else ()
    unknown = sorted({kind for kind, _ in study.curves} - set(study.images))
    if unknown:
        raise CaseFileInvalid(
            f"curves are given for {', '.join(unknown)}, but the images are "
            f"{', '.join(study.images)}"
        )
    volumes = {kind: _read(path) for kind, path in study.images.items()}
    series = tuple(_series(kind, volumes, study) for kind in volumes)
    if not read and all(one.delineation is None for one in series):
        raise CaseFileInvalid(
            f"subject {study.subject}, visit {study.visit} has neither contours nor readings; give "
            "at least one of --masks, --curves and --readings"
        )
    out.mkdir(parents=True, exist_ok=True)
    case = Case(study.subject, series, read)
    written = write_case_file(case, out / f"{study.subject}-{study.visit}{SUFFIX}")
    counts = ", ".join(f"{s.kind} {len(s.delineation.contours)}" for s in series if s.delineation)
    return f"{written}: contours {counts or 'none'}; readings: {len(read)}"


def _read(path: Path) -> Volume:
    return read_nrrd(path) if path.suffix in NRRD_SUFFIXES else read_nifti(path)


def _series(kind: str, volumes: Mapping[str, Volume], study: ImageStudy) -> CaseSeries:
    volume = volumes[kind]
    files = [file for drawn_on, file in study.curves if drawn_on == kind]
    if files:
        return CaseSeries(kind, volume, curve_delineation(volume, files))
    if study.masks is None:
        return CaseSeries(kind, volume, None)
    masks = {
        name: _on_grid(name, mask, volume, volumes) for name, mask in _masks_in(study.masks).items()
    }
    return CaseSeries(kind, volume, _of_masks(volume, masks, study))


def curve_delineation(volume: Volume, files: Iterable[Path]) -> Delineation:
    """The contours that curves show on the slices of a volume.

    Raises
    ------
    CaseFileInvalid
        If a curve has no side, lies outside the image or between two slices.
    """
    contours = []
    for path in files:
        try:
            lines = slicer_curves(path.read_text(encoding="utf-8"), path.name)
        except CurvesInvalid as error:
            raise CaseFileInvalid(str(error)) from error
        contours += [_contour(line, volume, path) for line in lines]
    return Delineation(tuple(contours))


def _contour(line: PatientLine, volume: Volume, path: Path) -> Contour:
    if line.side is None:
        raise CaseFileInvalid(
            f"{path} has a curve without a side; name the curve or the file after the patient's "
            "side, for instance left_5.mrk.json"
        )
    at = volume.to_indices(line.points)
    index = round(float(at[:, 0].mean()))
    off_mm = float(np.abs(at[:, 0] - index).max()) * volume.spacing_mm[0]
    inside = (at[:, 1:] > -0.5) & (at[:, 1:] < np.array(volume.voxels.shape[1:]) - 0.5)
    if off_mm > OFF_PLANE_MM or not inside.all() or not 0 <= index < len(volume.voxels):
        raise CaseFileInvalid(
            f"{path} has a curve that does not lie on one slice of the image (up to {off_mm:.1f} "
            "mm away); draw it on a slice of this series"
        )
    downwards = at if line.points[0, 2] >= line.points[-1, 2] else at[::-1]
    return Contour(index, line.side, downwards[:, 1:].copy(), 1.0)


def _of_masks(volume: Volume, masks: Mapping[str, Volume], study: ImageStudy) -> Delineation:
    if set(BONES) <= set(masks):
        return medial_lines(volume, masks)
    sided = {side: mask for name, mask in masks.items() if (side := side_named(name))}
    if len(sided) < len(masks) or not sided:
        raise CaseFileInvalid(
            f"{study.masks} has {', '.join(masks) or 'no masks'}; needed are either "
            f"{', '.join(BONES)}, or one mask of each joint: {', '.join(JOINTS.values())}"
        )
    return mask_delineation(volume, sided)


def _masks_in(masks: Path) -> dict[str, Volume]:
    """The known masks of a folder, or the segments of a file, by name."""
    if masks.is_file():
        return {name.lower(): mask for name, mask in read_segments(masks).items()}
    paths = {
        name: path
        for name in (*BONES, *JOINTS.values())
        for suffix in MASK_SUFFIXES
        if (path := masks / f"{name}{suffix}").exists()
    }
    chosen = BONES if set(BONES) <= set(paths) else set(paths) - set(BONES)
    return {name: _read(path) for name, path in paths.items() if name in chosen or not chosen}


def _on_grid(name: str, mask: Volume, volume: Volume, volumes: Mapping[str, Volume]) -> Volume:
    """A mask on the grid of an image; it may be drawn on any image of the study."""
    if _same_grid(mask, volume):
        return mask
    if not any(_same_grid(mask, other) for other in volumes.values()):
        raise CaseFileInvalid(
            f"the mask {name} is not on the grid of any of the images {', '.join(volumes)}; "
            "resample it to the grid of one of them"
        )
    there = np.linalg.inv(mask.affine) @ volume.affine
    shape = volume.voxels.shape
    voxels = affine_transform(mask.voxels, there[:3, :3], there[:3, 3], shape, order=0)
    return Volume(voxels, volume.affine)


def _same_grid(one: Volume, other: Volume) -> bool:
    return one.voxels.shape == other.voxels.shape and np.allclose(
        one.affine, other.affine, atol=1e-2
    )


def medial_lines(volume: Volume, masks: Mapping[str, Volume]) -> Delineation:
    """The line halfway between sacrum and hip on every slice where they are close together.

    Parameters
    ----------
    volume
        The image.
    masks
        "sacrum", "hip_left" and "hip_right", on the grid of the image.
    """
    upright = {name: canonical(mask) for name, mask in masks.items()}
    grid = canonical(volume)
    contours = []
    for side, name in MASKS.items():
        for index in range(len(grid.voxels)):
            sacrum, hip = upright["sacrum"].voxels[index] > 0, upright[name].voxels[index] > 0
            line = _medial_line(sacrum, hip, grid.spacing_mm[1:])
            if line is not None:
                contours.append(contour_given(index, side, line, grid, volume))
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
    return line_on_rows(np.array(rows), np.array(columns), pixel_mm[0])
