"""Checks a Segmentation: its masks equal the label map, voxel by voxel.

Source: DICOM PS3.3 C.8.20 (Segmentation), PS3.5 8.1.1 (one-bit pixels, first pixel in bit 0).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import Region, Side
from models.regions import REGION_LABELS
from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.dicom.read_back.sr_content import code_of
from sij_node.dicom.read_back.vocabulary import REGIONS, SIDES, names_only
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.check_sides import check_side
from sij_node.verify.expected_results import (
    SAME_PLACE_MM,
    ExpectedResults,
    ImagePlane,
    SourceSlice,
    plane,
)
from sij_node.verify.source_slices import check_description, named_slice, only_series


@dataclass(frozen=True)
class Segment:
    """Side and region of a segment, according to its codes."""

    number: int
    side: Side
    region: Region

    def __str__(self) -> str:
        return f"segment {self.number} ({self.side} {self.region})"

    @property
    def label(self) -> int:
        """Its label in a label map."""
        return REGION_LABELS[self.side, self.region]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: its segment, its source slice, and the indices of its set pixels."""

    segment: Segment
    source: SourceSlice
    pixels: NDArray[np.intp]

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """Positions of its pixels, LPS."""
        rows_columns = np.divmod(self.pixels, self.source.plane.shape[1])
        return self.source.plane.at(np.column_stack(rows_columns))


def check_masks(segmentation: Attributes, expected: ExpectedResults) -> None:
    """Compare a Segmentation with the label map of its source series.

    Raises
    ------
    ResultsInconsistent
        If a segment's codes and label disagree, a frame does not lie on its source image, or
        masks and label map differ in a single voxel.
    """
    segments = _segments(segmentation)
    frames = list(_frames(segmentation, segments, expected))
    series = _only_series(segmentation, frames)
    check_description(segmentation, series)
    _check_each_once(frames, series)
    _check_voxels(frames, series)
    for segment in segments.values():
        own = [frame.positions_mm for frame in frames if frame.segment is segment]
        if any(map(len, own)):
            check_side(expected, segment.side, np.concatenate(own), str(segment))


def _segments(segmentation: Attributes) -> dict[int, Segment]:
    segments = [_segment(item) for item in segmentation.items("SegmentSequence")]
    if len({segment.label for segment in segments}) != len(segments):
        raise ResultsInconsistent("Two segments show the same region of the same side.")
    return {segment.number: segment for segment in segments}


def _segment(item: Attributes) -> Segment:
    """Read a segment from its codes; its text must agree."""
    number = item.integer("SegmentNumber")
    kind = item.item("SegmentedPropertyTypeCodeSequence")
    modifiers = [code_of(one) for one in kind.items("SegmentedPropertyTypeModifierCodeSequence")]
    sides = [SIDES[code] for code in modifiers if code in SIDES]
    parts = [code for code in modifiers if code not in SIDES]
    place = (code_of(kind), parts[0] if parts else None)
    if len(sides) != 1 or place not in REGIONS:
        raise ResultsInconsistent(f"The codes of segment {number} do not define a side and region.")
    segment = Segment(number, sides[0], REGIONS[place])
    for keyword in ("SegmentLabel", "TrackingID"):
        if not names_only(item.text(keyword), segment.side):
            raise ResultsInconsistent(f"The {keyword} of {segment} names the wrong side.")
    return segment


def _frames(
    segmentation: Attributes, segments: dict[int, Segment], expected: ExpectedResults
) -> Iterator[Frame]:
    groups = segmentation.items("PerFrameFunctionalGroupsSequence")
    count = segmentation.integer("NumberOfFrames")
    if count != len(groups):
        raise ResultsInconsistent(f"There are {count} frames but {len(groups)} frame positions.")
    for number, (own, pixels) in enumerate(zip(groups, _pixels(segmentation), strict=True), 1):
        segment = own.item("SegmentIdentificationSequence").integer("ReferencedSegmentNumber")
        reference = own.item("DerivationImageSequence").item("SourceImageSequence")
        source = named_slice(reference, expected, f"Frame {number}")
        _check_place(number, _plane(segmentation, own), source)
        yield Frame(segments[segment], source, pixels)


