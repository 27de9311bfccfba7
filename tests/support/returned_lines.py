"""Contours as a PACS gets them back, in the patient's coordinates.

Everything is measured from what lies in the PACS: lines of the report by the position of the image
they were drawn on, masks by the position of their frames.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from models.findings import Side

SIDES = {"24028007": Side.RIGHT, "7771000": Side.LEFT}
"""SNOMED CT codes of the sides."""

Points = NDArray[np.float64]
Lines = list[tuple[Side, Points]]


def report_lines(results: Iterable[Dataset], images: Iterable[Dataset]) -> Lines:
    """Every contour of the reports, in millimetres of the patient, ``(points, 3)``."""
    by_uid = {str(image.SOPInstanceUID): image for image in images}
    return [
        line
        for report in results
        if report.Modality == "SR"
        for group in _all_items(report)
        for line in _line_of(group, by_uid)
    ]


def _line_of(group: Dataset, images: dict[str, Dataset]) -> Iterator[tuple[Side, Points]]:
    for item in group.get("ContentSequence", ()):
        if item.get("GraphicType") == "POLYLINE":
            image = item.ContentSequence[0].ReferencedSOPSequence[0]
            frame = int(image.get("ReferencedFrameNumber", 1)) - 1
            corners = np.reshape(item.GraphicData, (-1, 2))
            plane = FramePlane.of(images[image.ReferencedSOPInstanceUID], frame)
            yield _side_of(group), plane.at(corners - 0.5)


def joint_bands(results: Iterable[Dataset]) -> Iterator[tuple[Side, Points]]:
    """The joint's band on each frame of the segmentations, in millimetres of the patient."""
    for mask in results:
        if mask.Modality != "SEG":
            continue
        joints = {
            segment.SegmentNumber: _side_of_segment(segment)
            for segment in mask.SegmentSequence
            if "joint" in segment.SegmentLabel and "ilium" not in segment.SegmentLabel
        }
        pixels = mask.pixel_array
        for number, groups in enumerate(mask.PerFrameFunctionalGroupsSequence):
            segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            if segment in joints:
                inside = np.argwhere(pixels[number])[:, ::-1]
                yield joints[segment], FramePlane.of(mask, number).at(inside)


class FramePlane:
    """Where the pixels of an image or frame lie (PS3.3 C.7.6.2.1.1)."""

    def __init__(
        self, position: list[float], orientation: list[float], spacing: list[float]
    ) -> None:
        self._position = np.array(position, float)
        along_row, along_column = np.reshape(np.array(orientation, float), (2, 3))
        between_rows, between_columns = (float(each) for each in spacing)
        self._steps = np.stack([along_row * between_columns, along_column * between_rows])

    @classmethod
    def of(cls, image: Dataset, frame: int) -> "FramePlane":
        if "PerFrameFunctionalGroupsSequence" not in image:
            return cls(
                image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
            )
        shared, own = (
            image.SharedFunctionalGroupsSequence[0],
            image.PerFrameFunctionalGroupsSequence,
        )
        position = own[frame].PlanePositionSequence[0].ImagePositionPatient
        held = own[frame] if "PlaneOrientationSequence" in own[frame] else shared
        orientation = held.PlaneOrientationSequence[0].ImageOrientationPatient
        return cls(position, orientation, shared.PixelMeasuresSequence[0].PixelSpacing)

    def at(self, columns_rows: Points) -> Points:
        """Patient coordinates of (column, row) counted from the centre of the first pixel."""
        return self._position + columns_rows @ self._steps


def _all_items(item: Dataset) -> Iterator[Dataset]:
    yield item
    for child in item.get("ContentSequence", ()):
        yield from _all_items(child)


def _side_of(group: Dataset) -> Side:
    codes = [
        modifier.ConceptCodeSequence[0].CodeValue
        for item in group.ContentSequence
        for modifier in item.get("ContentSequence", ())
        if "ConceptCodeSequence" in modifier
    ]
    (side,) = {SIDES[code] for code in codes if code in SIDES}
    return side


def _side_of_segment(segment: Dataset) -> Side:
    modifiers = segment.SegmentedPropertyTypeCodeSequence[
        0
    ].SegmentedPropertyTypeModifierCodeSequence
    (side,) = (SIDES[each.CodeValue] for each in modifiers if each.CodeValue in SIDES)
    return side
