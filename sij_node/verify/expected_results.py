"""What the results must match: source images, contours, regions and findings.

Image planes are computed from the headers a second time, independently of the code that built the
volumes, so that an error in that code is detected here.

Source: DICOM PS3.3 C.7.6.2.1.1 (image plane), C.7.6.16.2 (functional groups).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset
from scipy.spatial import cKDTree

from models.burden_scores import BurdenScore
from models.delineation import Contour
from models.findings import Finding, Position, Presence, Side, Sight
from sij_node.dicom.volumes import SeriesVolume
from sij_node.domain.prior_comparison import NOTHING_EARLIER, SincePrior
from sij_node.domain.study import InstanceReference
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries

SAME_PLACE_MM = 0.01
"""Tolerance for positions that were rounded to decimal strings."""
WITHIN_A_VOXEL = 0.5
"""A pixel must be closer to its own voxel of the volume than to any other."""


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """Position of an image's pixels in the patient.

    Parameters
    ----------
    origin_mm
        Centre of the first pixel, LPS.
    down_mm, across_mm
        Steps from one row, and from one column, to the next.
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
        """Largest distance between corresponding corners; infinite if the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        offsets = self.at(self.corners) - other.at(other.corners)
        return float(np.linalg.norm(offsets, axis=1).max())


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """A slice of an analysed series, and its plane according to its own header."""

    series: AnalysedSeries
    index: int
    plane: ImagePlane


@dataclass(frozen=True, eq=False)
class ExpectedResults:
    """Everything that the results of a study must match.

    Parameters
    ----------
    headers
        Headers of all images that a result may reference.
    series
        The analysed series; empty if the study was not analysed.
    findings
        One per position; empty if the study was not analysed.
    since
        The comparison with the prior study.
    earlier
        Earlier results that a rejection note references.
    burden
        Scores of lesion burden.
    """

    headers: tuple[Dataset, ...]
    series: tuple[AnalysedSeries, ...] = ()
    findings: tuple[Finding, ...] = ()
    since: SincePrior = NOTHING_EARLIER
    earlier: tuple[InstanceReference, ...] = ()
    burden: tuple[BurdenScore, ...] = ()

    @cached_property
    def header_of(self) -> Mapping[str, Dataset]:
        """Headers by SOP Instance UID."""
        return {str(header.get("SOPInstanceUID", "")): header for header in self.headers}

    @cached_property
    def finding_at(self) -> Mapping[Position, Finding]:
        """Findings by position."""
        return {finding.position: finding for finding in self.findings}

    def seen_on(self, series: AnalysedSeries) -> tuple[Finding, ...]:
        """Findings that are present and best seen on a series."""
        return tuple(
            finding
            for finding in self.findings
            if finding.presence is Presence.PRESENT
            and finding.sight
            and finding.sight.sequence is series.sequence
        )

    @cached_property
    def slices(self) -> Mapping[tuple[str, int | None], SourceSlice]:
        """Analysed slices by SOP Instance UID and frame number, as results reference them.

        Raises
        ------
        ResultsInconsistent
            If a header and the volume disagree on the position of a slice.
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
    def joints(self) -> Mapping[Side, cKDTree]:
        """The contour points of each joint found, from all series, in LPS millimetres."""
        return {
            side: cKDTree(np.concatenate(lines))
            for side in Side
            if (
                lines := [
                    contour_mm(series, contour)
                    for series in self.series
                    for contour in series.delineation.of(side)
                ]
            )
        }


def contour_mm(series: AnalysedSeries, contour: Contour) -> NDArray[np.float64]:
    """A contour's vertices in LPS millimetres."""
    indices = np.insert(contour.points, 0, contour.slice_index, axis=1)
    return series.source.volume.to_patient(indices)


def sight_mm(series: AnalysedSeries, sight: Sight) -> NDArray[np.float64]:
    """Where a lesion is best seen, LPS millimetres."""
    return series.source.volume.to_patient((sight.slice_index, sight.row, sight.column))


def plane_of_image(image: Dataset, frame: int) -> ImagePlane:
    """The plane of a source image's frame, counted from 0, according to its header."""
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
    """A plane from the attributes of the same names (PixelSpacing: between rows, then columns)."""
    row, column = np.array(orientation, np.float64).reshape(2, 3)
    return ImagePlane(
        origin_mm=np.array(position, np.float64),
        down_mm=column / np.linalg.norm(column) * float(spacing[0]),
        across_mm=row / np.linalg.norm(row) * float(spacing[1]),
        shape=shape,
    )


def _functional_group(image: Dataset, frame: int, macro: str) -> Dataset:
    """The item with a macro's attributes for a frame; the image itself if single-frame."""
    own = image.get("PerFrameFunctionalGroupsSequence") or ()
    shared = image.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*own[frame : frame + 1], *shared[:1]):
        if groups.get(macro):
            item: Dataset = groups[macro].value[0]
            return item
    return image


def _check_plane_in_volume(source: SeriesVolume, index: int, place: ImagePlane) -> None:
    """Check that every pixel of an image coincides with its own voxel."""
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