def _pixels(segmentation: Attributes) -> Iterator[NDArray[np.intp]]:
    """Indices of each frame's set pixels; frames are packed bit by bit without padding."""
    kind, depth = segmentation.text("SegmentationType"), segmentation.integer("BitsAllocated")
    if (kind, depth) != ("BINARY", 1):
        raise ResultsInconsistent(f"It is {kind} with {depth} bits per pixel, not BINARY with 1.")
    rows, columns = _shape(segmentation)
    size, count = rows * columns, segmentation.integer("NumberOfFrames")
    octets = np.frombuffer(segmentation.octets("PixelData"), np.uint8)
    needed = -(-size * count // 8)
    if len(octets) != needed + needed % 2:
        raise ResultsInconsistent(f"{count} frames need {needed} bytes, there are {len(octets)}.")
    for start in range(0, size * count, size):
        bits = np.unpackbits(octets[start // 8 : -(-(start + size) // 8)], bitorder="little")
        yield np.flatnonzero(bits[start % 8 : start % 8 + size].view(np.bool_))


def _shape(segmentation: Attributes) -> tuple[int, int]:
    return segmentation.integer("Rows"), segmentation.integer("Columns")


def _plane(segmentation: Attributes, own: Attributes) -> ImagePlane:
    """The plane of a frame, from its own functional groups or the shared ones."""
    groups = (own, *segmentation.items("SharedFunctionalGroupsSequence"))
    position, orientation, spacing = (
        next((one.item(macro) for one in groups if macro in one), own).numbers(keyword)
        for macro, keyword in (
            ("PlanePositionSequence", "ImagePositionPatient"),
            ("PlaneOrientationSequence", "ImageOrientationPatient"),
            ("PixelMeasuresSequence", "PixelSpacing"),
        )
    )
    return plane(position, orientation, spacing, _shape(segmentation))


def _check_place(number: int, place: ImagePlane, source: SourceSlice) -> None:
    distance_mm = place.distance_mm(source.plane)
    if distance_mm > SAME_PLACE_MM:
        raise ResultsInconsistent(
            f"Frame {number} lies {distance_mm:.2f} mm from its source, slice {source.index} of "
            f"series {source.series.source.series_uid}."
        )


def _only_series(segmentation: Attributes, frames: Sequence[Frame]) -> AnalysedSeries:
    """The series of all frames, which must be the one that the object references."""
    series = only_series(frame.source.series for frame in frames)
    referenced = segmentation.item("ReferencedSeriesSequence").text("SeriesInstanceUID")
    if series.source.series_uid != referenced:
        raise ResultsInconsistent(
            f"Its frames lie on series {series.source.series_uid}, but it references {referenced}."
        )
    if segmentation.text("FrameOfReferenceUID") != series.source.frame_of_reference_uid:
        raise ResultsInconsistent("The frame of reference differs from that of the source series.")
    return series


def _check_each_once(frames: Sequence[Frame], series: AnalysedSeries) -> None:
    """Check that no frame is duplicated, and that frames are complete if any are empty."""
    written = {(frame.segment.label, frame.source.index) for frame in frames}
    if len(written) != len(frames):
        raise ResultsInconsistent("Two frames show the same segment on the same slice.")
    empty = sum(not len(frame.pixels) for frame in frames)
    everywhere = len(REGION_LABELS) * len(series.source.sources)
    if empty and len(frames) != everywhere:
        raise ResultsInconsistent(f"{empty} of {len(frames)} frames are empty.")


def _check_voxels(frames: Sequence[Frame], series: AnalysedSeries) -> None:
    drawn = np.zeros_like(series.regions)
    for frame in frames:
        image = drawn[frame.source.index].reshape(-1)
        if image[frame.pixels].any():
            raise ResultsInconsistent(
                f"{frame.segment} covers another segment on slice {frame.source.index}."
            )
        image[frame.pixels] = frame.segment.label
    different = drawn != series.regions
    if different.any():
        slices = np.flatnonzero(different.any(axis=(1, 2)))
        raise ResultsInconsistent(
            f"Masks and label map differ in {different.sum()} of {np.count_nonzero(series.regions)}"
            f" voxels, on slices {', '.join(map(str, slices[:5]))}."
        )
