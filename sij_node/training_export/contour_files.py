"""Files with contours, whichever program drew them, as lines on images.

JSON, CSV, curves of 3D Slicer, and DICOM: polylines of structured reports, RT structure sets, and
segmentations of the joints.

Source: DICOM PS3.3 C.8.8.5, C.8.8.6 (RT ROI contour), C.8.20 (segmentation).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from models import slicer_curves
from models.findings import Side
from models.mask_lines import middle_line, outline_line
from models.slicer_curves import CurvesInvalid, side_named
from sij_node.dicom.headers import number
from sij_node.errors import TrainingCaseUnusable
from sij_node.training_export.drawn_lines import (
    DrawnLine,
    coded_side,
    lines_from_csv,
    lines_from_json,
    lines_from_report,
)

_OPEN = ("OPEN_PLANAR", "OPEN_NONPLANAR")


def lines_in(path: Path) -> tuple[DrawnLine, ...]:
    """The lines of one file; a file given as ``KIND=FILE`` was drawn on that series.

    Parameters
    ----------
    path
        `.json`, `.csv`, `.mrk.json` (always with KIND), or a DICOM object.

    Raises
    ------
    TrainingCaseUnusable
        If it cannot be read, or holds no line.
    """
    kind, equals, name = str(path).partition("=")
    if equals and not path.exists():
        return tuple(replace(line, series_uid=kind) for line in lines_in(Path(name)))
    try:
        if path.name.endswith(slicer_curves.SUFFIX):
            return _lines_of_curves(path)
        if path.suffix.lower() == ".json":
            return lines_from_json(path.read_text(encoding="utf-8"))
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return lines_from_csv(file)
        return _lines_of_object(path, pydicom.dcmread(path))
    except (OSError, UnicodeDecodeError, InvalidDicomError) as error:
        raise TrainingCaseUnusable(
            f"{path} cannot be read: {error}. Contours must be .json, .csv, "
            f"{slicer_curves.SUFFIX} or a DICOM SR, RTSTRUCT or SEG."
        ) from error


def _lines_of_curves(path: Path) -> tuple[DrawnLine, ...]:
    try:
        curves = slicer_curves.slicer_curves(path.read_text(encoding="utf-8"), path.name)
    except CurvesInvalid as error:
        raise TrainingCaseUnusable(str(error)) from error
    return tuple(DrawnLine("", None, one.side, one.points) for one in curves)


def _lines_of_object(path: Path, dataset: Dataset) -> tuple[DrawnLine, ...]:
    if dataset.SOPClassUID == RTStructureSetStorage:
        lines, needed = tuple(_lines_of_structures(dataset)), "contours of at least 7 mm"
    elif dataset.SOPClassUID == SegmentationStorage:
        lines, needed = tuple(_lines_of_segments(dataset)), "segments of the joints, 7 mm high"
    else:
        lines = lines_from_report(dataset)
        needed = "polylines (SCOORD, POLYLINE) that select from their images"
    if not lines:
        raise TrainingCaseUnusable(
            f"{path} has no image coordinates: {needed} are required. Export it with its "
            "coordinates, or give the contours as .json or .csv."
        )
    return lines


def _lines_of_structures(structures: Dataset) -> Iterator[DrawnLine]:
    names = {one.ROINumber: str(one.ROIName) for one in structures.StructureSetROISequence}
    series = _series_referenced(structures)
    for roi in structures.get("ROIContourSequence") or ():
        side = side_named(names.get(roi.ReferencedROINumber, ""))
        for contour in roi.get("ContourSequence") or ():
            points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
            is_open = contour.ContourGeometricType in _OPEN
            line = points if is_open else outline_line(points)
            if line is not None and len(line) > 1:
                yield _on_image(contour.get("ContourImageSequence"), side, line, series)


def _series_referenced(structures: Dataset) -> str:
    """The only series that structures were drawn on; empty if there are several or none."""
    found = {
        str(series.SeriesInstanceUID)
        for frame in structures.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    }
    return found.pop() if len(found) == 1 else ""


def _on_image(
    images: Sequence[Dataset] | None, side: Side | None, line: NDArray[np.float64], series: str
) -> DrawnLine:
    """A line in the patient on the image that it names, otherwise on a series."""
    if not images:
        return DrawnLine("", None, side, line, series)
    frame = number(images[0], "ReferencedFrameNumber")
    uid = str(images[0].ReferencedSOPInstanceUID)
    return DrawnLine(uid, None if frame is None else int(frame), side, line)


def _lines_of_segments(segmentation: Dataset) -> Iterator[DrawnLine]:
    sides = {one.SegmentNumber: _side_of_segment(one) for one in segmentation.SegmentSequence}
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    referenced = segmentation.get("ReferencedSeriesSequence") or ()
    uids = {str(one.SeriesInstanceUID) for one in referenced}
    series = uids.pop() if len(uids) == 1 else ""
    masks = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    for mask, own in zip(masks, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        line = _middle_mm(mask > 0, own, shared)
        if line is not None:
            segment = own.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            yield _on_image(_sources(own), sides[segment], line, series)


def _side_of_segment(segment: Dataset) -> Side | None:
    named = side_named(f"{segment.get('SegmentLabel', '')}")
    modifiers = [
        modifier
        for keyword in ("AnatomicRegionSequence", "SegmentedPropertyTypeCodeSequence")
        for code in segment.get(keyword) or ()
        for name in ("AnatomicRegionModifierSequence", "SegmentedPropertyTypeModifierCodeSequence")
        for modifier in code.get(name) or ()
    ]
    return named or coded_side(modifiers)


def _sources(frame: Dataset) -> list[Dataset]:
    """The images that a frame was drawn on."""
    derivations = frame.get("DerivationImageSequence") or ()
    return [image for one in derivations for image in one.get("SourceImageSequence") or ()]


def _middle_mm(
    mask: NDArray[np.bool_], own: Dataset, shared: Dataset
) -> NDArray[np.float64] | None:
    """The middle of a frame's mask from top to bottom, in LPS millimetres."""
    orientation, measures, position = (
        (own.get(name) or shared.get(name))[0]
        for name in ("PlaneOrientationSequence", "PixelMeasuresSequence", "PlanePositionSequence")
    )
    across, down = np.reshape(np.array(orientation.ImageOrientationPatient, float), (2, 3))
    down_mm, across_mm = (float(mm) for mm in measures.PixelSpacing)
    if abs(across[2]) > abs(down[2]):
        mask, across, down = mask.T, down, across
        down_mm, across_mm = across_mm, down_mm
    line = middle_line(mask, (down_mm, across_mm))
    if line is None:
        return None
    origin = np.array(position.ImagePositionPatient, float)
    steps = np.stack([down * down_mm, across * across_mm])
    return np.asarray(origin + line @ steps)
