"""What results are held against: the images where their headers place them, and what was found.

Planes are read from the headers once more, without the code that built the volumes, so that an
error there is noticed too.

Source: DICOM PS3.3 C.7.6.2.1.1 (image plane), C.7.6.16.2 (functional groups).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from models.delineation import Contour
from models.findings import Finding, Position, Presence, Side, Sight
from models.regions import REGION_LABELS
from sij_node.dicom.volumes import SeriesVolume
from sij_node.domain.prior_comparison import NOTHING_EARLIER, SincePrior
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries

SAME_PLACE_MM = 0.01
"""Written positions may be off by this, from rounding to decimal strings."""
WITHIN_A_VOXEL = 0.5
"""A pixel must lie nearer to its own voxel of the volume than to any other."""


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """Where the pixels of one image lie in the patient.

    Parameters
    ----------
    origin_mm
        Centre of the first pixel, LPS.
    down_mm, across_mm
        From one row to the next, and from one column to the next.
    shape
        Rows and columns.
    """

    origin_mm: NDArray[np.float64]
    down_mm: NDArray[np.float64]
    across_mm: NDArray[np.float64]
    shape: tuple[int, int]

    def at(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """LPS millimetres of (row, column), index-centred; ``(…, 2)`` to ``(…, 3)``."""
        return np.asarray(self.origin_mm + np.asarray(pixels, np.float64) @ self._steps_mm)

    @cached_property
    def _steps_mm(self) -> NDArray[np.float64]:
        return np.stack([self.down_mm, self.across_mm])

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """Centres of the four corner pixels as (row, column), shape ``(4, 2)``."""
        rows, columns = self.shape
        return np.array([(row, column) for row in (0, rows - 1) for column in (0, columns - 1)])

    def distance_mm(self, other: "ImagePlane") -> float:
        """The farthest that a corner lies from the other's; infinite for another matrix."""
        if self.shape != other.shape:
            return float("inf")
        apart = self.at(self.corners) - other.at(other.corners)
        return float(np.linalg.norm(apart, axis=1).max())


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """One slice of an analysed series, and where its own header places it."""

    series: AnalysedSeries
    index: int
    plane: ImagePlane


@dataclass(frozen=True, eq=False)
class ExpectedResults:
    """All that the results of a study are made from.

    Parameters
    ----------
    headers
        Of every image that a result may name.
    series
        Those that were analysed; none where the study was not.
    findings
        One for each position; none where the study was not analysed.
    since
        What the study is compared with.
    """

    headers: tuple[Dataset, ...]
    series: tuple[AnalysedSeries, ...] = ()
    findings: tuple[Finding, ...] = ()
    since: SincePrior = NOTHING_EARLIER

    @cached_property
    def header_of(self) -> Mapping[str, Dataset]:
        """Headers by SOP Instance UID."""
        return {str(header.get("SOPInstanceUID", "")): header for header in self.headers}

    @cached_property
    def finding_at(self) -> Mapping[Position, Finding]:
        """Findings by position."""
        return {finding.position: finding for finding in self.findings}

    def seen_on(self, series: AnalysedSeries) -> tuple[Finding, ...]:
        """Findings that are present and seen best on a series."""
        return tuple(
            finding
            for finding in self.findings
            if finding.presence is Presence.PRESENT
            and finding.sight
            and finding.sight.sequence is series.sequence
        )

    @cached_property
    def slices(self) -> Mapping[tuple[str, int | None], SourceSlice]:
        """Every analysed slice by SOP Instance UID and frame number, as results name it.

        Raises
        ------
        ResultsInconsistent
            If a header places a slice elsewhere than the volume does.
        """
        return {
            (source.sop_instance_uid, source.frame_number): self._slice(series, index)
            for series in self.series
            for index, source in enumerate(series.source.sources)
        }

    def _slice(self, series: AnalysedSeries, index: int) -> SourceSlice:
        source = series.source.sources[index]
        header = self.header_of[source.sop_instance_uid]
        place = plane_of_image(header, (source.frame_number or 1) - 1)
        _check_plane_in_volume(series.source, index, place)
        return SourceSlice(series, index, place)

    @cached_property
    def midline_mm(self) -> float | None:
        """Where right meets left: x halfway between the joints, on slices that show both.

        None where no slice shows both; then no side can be told by the other.
        """
        halfway = [x for series in self.series for x in _halfway_mm(series)]
        return float(np.mean(halfway)) if halfway else None


def in_patient(series: AnalysedSeries, contour: Contour) -> NDArray[np.float64]:
    """A contour's vertices in LPS millimetres."""
    indices = np.insert(contour.points, 0, contour.slice_index, axis=1)
    return series.source.volume.to_patient(indices)


