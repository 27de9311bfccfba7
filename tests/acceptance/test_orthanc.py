"""The node with a real PACS: Orthanc routes studies to it and receives the results."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import Dataset

from sij_node.domain.job import State
from sij_node.store.refusals import newest_refusals
from tests.support.orthanc import Orthanc, running_orthanc, two_ports
from tests.support.phantom_studies import (
    PATIENT_ID,
    PATIENT_NAME,
    STIR,
    T1,
    PhantomStudy,
    axial,
    written,
)
from tests.support.required_programs import said_by
from tests.support.running_node import RunningNode, running_node
from tests.support.waiting import wait_for

pytestmark = pytest.mark.acceptance

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SUMMARY = "1.2.840.10008.5.1.4.1.1.7.4"
SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"


@dataclass
class OrthancWithNode:
    """A PACS and the node beside it."""

    orthanc: Orthanc
    node: RunningNode

    def scan(self, study: PhantomStudy) -> None:
        """A scanner sends a study to the PACS; wait until the node has done its part."""
        self.orthanc.receive(study.files)
        self.node.wait_for_state(study.study_uid, State.DELIVERED, State.REJECTED)
        wait_for(lambda: self.orthanc.results_of(study.study_uid), "result in Orthanc")

    def digests_of(self, study: PhantomStudy) -> list[str]:
        """What the PACS holds of a study."""
        files = self.orthanc.files_of(study.study_uid)
        return sorted(sha256(file).hexdigest() for file in files)


@pytest.fixture(scope="module")
def orthanc_with_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancWithNode]:
    ports = two_ports()
    with (
        running_node(tmp_path_factory.mktemp("node"), ports[0], quiet_s=15) as node,
        running_orthanc(tmp_path_factory.mktemp("orthanc"), node.peer, ports) as orthanc,
    ):
        yield OrthancWithNode(orthanc, node)


@pytest.fixture(
    scope="module",
    params=[{"vendor": "siemens"}, {"vendor": "philips", "enhanced": True}],
    ids=["classic Siemens", "enhanced Philips"],
)
def study(request, case, orthanc_with_node, tmp_path_factory) -> PhantomStudy:
    """A study that has been through scanner, PACS, node and PACS."""
    study = written(case, tmp_path_factory.mktemp("study"), **request.param)
    orthanc_with_node.scan(study)
    return study


def results_on_disk(
    orthanc_with_node: OrthancWithNode, study: PhantomStudy, folder: Path
) -> list[Path]:
    files = []
    for number, content in enumerate(orthanc_with_node.orthanc.result_files_of(study.study_uid)):
        files.append(folder / f"result{number}.dcm")
        files[-1].write_bytes(content)
    return files


def text_of(report: Dataset) -> str:
    return "\n".join(item.TextValue for item in report.ContentSequence if "TextValue" in item)


def test_results_arrive_in_the_same_study_of_the_same_patient(orthanc_with_node, study):
    results = orthanc_with_node.orthanc.results_of(study.study_uid)

    assert sorted(str(result.SOPClassUID) for result in results) == sorted(
        [COMPREHENSIVE_3D_SR, SEGMENTATION, SEGMENTATION, SUMMARY]
    )
    assert {result.StudyInstanceUID for result in results} == {study.study_uid}
    assert {str(result.PatientID) for result in results} == {PATIENT_ID}
    assert {str(result.PatientName) for result in results} == {PATIENT_NAME}
    segmented = {
        result.ReferencedSeriesSequence[0].SeriesInstanceUID
        for result in results
        if result.SOPClassUID == SEGMENTATION
    }
    assert segmented == {study.series_uid(T1), study.series_uid(STIR)}


def test_dciodvfy_finds_no_error_in_what_came_back(orthanc_with_node, study, tmp_path):
    files = results_on_disk(orthanc_with_node, study, tmp_path)

    said = [line for file in files for line in said_by("dciodvfy", "dicom3tools", file)]

    assert len(files) == 4
    assert said
    assert [line for line in said if line.startswith("Error")] == []


def test_dcentvfy_finds_results_and_images_to_be_one_study(orthanc_with_node, study, tmp_path):
    files = results_on_disk(orthanc_with_node, study, tmp_path)

    said = said_by("dcentvfy", "dicom3tools", *study.files, *files)

    # It files the accession number of images under the series and that of reports under the study.
    assert [line for line in said if "<AccessionNumber> IE <" not in line] == []


def test_sending_a_study_again_with_its_results_changes_nothing(orthanc_with_node, study):
    job, before = (
        orthanc_with_node.node.job_of(study.study_uid),
        orthanc_with_node.digests_of(study),
    )

    orthanc_with_node.orthanc.receive(study.files)
    orthanc_with_node.orthanc.send_study(study.study_uid)

    assert orthanc_with_node.node.job_of(study.study_uid) == job
    assert orthanc_with_node.digests_of(study) == before
    assert newest_refusals(orthanc_with_node.node.table.database) == ()


@pytest.mark.parametrize(
    ("study_as", "missing"),
    [
        (lambda case, folder: written(axial(case), folder), "coronal"),
        (lambda case, folder: written(case, folder).without_stir(), "STIR"),
    ],
    ids=["wrong plane", "T1 only"],
)
def test_a_study_without_a_usable_pair_comes_back_as_not_analysed(
    orthanc_with_node, case, tmp_path, study_as, missing
):
    study = study_as(case, tmp_path)

    orthanc_with_node.scan(study)

    archive = orthanc_with_node.orthanc
    wait_for(lambda: len(archive.results_of(study.study_uid)) > 1, "a report and its picture")
    notice, picture = sorted(archive.results_of(study.study_uid), key=lambda one: one.SeriesNumber)
    assert notice.SOPClassUID == COMPREHENSIVE_3D_SR
    assert picture.SOPClassUID == SINGLE_FRAME
    assert notice.PatientID == PATIENT_ID
    assert "not analysed" in text_of(notice)
    assert missing in text_of(notice)
    assert orthanc_with_node.node.job_of(study.study_uid).state is State.REJECTED
