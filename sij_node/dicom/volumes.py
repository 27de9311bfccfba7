"""Build a volume from the images of one series, or reject them with the reason.

Slices are sorted by position in the patient, never by instance number or order of arrival. Each
slice keeps a reference to its source image, so that results reference the right image.

Source: DICOM PS3.3 C.7.6.2.1.1 (image plane), C.7.6.16.2 (functional groups), C.11.1 (rescale).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.volume import Volume
from sij_node.dicom.headers import (
    attribute,
    frame_count,
    is_multi_frame,
    number,
    numbers,
    patient_of,
    text,
    texts,
)
from sij_node.dicom.pixels import stored_values
from sij_node.domain.study import PatientIdentity, only_patient
from sij_node.errors import GeometryUnusable, MixedFramesOfReference, PixelsUnusable

MIN_SLICES = 5
"""Fewer slices do not cover the joint."""
MAX_SLICES = 400
SAME_PLANE_MM = 0.01
"""Slices closer than this are at the same position."""
DISTANCE_TOLERANCE = 0.03
"""Relative deviation of slice distances from their median."""
SHEAR_TOLERANCE = 0.05
"""In-plane shift between slices, relative to their distance."""
PAIR_TILT_DEG = 15
"""Maximum angle between T1 and STIR."""
MIN_SHARED = 0.5
"""Minimum overlap of T1 and STIR, relative to the smaller volume."""


@dataclass(frozen=True)
class SliceSource:
    """The source image of a slice.

    Parameters
    ----------
    frame_number
        From 1 in a multi-frame object; None for a single-frame image.
    """

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None


@dataclass(frozen=True, eq=False)
class SeriesVolume:
    """A volume and the source images of its slices.

    Parameters
    ----------
    volume
        Sorted along the normal of the slices.
    sources
        Source image of each slice.
    patient
        Of every image.
    """

    volume: Volume
    sources: tuple[SliceSource, ...]
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    patient: PatientIdentity

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """SOP Instance UIDs of the volume without duplicates, in slice order."""
        return tuple(dict.fromkeys(source.sop_instance_uid for source in self.sources))


@dataclass(frozen=True, eq=False)
class _Plane:
    """One slice before sorting: position, pixels, and what distinguishes it from others."""

    source: SliceSource
    stored: NDArray[np.integer]
    slope: float
    intercept: float
    position_mm: NDArray[np.float64]
    cosines: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    stack: str
    temporal_position: float | None
    echo_time_ms: float | None
    kind: str


def volume_from(
    datasets: Sequence[Dataset], frames: Mapping[str, Sequence[int]] = {}
) -> SeriesVolume:
    """Build the volume of one series.

    Parameters
    ----------
    datasets
        All images of the series in any order: classic MR, or Enhanced MR in one or more parts.
    frames
        Frames to use, counted from 0, by SOP Instance UID; all of an image that is not named.

    Raises
    ------
    GeometryUnusable
        If slices are missing, duplicated, not parallel, without position, or too few.
    MixedPatients, MixedFramesOfReference
        If the images do not belong to one patient and one frame of reference.
    PixelsUnusable
        If pixel data cannot be decoded or contradict the header.
    """
    if not datasets:
        raise GeometryUnusable(f"The series has no images; at least {MIN_SLICES} are required.")
    series = f"Series {text(datasets[0], 'SeriesInstanceUID')}"
    patient = only_patient(map(patient_of, datasets))
    frame_of_reference = _only_frame_of_reference(series, datasets)
    used = [frames.get(text(one, "SOPInstanceUID"), range(frame_count(one))) for one in datasets]
    _check_extent(series, datasets, sum(map(len, used)))
    planes = list(chain.from_iterable(map(_planes, datasets, used)))
    _check_same_grid(series, planes)
    planes = _sorted(planes)
    _check_distances(series, planes, datasets)
    return SeriesVolume(
        volume=Volume(_voxels(planes), _affine(planes)),
        sources=tuple(plane.source for plane in planes),
        study_uid=text(datasets[0], "StudyInstanceUID"),
        series_uid=text(datasets[0], "SeriesInstanceUID"),
        frame_of_reference_uid=frame_of_reference,
        patient=patient,
    )


def check_pair(t1: SeriesVolume, stir: SeriesVolume) -> None:
    """Check that T1 and STIR show the same region of the same patient.

    Raises
    ------
    MixedPatients, MixedFramesOfReference
        If the two belong to different patients or frames of reference.
    GeometryUnusable
        If the two are not parallel or do not overlap enough.
    """
    pair = f"T1 series {t1.series_uid} and STIR series {stir.series_uid}"
    only_patient((t1.patient, stir.patient))
    if t1.frame_of_reference_uid != stir.frame_of_reference_uid:
        raise MixedFramesOfReference(
            f"{pair} have different frames of reference; they must share one. The patient was "
            "repositioned, or the UIDs were changed: send the images as acquired."
        )
    tilt_deg = _tilt_deg(t1.volume, stir.volume)
    if tilt_deg > PAIR_TILT_DEG:
        raise GeometryUnusable(
            f"{pair} are at an angle of {tilt_deg:.0f}°; at most {PAIR_TILT_DEG}° is accepted. "
            "Send a pair with the same orientation."
        )
    shared = min(_overlap(t1.volume, stir.volume), 1.0)
    if shared < MIN_SHARED:
        raise GeometryUnusable(
            f"{pair} overlap by {shared:.0%}; at least {MIN_SHARED:.0%} is required. "
            "Send a pair that covers the same region."
        )


def _only_frame_of_reference(series: str, datasets: Iterable[Dataset]) -> str:
    frames = {text(dataset, "FrameOfReferenceUID") for dataset in datasets}
    if len(frames) > 1 or "" in frames:
        what = f"{len(frames)} frames of reference" if len(frames) > 1 else "no frame of reference"
        raise MixedFramesOfReference(
            f"{series} has {what}; exactly one is required. Send the images as acquired."
        )
    return frames.pop()


def _check_extent(series: str, datasets: Sequence[Dataset], slices: int) -> None:
    """Check number of slices and matrix size from the headers, before decoding any pixels."""
    if not MIN_SLICES <= slices <= MAX_SLICES:
        raise GeometryUnusable(
            f"{series} has {slices} slices; {MIN_SLICES} to {MAX_SLICES} are required. "
            "Send the complete series."
        )
    matrices = {(text(dataset, "Rows"), text(dataset, "Columns")) for dataset in datasets}
    if len(matrices) > 1:
        sizes = ", ".join(sorted("×".join(matrix) for matrix in matrices))
        raise GeometryUnusable(
            f"{series} has images of {sizes} pixels; all must have the same size. "
            "Send one acquisition per series."
        )


def _planes(dataset: Dataset, frames: Sequence[int]) -> list[_Plane]:
    values = stored_values(dataset)
    return [_plane(dataset, index, values[index]) for index in frames]


def _plane(dataset: Dataset, index: int, stored: NDArray[np.integer]) -> _Plane:
    where = f"Image {text(dataset, 'SOPInstanceUID')}"
    multi_frame = is_multi_frame(dataset)
    position = numbers(dataset, "ImagePositionPatient", 3, index)
    cosines = numbers(dataset, "ImageOrientationPatient", 6, index)
    spacing = numbers(dataset, "PixelSpacing", 2, index)
    if position is None or cosines is None:
        raise GeometryUnusable(
            f"{where} has no Image Position or Image Orientation (Patient). Send the original."
        )
    if spacing is None or min(spacing) <= 0:
        raise GeometryUnusable(
            f"{where} has pixel spacing {spacing}; it must be positive. Send the original."
        )
    slope, intercept = _rescale(dataset, index, where)
    return _Plane(
        source=SliceSource(
            text(dataset, "SOPClassUID"),
            text(dataset, "SOPInstanceUID"),
            index + 1 if multi_frame else None,
        ),
        stored=stored,
        slope=slope,
        intercept=intercept,
        position_mm=np.array(position),
        cosines=_orthonormal(cosines, where),
        spacing_mm=(spacing[0], spacing[1]),
        stack=text(dataset, "StackID", index),
        temporal_position=_temporal_position(dataset, index),
        echo_time_ms=number(dataset, "EchoTime", index)
        or number(dataset, "EffectiveEchoTime", index),
        kind="\\".join(texts(dataset, "FrameType", index) or texts(dataset, "ImageType")),
    )


def _temporal_position(dataset: Dataset, index: int) -> float | None:
    enhanced = number(dataset, "TemporalPositionIndex", index)
    return enhanced if enhanced is not None else number(dataset, "TemporalPositionIdentifier")


def _rescale(dataset: Dataset, index: int, where: str) -> tuple[float, float]:
    """Slope and intercept of a frame; 1 and 0 if not in the header."""
    slope, intercept = (
        default if attribute(dataset, keyword, index) is None else number(dataset, keyword, index)
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope is None or intercept is None or slope == 0:
        raise PixelsUnusable(f"{where} has rescale slope {slope} and intercept {intercept}.")
    return slope, intercept


def _voxels(planes: Sequence[_Plane]) -> NDArray[np.float32]:
    voxels = np.empty((len(planes), *planes[0].stored.shape), np.float32)
    for index, plane in enumerate(planes):
        voxels[index] = plane.stored
        if (plane.slope, plane.intercept) != (1.0, 0.0):
            voxels[index] *= np.float32(plane.slope)
            voxels[index] += np.float32(plane.intercept)
    return voxels


def _orthonormal(cosines: tuple[float, ...], where: str) -> NDArray[np.float64]:
    """Direction cosines of a row and of a column, shape ``(2, 3)``."""
    along = np.array(cosines).reshape(2, 3)
    lengths = np.linalg.norm(along, axis=1)
    if np.any(np.abs(lengths - 1) > 0.01) or abs(along[0] @ along[1]) > 0.01:
        raise GeometryUnusable(
            f"{where} has direction cosines that are not orthogonal unit vectors. "
            "Send the original."
        )
    return np.asarray(along / lengths[:, None])


def _check_same_grid(series: str, planes: Sequence[_Plane]) -> None:
    first = planes[0]
    if any(np.abs(plane.cosines - first.cosines).max() > 0.01 for plane in planes):
        raise GeometryUnusable(
            f"{series} has slices that are not parallel; one orientation is required. "
            "Send each stack as its own series."
        )
    if any(not np.allclose(plane.spacing_mm, first.spacing_mm, rtol=0.01) for plane in planes):
        raise GeometryUnusable(
            f"{series} has slices with different pixel spacing; it must be the same. "
            "Send one acquisition per series."
        )


def _normal(plane: _Plane) -> NDArray[np.float64]:
    return np.cross(plane.cosines[0], plane.cosines[1])


def _sorted(planes: Sequence[_Plane]) -> list[_Plane]:
    normal = _normal(planes[0])
    return sorted(
        planes, key=lambda plane: (plane.position_mm @ normal, plane.source.sop_instance_uid)
    )


def _check_distances(series: str, planes: Sequence[_Plane], datasets: Sequence[Dataset]) -> None:
    """Slices must be equidistant and aligned along their normal."""
    normal = _normal(planes[0])
    steps = np.diff([plane.position_mm for plane in planes], axis=0)
    distances = steps @ normal
    if distances.min() < SAME_PLANE_MM:
        raise GeometryUnusable(_reason_for_duplicates(series, planes))
    one = float(np.median(distances))
    if np.abs(distances - one).max() > DISTANCE_TOLERANCE * one:
        raise GeometryUnusable(
            f"{series} has slice distances of {_listed(distances)} mm; they must be equal. "
            f"{_what_is_missing(datasets)}: send the series again."
        )
    if np.linalg.norm(steps - np.outer(distances, normal), axis=1).max() > SHEAR_TOLERANCE * one:
        raise GeometryUnusable(
            f"{series} has slices shifted in-plane; they must be aligned along their normal. "
            "Send the images as acquired."
        )


def _what_is_missing(datasets: Iterable[Dataset]) -> str:
    """The parts of a concatenation that are missing, or else a slice."""
    parts = {number(one, "InConcatenationNumber") for one in datasets}
    total = max(number(one, "InConcatenationTotalNumber") or 0 for one in datasets)
    missing = [str(part) for part in range(1, int(total) + 1) if part not in parts]
    if not missing:
        return "A slice is probably missing"
    return f"Part {', '.join(missing)} of {total:.0f} of the concatenation is missing"


def _listed(distances: NDArray[np.float64]) -> str:
    """Up to six distances individually, more with their frequencies."""
    rounded = [f"{distance:.1f}" for distance in distances]
    if len(rounded) <= 6:
        return ", ".join(rounded)
    return ", ".join(f"{each} ({times}×)" for each, times in Counter(rounded).most_common())


def _reason_for_duplicates(series: str, planes: Sequence[_Plane]) -> str:
    """What distinguishes slices at the same position."""
    kinds: dict[str, set[object]] = {
        "stacks": {plane.stack for plane in planes},
        "temporal positions": {plane.temporal_position for plane in planes},
        "echo times": {plane.echo_time_ms for plane in planes},
        "image types": {plane.kind for plane in planes},
    }
    several = [f"{len(found)} {name}" for name, found in kinds.items() if len(found) > 1]
    if several:
        return (
            f"{series} contains {' and '.join(several)} of the same slices; only one of each is "
            "accepted. Send them as separate series."
        )
    return f"{series} has two slices at the same position. Send one acquisition per series."


def _affine(planes: Sequence[_Plane]) -> NDArray[np.float64]:
    """(slice, row, column) to LPS millimetres. PixelSpacing is row distance, then column's."""
    first, last = planes[0], planes[-1]
    along_row, along_column = first.cosines
    affine = np.eye(4)
    affine[:3, 0] = (last.position_mm - first.position_mm) / (len(planes) - 1)
    affine[:3, 1] = along_column * first.spacing_mm[0]
    affine[:3, 2] = along_row * first.spacing_mm[1]
    affine[:3, 3] = first.position_mm
    return affine


def _tilt_deg(one: Volume, other: Volume) -> float:
    """Angle between the normals of two volumes, regardless of their slice order."""
    normals = [np.cross(v.affine[:3, 1], v.affine[:3, 2]) for v in (one, other)]
    cosine = abs(normals[0] @ normals[1]) / np.prod([np.linalg.norm(n) for n in normals])
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _overlap(one: Volume, other: Volume) -> float:
    """Larger fraction of each volume's sampled grid inside the other volume."""

    def part(inner: Volume, outer: Volume) -> float:
        shape = np.array(inner.voxels.shape)
        fractions = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 3, indexing="ij"), -1)
        inside = outer.to_indices(inner.to_patient(fractions.reshape(-1, 3) * (shape - 1)))
        within = (inside >= -0.5) & (inside <= np.array(outer.voxels.shape) - 0.5)
        return float(within.all(axis=1).mean())

    return max(part(one, other), part(other, one))
