"""Readers' verdicts: given by page and API, kept beside the scores, exported for training."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.case_file import read_case_file, write_case_file
from models.findings import POSITIONS, Finding, Presence
from sij_node.config.user_roles import Role
from sij_node.domain.analysis_record import AnalysisRecord
from sij_node.domain.job import Job
from sij_node.store.analysis_records import record_of
from sij_node.training_export.training_case import judged_case
from tests.integration.queue.test_incomplete_studies import STUDY, stir, t1
from tests.support.job_tables import analysing, made, queued
from tests.support.node_in_process import node_in_process
from tests.support.running_web import RunningWeb, csrf_token_in, running_web

FINDINGS = tuple(Finding(one, None if n == 1 else 0.9, 0.5) for n, one in enumerate(POSITIONS))
SITE = {"side": "right", "region": "upper ilium", "lesion": "oedema"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    with running_web(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture(scope="module")
def reader(web: RunningWeb) -> Iterator[httpx.Client]:
    with web.program(Role.READER) as client:
        yield client


def analysed(web: RunningWeb, study: str) -> Job:
    job = analysing(web.table, study)
    result, record = made(study_uid=study), AnalysisRecord(findings=FINDINGS)
    return web.table.store_results(job, [result], "PACS", "w", "lesion 0.6.0", record=record)


def test_a_reader_rejects_one_call_and_accepts_the_others(web: RunningWeb, reader: httpx.Client):
    job = analysed(web, "1.2.840.1")
    body = {"sites": [{**SITE, "stated": "absent"}], "accept_others": True}

    given = reader.post(f"/api/v1/jobs/{job.job_id}/verdicts", json=body).json()

    decisions = [one["decision"] for one in given]
    assert (decisions.count("accepted"), decisions.count("rejected"), len(given)) == (26, 1, 27)
    (rejected,) = [one for one in given if one["decision"] == "rejected"]
    assert SITE.items() <= rejected.items()
    assert (rejected["called"], rejected["stated"]) == ("present", "absent")
    assert record_of(web.table.database, job.job_id).findings == FINDINGS


def test_a_verdict_is_changed_and_withdrawn_by_its_reader(web: RunningWeb, reader: httpx.Client):
    job = analysed(web, "1.2.840.2")
    address = f"/api/v1/jobs/{job.job_id}/verdicts"

    def after(stated: str) -> list[str]:
        sites = [{**SITE, "stated": stated}]
        return [one["stated"] for one in reader.post(address, json={"sites": sites}).json()]

    assert after("absent") == ["absent"]
    assert after("present") == ["present"]
    assert after("undetermined") == []


def test_a_viewer_gives_no_verdict_and_an_unknown_site_is_refused(web, reader):
    job = analysed(web, "1.2.840.3")
    address = f"/api/v1/jobs/{job.job_id}/verdicts"
    wrong = {"side": "left", "region": "joint", "lesion": "oedema", "stated": "present"}

    with web.program(Role.VIEWER) as viewer:
        assert viewer.post(address, json={"accept_others": True}).status_code == 403
    refused = reader.post(address, json={"sites": [wrong]})

    assert refused.status_code == 422
    assert "oedema is not scored in joint" in refused.text
    assert reader.get(address).json() == []


def test_the_page_keeps_verdicts_and_shows_those_of_other_readers(web: RunningWeb):
    job = analysed(web, "1.2.840.4")
    stated = ["absent", "present", *["undetermined"] * 26]

    with web.browser(Role.READER) as reader, web.browser(Role.OPERATOR) as other:
        token = csrf_token_in(reader.get(f"/jobs/{job.job_id}").text)
        form = {"stated": stated, "others": "accept", "csrf_token": token}
        saved = reader.post(f"/jobs/{job.job_id}/verdicts", data=form, follow_redirects=True)
        own = reader.get(f"/jobs/{job.job_id}").text
        others = other.get(f"/jobs/{job.job_id}").text
        agreement = reader.get("/agreement").text

    assert "Verdicts saved." in saved.text
    assert "26 of 28 calls accepted, by 1 reader" in own
    chosen = re.findall(r'value="(\w+)" selected', own)
    assert (chosen.count("absent"), chosen.count("present")) == (1, 27)
    assert ": absent</td>" in others
    assert "By lesion" in agreement
    assert "lesion 0.6.0" in agreement


def test_metrics_count_verdicts_by_sender_lesion_and_decision(web: RunningWeb, reader):
    job = analysed(web, "1.2.840.5")
    reader.post(f"/api/v1/jobs/{job.job_id}/verdicts", json={"accept_others": True})

    with web.visitor() as prometheus:
        text = prometheus.get("/metrics").text

    counted = 'sij_verdicts{lesion="ankylosis",outcome="accepted",sender="PACS"}'
    assert re.search(re.escape(counted) + r" [1-9]", text)
    assert 'sij_agreement_fallen{lesion="ankylosis",sender="PACS"} 0.0' in text


def test_verdicts_on_a_received_study_become_a_training_case(tmp_path: Path):
    with node_in_process(tmp_path / "node") as node:
        sent = node.take(*t1(), *stir())
        job = node.jobs(STUDY)[-1]
        first = record_of(node.table.database, job.job_id).findings
        node.admin.judge(
            job.job_id, {POSITIONS[0]: Presence.PRESENT, POSITIONS[27]: Presence.ABSENT}
        )
        ((study, images),) = node.admin.judged_studies()
        written = write_case_file(
            judged_case(images(), study.readings, study.subject), tmp_path / "one.case.npz"
        )
        case = read_case_file(written)
        after = record_of(node.table.database, job.job_id).findings

    assert sent
    assert first == after
    assert {one.kind for one in case.series} == {"T1", "STIR"}
    assert case.agreed() == {POSITIONS[0]: 1, POSITIONS[27]: 0}
    assert study.visit == 1
    assert case.subject == study.subject
    assert "mia" not in str(case.readings)


def test_a_study_that_was_not_analysed_has_nothing_to_accept(web: RunningWeb, reader):
    job = queued(web.table, "1.2.840.6")

    refused = reader.post(f"/api/v1/jobs/{job.job_id}/verdicts", json={"accept_others": True})

    assert refused.status_code == 409
    assert "was not analysed" in refused.text
