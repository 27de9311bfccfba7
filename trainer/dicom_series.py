"""DICOM images of a folder as T1 and STIR volumes, without the node.

Recognises a series by its inversion time, repetition time and echo time alone; a localiser or any
series that is neither T1 nor STIR is left out.

Source: DICOM PS3.3 C.7.6.2.1.1 (image plane), C.8.3.1 (MR timing).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from models.case_file import CaseFileInvalid
from models.volume import Volume

T1_TR_MS, T1_TE_MS, STIR_TI_MS = 1300, 30, (80, 260)
LEAST_SLICES = 5
EQUAL_SHARE = 0.05
"""How much distances between slices may differ."""

Planes = list[tuple[Path, Dataset]]


def dicom_studies(folder: Path) -> Iterator[tuple[str, Mapping[str, Volume]]]:
    """The T1 (``T1W``) and STIR of every study below a folder.

    Yields
    ------
    tuple
        Name of the innermost folder that holds the whole study (the patient is not named), and
        its volumes; the larger series where there are two of a kind.

    Raises
    ------
    CaseFileInvalid
        If a series has missing or irregular slices or cannot be decoded.
    """
    studies: dict[str, dict[str, Planes]] = {}
    for path, header in _headers(folder):
        series = studies.setdefault(str(header.StudyInstanceUID), {})
        series.setdefault(str(header.SeriesInstanceUID), []).append((path, header))
    for number, series in enumerate(studies.values(), 1):
        name = _common_folder([path for planes in series.values() for path, _ in planes], folder)
        volumes: dict[str, Volume] = {}
        for planes in sorted(series.values(), key=len):
            kind = kind_of(planes[0][1])
            if kind and len(planes) >= LEAST_SLICES:
                volumes[kind] = _volume([path for path, _ in planes])
        if volumes:
            yield name or f"study {number}", volumes


def kind_of(header: Dataset) -> str:
    """``T1W``, ``STIR``, or empty if the times are those of neither."""
    tr, te, ti = (
        float(header.get(keyword) or 0)
        for keyword in ("RepetitionTime", "EchoTime", "InversionTime")
    )
    if STIR_TI_MS[0] <= ti <= STIR_TI_MS[1]:
        return "STIR"
    return "T1W" if 200 <= tr < T1_TR_MS and 0 < te < T1_TE_MS and not ti else ""


def _headers(folder: Path) -> Iterator[tuple[Path, Dataset]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        if header.get("Modality") == "MR" and "ImagePositionPatient" in header:
            yield path, header


def _common_folder(paths: Sequence[Path], folder: Path) -> str:
    home = Path(os.path.commonpath([path.parent for path in paths]))
    return "" if home == folder else home.name


def _volume(paths: Sequence[Path]) -> Volume:
    planes = [dcmread(path) for path in paths]
    across, along = np.reshape(np.array(planes[0].ImageOrientationPatient, float), (2, 3))
    normal = np.cross(across, along)
    planes.sort(key=lambda plane: float(_position(plane) @ normal))
    places = np.array([_position(plane) for plane in planes])
    steps = np.diff(places, axis=0)
    step = np.median(steps, axis=0)
    if np.linalg.norm(steps - step, axis=1).max() > EQUAL_SHARE * np.linalg.norm(step):
        raise CaseFileInvalid(
            f"the series in {paths[0].parent} has unequal distances between slices; a slice is "
            "missing or doubled, export the series again"
        )
    row_mm, column_mm = (float(one) for one in planes[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.stack([step, along * row_mm, across * column_mm, places[0]], axis=1)
    return Volume(np.stack([_pixels(one) for one in planes]), affine)


def _position(plane: Dataset) -> NDArray[np.float64]:
    return np.array(plane.ImagePositionPatient, float)


def _pixels(plane: Dataset) -> NDArray[np.float32]:
    slope, intercept = (
        float(plane.get(name, usual))
        for name, usual in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    return np.asarray(plane.pixel_array, np.float32) * np.float32(slope) + np.float32(intercept)
