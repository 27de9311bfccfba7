"""Every result object opened in a real viewer, as a radiologist sees it.

The viewer's failures are silent, so what is drawn is counted and compared with what was sent, in
patient coordinates, and every picture is checked not to be black.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from models.findings import Region, Side
from sij_node.domain.job import State
from sij_node.results.segmentation import COLOURS
from tests.support.ohif import Viewer, is_lit, near, running_viewer
from tests.support.orthanc import running_orthanc, two_ports
from tests.support.phantom_studies import PhantomStudy, written
from tests.support.running_node import running_node
from tests.support.waiting import wait_for
from trainer.phantom.case import PhantomOptions, make_case

pytestmark = pytest.mark.acceptance

RESULTS = [
    "SIJ regions (T1)",
    "SIJ regions (STIR)",
    "SIJ findings (T1)",
    "SIJ findings (STIR)",
    "SIJ lesion scores",
    "SIJ summary",
    "SIJ report",
]
TRACKING_NAME, TRACKING_UID, COMMENT = "112039", "112040", "121106"
SUMMARY, FINDING = "55112-7", "121071"
NOTHING_TO_DRAW = "Nothing to draw"
SAME_MM = 0.1


@dataclass
class DisplayedStudy:
    """A study in the archive with its results, and a viewer in front of it."""

    study: PhantomStudy
    results: dict[str, Dataset]
    viewer: Viewer

    def image(self, sop_instance_uid: str) -> Dataset:
        """One source image."""
        images = (dcmread(file, stop_before_pixels=True) for file in self.study.files)
        (found,) = (image for image in images if image.SOPInstanceUID == sop_instance_uid)
        return found


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DisplayedStudy]:
    """A study that a node has analysed for OHIF; the node is gone, its results are there."""
    case = make_case(2, PhantomOptions(disease="advanced"))
    study, ports = written(case, tmp_path_factory.mktemp("study")), two_ports()
    folder, storage = tmp_path_factory.mktemp("node"), tmp_path_factory.mktemp("orthanc")
    with ExitStack() as running:
        with running_node(folder, archive_port=ports[0], profile="ohif") as node:
            orthanc = running.enter_context(running_orthanc(storage, node.peer, ports))
            orthanc.receive(study.files)
            node.wait_for_state(study.study_uid, State.DELIVERED)
        results = orthanc.results_of(study.study_uid)
        named = {result.SeriesDescription: result for result in results}
        orthanc.receive([without_coordinates(named["SIJ lesion scores"], folder)])
        viewer = running.enter_context(running_viewer(orthanc.http_port))
        yield DisplayedStudy(study, named, viewer)


def without_coordinates(scores: Dataset, folder: Path) -> Path:
    """The scores under the title of reports that are drawn: the viewer then shows nothing."""
    report = deepcopy(scores)
    report.SeriesDescription = NOTHING_TO_DRAW
    report.SeriesInstanceUID, report.SOPInstanceUID = generate_uid(), generate_uid()
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    (title,) = report.ConceptNameCodeSequence
    title.CodeValue, title.CodingSchemeDesignator = "126000", "DCM"
    title.CodeMeaning = "Imaging Measurement Report"
    report.save_as(folder / "report.dcm")
    return folder / "report.dcm"


@pytest.fixture
def reading(archived: DisplayedStudy) -> Iterator[DisplayedStudy]:
    """The study, opened anew; nothing may fail in the viewer without a test that says so."""
    archived.viewer.open_study(archived.study.study_uid)
    yield archived
    assert archived.viewer.faults == []


@dataclass(frozen=True, eq=False)
class Sent:
    """One measurement group of a report: what a viewer should draw of it."""

    name: str
    labels: set[str]
    image: str
    points: NDArray[np.float64]


def sent_in(report: Dataset, reading: DisplayedStudy) -> dict[str, Sent]:
    """What a report sends, by tracking UID."""
    (measured,) = items(report, "126010")
    return {
        items(group, TRACKING_UID)[0].UID: _sent(group, reading)
        for group in measured.ContentSequence
    }


def items(parent: Dataset, concept: str) -> list[Dataset]:
    """The items below another that are about a concept, in order."""
    found = (item for item in parent.ContentSequence if "ConceptNameCodeSequence" in item)
    return [one for one in found if one.ConceptNameCodeSequence[0].CodeValue == concept]


def _sent(group: Dataset, reading: DisplayedStudy) -> Sent:
    (drawing,) = _drawings(group)
    image = drawing.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    return Sent(
        items(group, TRACKING_NAME)[0].TextValue,
        {item.TextValue for item in items(group, COMMENT)},
        image,
        in_patient(drawing.GraphicData, reading.image(image)),
    )


def _drawings(item: Dataset) -> Iterator[Dataset]:
    if item.ValueType == "SCOORD":
        yield item
    for below in item.get("ContentSequence", ()):
        yield from _drawings(below)


def in_patient(coordinates: list[float], image: Dataset) -> NDArray[np.float64]:
    """Where pixel coordinates, which start at the corner of the first pixel, lie in mm."""
    columns, rows = np.reshape(coordinates, (-1, 2)).T[..., None] - 0.5
    across, down = np.reshape(np.float64(image.ImageOrientationPatient), (2, 3))
    row_mm, column_mm = np.float64(image.PixelSpacing)
    corner = np.float64(image.ImagePositionPatient)
    return corner + columns * column_mm * across + rows * row_mm * down


def likeness(picture: NDArray[np.int16], frame: NDArray[np.uint8]) -> float:
    """Correlation of a viewport with an image that is fitted into it."""
    rows, columns, _ = picture.shape
    part = min(rows / frame.shape[0], columns / frame.shape[1])
    height, width = (round(part * size) for size in frame.shape[:2])
    top, left = (rows - height) // 2, (columns - width) // 2
    shown = picture[top : top + height, left : left + width]
    fitted = np.asarray(Image.fromarray(frame).resize((width, height)))
    return float(np.corrcoef(shown.ravel(), fitted.ravel())[0, 1])


def test_the_viewer_lists_all_that_was_sent(reading):
    assert sorted(reading.results) == sorted(RESULTS)
    wait_for(lambda: set(RESULTS) <= set(reading.viewer.listed_series()), "list of all results")


@pytest.mark.parametrize("sequence", ["T1", "STIR"])
def test_every_contour_and_lesion_is_drawn_in_place_and_labelled(reading, sequence):
    sent = sent_in(reading.results[f"SIJ findings ({sequence})"], reading)

    reading.viewer.open_series(f"SIJ findings ({sequence})")
    drawn = {one["uid"]: one for one in reading.viewer.drawn(len(sent))}
    middle = list(sent.values())[len(sent) // 2]
    reading.viewer.show_image(middle.image)
    reading.viewer.keep(f"findings-{sequence}")

    assert len(sent) >= 10
    assert drawn.keys() == sent.keys()
    for uid, one in sent.items():
        seen = drawn[uid]
        assert seen["name"] == one.name
        assert one.labels <= set(seen["labels"])
        assert not any(label.isdigit() for label in seen["labels"])  # no bare code
        assert seen["name"].startswith(("Right ", "Left "))
        assert one.image in seen["image"]
        np.testing.assert_allclose(seen["points"][: len(one.points)], one.points, atol=SAME_MM)
    reading.viewer.wait_until_lit()


@pytest.mark.parametrize("sequence", ["T1", "STIR"])
def test_left_is_drawn_to_the_left_of_right(reading, sequence):
    count = len(sent_in(reading.results[f"SIJ findings ({sequence})"], reading))

    reading.viewer.open_series(f"SIJ findings ({sequence})")
    across = {
        side: [
            np.mean(one["points"], axis=0)[0]
            for one in reading.viewer.drawn(count)
            if one["name"].lower().startswith(side)
        ]
        for side in Side
    }

    assert len(across[Side.LEFT]) + len(across[Side.RIGHT]) == count
    assert min(across[Side.LEFT]) > max(across[Side.RIGHT])


def test_the_viewer_shows_t1_regions_in_colour_labelled_by_side(reading):
    viewer, segmentation = reading.viewer, reading.results["SIJ regions (T1)"]
    labels = [segment.SegmentLabel for segment in segmentation.SegmentSequence]
    joints = {side: COLOURS[side, Region.JOINT] for side in Side}

    viewer.open_series("SIJ regions (T1)")
    viewer.agree()
    shown = viewer.segments()
    panel = viewer.open_list_of_segments()
    wait_for(lambda: all(label in panel.inner_text() for label in labels), "list of all segments")
    viewer.show_image(image_with_most_segments(segmentation))

    def coloured() -> list[NDArray[np.int64]]:
        picture = viewer.picture()
        found = [near(picture, joints[side]) for side in (Side.RIGHT, Side.LEFT)]
        return found if is_lit(picture) and min(map(len, found)) > 50 else []

    right, left = wait_for(coloured, "picture with both joints in their colours")
    middle = viewer.picture().shape[1] / 2
    viewer.keep("regions")

    assert shown == labels
    assert all(label.startswith(("Right ", "Left ")) for label in labels)
    assert np.median(right[:, 1]) < middle < np.median(left[:, 1])


def image_with_most_segments(segmentation: Dataset) -> str:
    """The source image that most segments are on."""
    sources = [
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in segmentation.PerFrameFunctionalGroupsSequence
    ]
    return max(sources, key=lambda source: (sources.count(source), source))


def test_the_scores_are_read_as_text(reading):
    report = reading.results["SIJ lesion scores"]
    (summary,), (table,) = items(report, SUMMARY), items(report, FINDING)

    reading.viewer.open_series("SIJ lesion scores")
    reading.viewer.viewport.get_by_text("sites positive").first.wait_for()
    said = reading.viewer.text().split()
    reading.viewer.keep("scores")

    for lines in (summary.TextValue, table.TextValue):
        for line in lines.splitlines():
            assert " ".join(line.split()) in " ".join(said)


def test_a_black_viewport_is_seen_as_black(archived):
    """What all other tests rely on, tried on a report that this viewer cannot show."""
    archived.viewer.open_study(archived.study.study_uid)

    archived.viewer.open_series(NOTHING_TO_DRAW)
    wait_for(lambda: not is_lit(archived.viewer.picture()), "black viewport")

    with pytest.raises(TimeoutError, match="picture but black"):
        archived.viewer.wait_until_lit(patience_s=5)


def test_the_summary_is_shown_as_it_was_sent(reading):
    frame = reading.results["SIJ summary"].pixel_array[0]

    reading.viewer.open_series("SIJ summary")
    alike = wait_for(
        lambda: (found := likeness(reading.viewer.picture(), frame)) > 0.8 and found, "summary"
    )
    reading.viewer.keep("summary")

    assert alike > 0.8


def test_the_page_is_shown_as_it_was_sent(reading):
    sent = reading.results["SIJ report"].EncapsulatedDocument

    reading.viewer.open_series("SIJ report")
    shown = reading.viewer.document()
    # A white page, not a grey frame around nothing.
    wait_for(
        lambda: (reading.viewer.picture() > 250).all(axis=-1).mean() > 0.25, "white page to read"
    )
    reading.viewer.keep("page")

    assert shown.startswith(b"%PDF-")
    assert shown.rstrip(b"\0") == sent.rstrip(b"\0")
