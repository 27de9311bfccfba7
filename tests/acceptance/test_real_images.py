"""Real images on their way through the whole node: sent, analysed, and what comes back.

Runs where `SIJ_REAL_FOLDER` names a folder of real images (`tests/support/real_images.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from scipy.spatial import cKDTree

from deploy.trial import NODE
from models.findings import Side
from sij_node.domain.job import State
from sij_node.network.dicom_folder import contents_of, send_contents
from tests.support.orthanc import Orthanc, running_orthanc, two_ports
from tests.support.phantom_studies import PhantomStudy
from tests.support.real_images import real_folder, written_scans
from tests.support.returned_lines import Lines, Points, joint_bands, report_lines
from tests.support.running_node import ARCHIVE, RunningNode, running_node
from tests.support.waiting import wait_for
from trainer.evaluation.real_scans import RealScan, read_studies
from trainer.metrics.contour_error import contour_error

pytestmark = pytest.mark.acceptance

FAR_MM = 3.0
UNCERTAIN = "uncertain contours"


@dataclass(frozen=True, eq=False)
class ReturnedResults:
    """What the archive got for one patient."""

    scans: list[RealScan]
    state: State
    results: list[Dataset]
    lines: Lines

    @property
    def has_pair(self) -> bool:
        return len(self.scans) == 2

    @property
    def drawn(self) -> Lines:
        """Every line that people drew, in millimetres of the patient."""
        return [line for _, line in self._drawn(self.scans[0].lines or {})]

    def _drawn(
        self, keys: Iterable[tuple[int, Side]]
    ) -> Iterator[tuple[tuple[int, Side], tuple[Side, Points]]]:
        scan = self.scans[0]
        for number, side in keys:
            points = np.insert(scan.lines[number, side], 0, number, axis=1)
            yield (number, side), (side, scan.volume.to_patient(points))

    @cached_property
    def errors_of_clear_lines(self) -> list[tuple[Side, float]]:
        """RMS in mm from each T1 line that is not ambiguous to the report's nearest of its side."""
        return [
            (side, min(contour_error(drawn, line).rms for of, line in self.lines if of is side))
            for key, (side, drawn) in self._drawn(self.scans[0].lines or {})
            if key not in self.scans[0].ambiguous
        ]

    @property
    def summary(self) -> str:
        """The words of the scores or of the notice."""
        return "\n".join(
            item.TextValue
            for report in self.results
            if report.Modality == "SR"
            for item in report.ContentSequence
            if "TextValue" in item
        )


@pytest.fixture(scope="module")
def node_and_archive(tmp_path_factory) -> Iterator[tuple[RunningNode, Orthanc]]:
    real_folder("listener, analysis and delivery were")
    ports = two_ports()
    with (
        running_node(tmp_path_factory.mktemp("node"), ports[0], quiet_s=4, profile="ohif") as node,
        running_orthanc(tmp_path_factory.mktemp("orthanc"), node.peer, ports) as orthanc,
    ):
        yield node, orthanc


@pytest.fixture(scope="module")
def answers(node_and_archive, tmp_path_factory) -> Mapping[str, ReturnedResults]:
    studies = list(read_studies(real_folder("listener, analysis and delivery were")))
    sent = {}
    for scans in studies:
        written = written_scans(scans, tmp_path_factory.mktemp(scans[0].case))
        sent[scans[0].case] = (scans, written)
        _send(written, node_and_archive[0])
    return {case: _answer(*one, *node_and_archive) for case, one in sent.items()}


def _send(study: PhantomStudy, node: RunningNode) -> None:
    """As the archive, all images of a study on one association."""
    folder = study.files[0].parent
    for file in set(folder.iterdir()) - set(study.files):
        file.unlink()
    to = f"{node.peer.host}:{node.peer.port}"
    sent = list(send_contents(contents_of(folder), to, NODE, ARCHIVE))
    assert len(sent) == len(study.files)
    assert all(one.acknowledged for one in sent)


def _answer(
    scans: list[RealScan], study: PhantomStudy, node: RunningNode, orthanc: Orthanc
) -> ReturnedResults:
    job = node.wait_for_state(study.study_uid, State.DELIVERED, State.REJECTED, State.FAILED)
    # Delivered results are all there; a report that says why not is followed by a picture.
    least = 2 if job.state is State.REJECTED else 1
    wait_for(lambda: len(_results(orthanc, study)) >= least, "results in the archive")
    results = _results(orthanc, study)
    lines = report_lines(results, map(dcmread, study.files))
    return ReturnedResults(scans, job.state, results, lines)


def _results(orthanc: Orthanc, study: PhantomStudy) -> list[Dataset]:
    found = orthanc.ask(
        "/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": study.study_uid}}
    )
    return orthanc.results_of(study.study_uid) if found else []


def test_no_patient_with_t1_and_stir_is_refused(answers):
    pairs = {case: one.state for case, one in answers.items() if one.has_pair}

    assert pairs
    assert pairs == dict.fromkeys(pairs, State.DELIVERED)


def test_t1_alone_is_kept_and_the_report_names_the_missing_stir(answers):
    for answer in (one for one in answers.values() if not one.has_pair):
        assert {one.Modality for one in answer.results} == {"SR", "OT"}
        assert answer.state is State.REJECTED
        assert "no usable coronal STIR series" in answer.summary
        assert "T1 (TR 600, TE 8 ms)" in answer.summary
        assert {one.PatientID for one in answer.results} == {answer.scans[0].case}


def test_lines_and_masks_come_back_on_both_sequences(answers):
    for answer in (one for one in answers.values() if one.has_pair):
        kinds = [one.Modality for one in answer.results]

        assert kinds.count("SEG") == 2
        assert kinds.count("SR") == 3
        assert {side for side, _ in answer.lines} == set(Side)


def test_lines_and_masks_lie_on_the_experts_side_of_the_patient(answers):
    for answer in (one for one in answers.values() if one.drawn):
        for side, line in [*answer.lines, *joint_bands(answer.results)]:
            away = {each: _distance_mm(line, answer.drawn, each) for each in Side}

            assert min(away, key=away.get) is side


def test_most_lines_that_people_drew_come_back_in_the_report(answers):
    errors = [
        error for one in answers.values() if one.drawn for _, error in one.errors_of_clear_lines
    ]

    assert np.median(errors) < FAR_MM / 2
    assert np.mean(np.array(errors) < FAR_MM) > 0.8


def test_a_report_with_poor_contours_says_that_they_are_uncertain(answers):
    poor, good = [], []
    for answer in (one for one in answers.values() if one.drawn):
        for side in Side:
            errors = [error for of, error in answer.errors_of_clear_lines if of is side]
            (poor if np.median(errors) > FAR_MM else good).append(answer)

    assert all(UNCERTAIN in one.summary for one in poor)
    assert good


def _distance_mm(line: Points, drawn: Lines, side: Side) -> float:
    """Mean distance to the nearest points that people drew on a side."""
    of_side = np.concatenate([points for s, points in drawn if s is side])
    return float(cKDTree(of_side).query(line)[0].mean())
