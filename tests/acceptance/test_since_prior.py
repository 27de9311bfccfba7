"""A follow-up study: its report states the changes since the prior study.

Orthanc keeps the studies. The node finds the first report in its own store, and once that has been
cleared away, in Orthanc, by C-FIND and C-GET or C-MOVE.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage

from models.burden_scores import BurdenName
from models.findings import POSITIONS
from sij_node.domain.job import State
from sij_node.store.clear_spool import clear_study
from sij_node.store.job_queries import newest_jobs
from sij_node.store.spool import Spool
from tests.support.audit_rules import check
from tests.support.orthanc import running_orthanc, two_ports
from tests.support.phantom_studies import PhantomStudy, small_case, written
from tests.support.required_programs import said_by
from tests.support.running_node import ARCHIVE, RunningNode, running_node

pytestmark = pytest.mark.acceptance

SCORES = "SIJ lesion scores"


def studied(day: str, folder: Path) -> PhantomStudy:
    """The same patient, on a day."""
    study = written(small_case(), folder)
    for file in study.files:
        image = dcmread(file)
        image.StudyDate = day
        image.save_as(file)
    return study


def clear_away(node: RunningNode, study: PhantomStudy) -> None:
    """As the node does by itself when `[spool] retention_days` have passed."""
    spool, later = Spool(node.folder / "data" / "spool"), datetime(2100, 1, 1, tzinfo=UTC)
    assert clear_study(node.table.database, study.study_uid, later, spool)


def texts(report: Dataset) -> str:
    return "\n".join(one.TextValue for one in report.ContentSequence if "TextValue" in one)


def coded(item: Dataset, concept: str) -> list[str]:
    """The coded values of a concept, at any depth."""
    found = []
    for child in item.get("ContentSequence", ()):
        names = child.get("ConceptNameCodeSequence", ())
        if child.ValueType == "CODE" and names and names[0].CodeValue == concept:
            found.append(child.ConceptCodeSequence[0].CodeValue)
        found += coded(child, concept)
    return found


def tracking_uids(item: Dataset) -> list[str]:
    return [
        one.UID
        for group in item.ContentSequence[-1].ContentSequence
        for one in group.ContentSequence
        if one.ValueType == "UIDREF"
    ]


def fetched_from(peer: str, data: Path) -> set[str]:
    """The studies whose reports a peer gave to the node, as the audit trail has it."""
    files = (data / "audit").glob("*.xml")
    messages = [check(line) for file in files for line in file.read_text("utf-8").splitlines()]
    return {
        message.find("ParticipantObjectIdentification").get("ParticipantObjectID")
        for message in messages
        if message.find(".//EventID").get("csd-code") == "110104"
        and message.find("ActiveParticipant").get("UserID") == peer
        and message.find(f".//SOPClass[@UID='{Comprehensive3DSRStorage}']") is not None
    }


@pytest.mark.parametrize("way", ["get", "move"])
def test_the_second_report_names_the_first_and_the_changes_since(way, tmp_path):
    ports = two_ports()
    first, second = (studied(day, tmp_path / day) for day in ("20250301", "20260301"))
    (tmp_path / "orthanc").mkdir()
    with (
        running_node(tmp_path / "node", ports[0], quiet_s=40, priors_from=way) as node,
        running_orthanc(tmp_path / "orthanc", node.peer, ports) as orthanc,
    ):
        reports = []
        for study in (first, second):
            orthanc.receive(study.files)
            node.wait_for_state(study.study_uid, State.DELIVERED)
            results = orthanc.results_of(study.study_uid)
            (report,) = [one for one in results if one.SeriesDescription.startswith(SCORES)]
            reports.append(report)
            clear_away(node, study)
        jobs = newest_jobs(node.table.database)

    before, after = reports
    file = tmp_path / "report.dcm"
    after.save_as(file)
    (study,) = after.PertinentOtherEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert "PertinentOtherEvidenceSequence" not in before
    assert study.StudyInstanceUID == first.study_uid
    assert named.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert "Compared with the prior study of 2025-03-01." in texts(after)
    news = ("New: none.\r\nResolved: none.\r\nPersisting: ", "No lesions then or now.")
    assert any(words in texts(after) for words in news)
    assert "other weights" not in texts(after)
    changes = coded(after, "change")
    assert changes[: len(POSITIONS)] == ["260388006"] * len(POSITIONS)
    assert changes[len(POSITIONS) :] == ["within-error"] * len(BurdenName)
    assert tracking_uids(after) == tracking_uids(before)
    assert len(jobs) == 2
    assert fetched_from(ARCHIVE, node.folder / "data") == {first.study_uid}
    said = said_by("dciodvfy", "dicom3tools", file)
    assert [line for line in said if line.startswith("Error")] == []
