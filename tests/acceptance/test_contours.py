"""Where the contours are that a PACS gets back, against the truth of the phantom it sent.

Everything is measured in the patient's coordinates, from what lies in the PACS: lines of the
report by the position of the image they were drawn on, masks by the position of their frames.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from models.delineation import Delineation
from models.findings import Side
from models.orientation import carried
from models.regions import BAND_MM
from models.volume import Volume
from sij_node.domain.job import State
from tests.support.orthanc import Orthanc, running_orthanc, two_ports
from tests.support.patience import wait_for
from tests.support.phantoms import PhantomStudy, written
from tests.support.running_node import RunningNode, running_node
from tests.support.volumes import reordered
from trainer.metrics.contour_error import contour_error
from trainer.phantom.case import PhantomCase

pytestmark = pytest.mark.acceptance

PAPERS_95TH_PERCENTILE_MM = 2.76
SIDES = {"24028007": Side.RIGHT, "7771000": Side.LEFT}
"""SNOMED CT codes of the sides."""

Points = NDArray[np.float64]
Lines = list[tuple[Side, Points]]

ORIENTATIONS = {
    "as drawn": ((False, ()), {"vendor": "siemens"}),
    "from behind, mirrored": ((False, (0, 2)), {"vendor": "ge"}),
    "lying, upside down": ((True, (0, 1)), {"vendor": "canon"}),
    "enhanced, upside down": ((False, (1,)), {"vendor": "philips", "enhanced": True}),
}
"""How the voxels lie: in-plane axes exchanged, axes reversed; and how they are written."""


@pytest.fixture(scope="module")
def beside_orthanc(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Orthanc, RunningNode]]:
    ports = two_ports()
    folder = tmp_path_factory.mktemp("node")
    with (
        running_node(folder, archive_port=ports[0], profile="ohif") as node,
        running_orthanc(tmp_path_factory.mktemp("orthanc"), node.peer, ports) as orthanc,
    ):
        yield orthanc, node


class Returned:
    """What came back of one study, and what is true of it."""

    def __init__(self, study: PhantomStudy, results: list[Dataset], truth: Lines) -> None:
        self.truth = truth
        self._images = {image.SOPInstanceUID: image for image in map(dcmread, study.files)}
        self._results = results

    def lines(self) -> Lines:
        """Every contour of the reports, in millimetres of the patient, ``(points, 3)``."""
        return [
            line
            for report in self._results
            if report.Modality == "SR"
            for group in _all_items(report)
            for line in self._line_of(group)
        ]

    def _line_of(self, group: Dataset) -> Iterator[tuple[Side, Points]]:
        for item in group.get("ContentSequence", ()):
            if item.get("GraphicType") == "POLYLINE":
                image = item.ContentSequence[0].ReferencedSOPSequence[0]
                frame = int(image.get("ReferencedFrameNumber", 1)) - 1
                corners = np.reshape(item.GraphicData, (-1, 2))
                plane = FramePlane.of(self._images[image.ReferencedSOPInstanceUID], frame)
                yield _side_of(group), plane.at(corners - 0.5)

    def bands(self) -> Iterator[tuple[Side, Points]]:
        """The joint's band on each frame of the segmentations, in millimetres of the patient."""
        for mask in self._results:
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


def _lines_mm(volume: Volume, delineation: Delineation) -> Lines:
    return [
        (one.side, volume.to_patient(np.insert(one.points, 0, one.slice_index, axis=1)))
        for one in delineation.contours
    ]


def _lying(case: PhantomCase, how: tuple[bool, tuple[int, ...]]) -> PhantomCase:
    """The same patient in the same place, his voxels in another order."""
    volumes = {name: reordered(getattr(case, name), *how) for name in ("t1", "stir")}
    truths = {
        f"{name}_truth": carried(getattr(case, f"{name}_truth"), getattr(case, name), volume)
        for name, volume in volumes.items()
    }
    return replace(case, **volumes, **truths)


@pytest.fixture(scope="module", params=ORIENTATIONS.values(), ids=ORIENTATIONS)
def returned(request, beside_orthanc, case, tmp_path_factory) -> Returned:
    orthanc, node = beside_orthanc
    (how, writing) = request.param
    lying = _lying(case, how)
    study = _sent(lying, tmp_path_factory.mktemp("study"), writing, orthanc, node)
    results = [dcmread(BytesIO(file)) for file in orthanc.result_files_of(study.study_uid)]
    truth = _lines_mm(case.t1, case.t1_truth) + _lines_mm(case.stir, case.stir_truth)
    return Returned(study, results, truth)


def _sent(
    case: PhantomCase,
    folder: Path,
    writing: Mapping[str, object],
    orthanc: Orthanc,
    node: RunningNode,
) -> PhantomStudy:
    study = written(case, folder, **writing)
    orthanc.receive(study.files)
    node.wait_for_state(study.study_uid, State.DELIVERED)
    wait_for(lambda: len(orthanc.results_of(study.study_uid)) >= 5, "results in Orthanc")
    return study


def test_the_lines_in_the_report_lie_on_the_true_joints_of_their_side(returned):
    lines, errors = returned.lines(), []

    for side, true_line in returned.truth:
        nearest = [contour_error(true_line, line).rms for s, line in lines if s is side]
        errors.append(min(nearest))

    assert np.median(errors) < PAPERS_95TH_PERCENTILE_MM / 2
    assert np.mean(np.array(errors) < PAPERS_95TH_PERCENTILE_MM) > 0.8


def test_the_segmented_band_covers_the_true_line_of_its_side(returned):
    bands, away = list(returned.bands()), []

    for side, true_line in returned.truth:
        of_side = np.concatenate([points for s, points in bands if s is side])
        away += [np.linalg.norm(of_side - point, axis=1).min() for point in true_line]

    assert np.median(away) < 1
    assert np.mean(np.array(away) < BAND_MM + PAPERS_95TH_PERCENTILE_MM) > 0.9
