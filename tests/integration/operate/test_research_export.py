"""Scores of stored studies are exported for research without naming a patient or a study."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.findings import POSITIONS, Finding
from sij_node.config.user_roles import Role
from sij_node.domain.analysis_record import AnalysisRecord
from sij_node.domain.job import Job
from sij_node.domain.research_table import ExportedDates, ExportedStudies
from sij_node.errors import ResultUnknown
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool
from tests.support.job_tables import NOON, latest_job, made, queued, received
from tests.support.mr_series import classic_series
from tests.support.running_web import RunningWeb, running_web
from tests.support.stored_admin import admin_of

EVER = ExportedStudies(NOON.replace(year=2000), NOON.replace(year=9000))
RECORD = AnalysisRecord(findings=tuple(Finding(position, 0.25, 0.5) for position in POSITIONS))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    with running_web(tmp_path_factory.mktemp("web")) as running:
        yield running


def analysed(
    table: JobTable, spool: Spool, study: str, patient: str, day: str, record=RECORD
) -> Job:
    """An analysed study whose image is in the spool."""
    (image,) = classic_series(np.ones((1, 4, 4), np.uint16), StudyDate=day, PatientID=patient)
    instance = received(1, study, patient_id=patient)
    path = spool.path_of(instance.file_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    table.register(instance, 5, opens_job=True)
    table.settle(latest_job(table, study, "PACS"), "quiet")
    job = table.claim("w")
    result = replace(made(), sop_instance_uid=f"{study}.8.{job.job_id}")
    return table.store_results(job, [result], "PACS", "w", record=record)


def test_two_visits_of_one_patient_share_a_pseudonym_and_keep_their_interval(table, spool):
    analysed(table, spool, "1.2.840.1", "CANARY-1", "20230301")
    analysed(table, spool, "1.2.840.2", "CANARY-1", "20230331")
    analysed(table, spool, "1.2.840.3", "CANARY-2", "20230301")
    queued(table, "1.2.840.4")

    _, *rows = admin_of(table, spool).export_scores(EVER)

    text = str(rows)
    assert not any(secret in text for secret in ("CANARY", "1.2.840", "2023-03-01", "20230301"))
    visits = sorted(row[2] for row in rows if sum(row[0] == one[0] for one in rows) == 2)
    assert len(rows) == 3
    assert len({row[1] for row in rows}) == 3
    days = np.diff(np.array(visits, "datetime64[D]")).astype(int)
    assert days.tolist() == [30]


def test_a_study_that_was_analysed_again_is_exported_once_with_the_newest_scores(table, spool):
    job = analysed(table, spool, "1.2.840.1", "P1", "20230301")
    delivery = table.claim_delivery("c")
    table.record_delivery(delivery, f"1.2.840.1.8.{job.job_id}", "PACS", 0, True)
    table.reanalyse(table.delivered(delivery, "c"), "mia", "")
    newer = replace(RECORD, findings=tuple(Finding(p, 0.75, 0.5) for p in POSITIONS))
    again = table.claim("w")
    result = replace(made(), sop_instance_uid=f"1.2.840.1.8.{again.job_id}")
    table.store_results(again, [result], "PACS", "w", record=newer)

    head, row = admin_of(table, spool).export_scores(EVER)

    assert row[head.index("left_joint_sclerosis_probability")] == "0.7500"


def test_only_studies_of_the_wanted_time_and_sender_are_exported(table, spool):
    analysed(table, spool, "1.2.840.1", "P1", "20230301")
    mia = admin_of(table, spool)

    def rows(**limits) -> int:
        return len(list(mia.export_scores(replace(EVER, **limits)))) - 1

    assert rows(until=EVER.since) == rows(source_ae="OTHER") == 0
    assert rows(source_ae="PACS") == rows(dates=ExportedDates.NONE) == 1


def test_a_study_whose_images_were_cleared_keeps_its_scores_only(table, spool):
    job = analysed(table, spool, "1.2.840.1", "P1", "20230301")
    spool.remove(received(1, job.study_uid).file_name)

    head, row = admin_of(table, spool).export_scores(EVER)

    assert row[2] == ""
    assert row[head.index("left_joint_sclerosis_probability")] == "0.2500"


def test_only_administrators_download_the_table(web: RunningWeb):
    analysed(web.table, web.store.spool, "1.2.840.9", "CANARY-9", "20230301")

    with web.program(Role.OPERATOR) as operator:
        refused = operator.get("/api/v1/exports/scores.csv")
    with web.program(Role.ADMINISTRATOR) as administrator:
        answer = administrator.get("/api/v1/exports/scores.csv", params={"dates": "year"})

    assert refused.status_code == 403
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["studied"], row["left_joint_ankylosis_present"]) == ("2023", "0")
    assert "CANARY" not in answer.text


def test_the_text_for_the_report_is_served_plain_in_either_language(web: RunningWeb):
    job = analysed(web.table, web.store.spool, "1.2.840.10", "P1", "20230301")

    with web.program(Role.VIEWER) as viewer:
        english = viewer.get(f"/api/v1/jobs/{job.job_id}/text")
        german = viewer.get(f"/api/v1/jobs/{job.job_id}/text", params={"language": "de"})
        page = viewer.get(f"/jobs/{job.job_id}").text

    assert english.headers["content-type"].startswith("text/plain")
    assert english.text.startswith("RIGHT: no lesion")
    assert german.text.startswith("RECHTS: ")
    assert f'data-text="{english.text}"'.replace("'", "&#39;") in page


def test_a_study_that_was_not_analysed_has_no_text(table, spool):
    job = queued(table)

    with pytest.raises(ResultUnknown, match=f"Job {job.job_id} is queued"):
        admin_of(table, spool).report_text(job.job_id)