def sight_in_patient(series: AnalysedSeries, sight: Sight) -> NDArray[np.float64]:
    """Where a lesion is seen best, LPS millimetres."""
    return series.source.volume.to_patient((sight.slice_index, sight.row, sight.column))


def plane_of_image(image: Dataset, frame: int) -> ImagePlane:
    """Where one frame, counted from 0, of a source image lies by its header."""
    return plane(
        _functional_group(image, frame, "PlanePositionSequence").ImagePositionPatient,
        _functional_group(image, frame, "PlaneOrientationSequence").ImageOrientationPatient,
        _functional_group(image, frame, "PixelMeasuresSequence").PixelSpacing,
        (int(image.Rows), int(image.Columns)),
    )


def plane(
    position: Sequence[float],
    orientation: Sequence[float],
    spacing: Sequence[float],
    shape: tuple[int, int],
) -> ImagePlane:
    """A plane from the attributes of the same names (PixelSpacing: of rows, then of columns)."""
    row, column = np.array(orientation, np.float64).reshape(2, 3)
    return ImagePlane(
        origin_mm=np.array(position, np.float64),
        down_mm=column / np.linalg.norm(column) * float(spacing[0]),
        across_mm=row / np.linalg.norm(row) * float(spacing[1]),
        shape=shape,
    )


def _functional_group(image: Dataset, frame: int, macro: str) -> Dataset:
    """The item that holds a macro's attributes for a frame; the image itself if it is single."""
    own = image.get("PerFrameFunctionalGroupsSequence") or ()
    shared = image.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*own[frame : frame + 1], *shared[:1]):
        if groups.get(macro):
            item: Dataset = groups[macro].value[0]
            return item
    return image


def check_found_on_their_sides(evidence: ExpectedResults) -> None:
    """Every contour, region and point lies on the side of the midline that it is called by.

    Raises
    ------
    ResultsInconsistent
        If one does not.
    """
    for series in evidence.series:
        name = f"Series {series.source.series_uid}"
        for contour in series.delineation.contours:
            place = f"{name}, slice {contour.slice_index}, contour"
            check_side(evidence, contour.side, in_patient(series, contour), place)
        for (side, region), at in _region_centres(series):
            check_side(evidence, side, at, f"{name}, {side} {region}")
        for finding in evidence.findings:
            if finding.sight and finding.sight.sequence is series.sequence:
                at = sight_in_patient(series, finding.sight)
                check_side(evidence, finding.position.side, at, f"{name}, {finding.position}")


def check_side(
    evidence: ExpectedResults, side: Side, positions_mm: NDArray[np.float64], what: str
) -> None:
    """Positions, ``(…, 3)`` LPS, lie on the given side of the midline (+x is left) on average.

    Raises
    ------
    ResultsInconsistent
        If they lie on the other side.
    """
    if evidence.midline_mm is None:
        return
    left_of_midline = float(np.mean(positions_mm[..., 0])) - evidence.midline_mm
    if (left_of_midline > 0) != (side is Side.LEFT):
        where = "left" if left_of_midline > 0 else "right"
        raise ResultsInconsistent(
            f"{what} is called {side} and lies {abs(left_of_midline):.1f} mm to the {where} "
            "of the midline."
        )


def _check_plane_in_volume(source: SeriesVolume, index: int, place: ImagePlane) -> None:
    """Every pixel of the image must fall on its own voxel."""
    if place.shape != source.volume.voxels.shape[1:]:
        raise ResultsInconsistent(
            f"Slice {index} of series {source.series_uid} has {place.shape} pixels by its header."
        )
    expected = np.insert(place.corners, 0, index, axis=1)
    off = np.abs(source.volume.to_indices(place.at(place.corners)) - expected).max()
    if off >= WITHIN_A_VOXEL:
        raise ResultsInconsistent(
            f"Slice {index} of series {source.series_uid} lies {off:.2f} voxels from where its "
            "header places it."
        )


def _halfway_mm(series: AnalysedSeries) -> Iterable[float]:
    for right in series.delineation.of(Side.RIGHT):
        left = series.delineation.on(right.slice_index, Side.LEFT)
        if left is not None:
            joints = [in_patient(series, contour)[:, 0].mean() for contour in (right, left)]
            yield float(np.mean(joints))


def _region_centres(
    series: AnalysedSeries,
) -> Sequence[tuple[tuple[Side, str], NDArray[np.float64]]]:
    """The mean position of each region that a label map holds."""
    marked = np.flatnonzero(series.regions)
    places = np.column_stack(np.unravel_index(marked, series.regions.shape))
    values = series.regions.reshape(-1)[marked]
    return [
        (name, series.source.volume.to_patient(places[values == value].mean(axis=0)))
        for name, value in REGION_LABELS.items()
        if (values == value).any()
    ]
