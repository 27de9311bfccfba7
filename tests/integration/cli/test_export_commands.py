"""Exports by command line: text for a report, scores for research, verdicts for training."""

import csv
from pathlib import Path

import pytest

from deploy.trial import set_up
from models.case_file import read_case_file
from models.findings import POSITIONS, Finding, Presence
from sij_node.config.settings import load_config
from sij_node.domain.analysis_record import AnalysisRecord
from sij_node.domain.job import Job
from sij_node.domain.verdicts import Verdict
from sij_node.processes.assembly import open_store
from sij_node.store.verdict_table import add_verdicts
from tests.support.command_line import sij_node
from tests.support.job_tables import NOON, made
from tests.support.stored_study import received_study

RECORD = AnalysisRecord(findings=tuple(Finding(position, 0.1, 0.5) for position in POSITIONS))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return set_up(tmp_path_factory.mktemp("node"), "PACS", 104, 0).config


@pytest.fixture(scope="module")
def job(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The doctor's phantom study, analysed, with a verdict of the reader Mia."""
    received = received_study(config, tmp_path_factory.mktemp("images"))
    with open_store(load_config(config)) as store:
        store.table.settle(store.table.get(received.job_id), "quiet")
        job = store.table.claim("w")
        store.table.store_results(job, [made()], "PACS", "w", "lesion 1", record=RECORD)
        verdict = Verdict(POSITIONS[5], Presence.ABSENT, Presence.PRESENT, "mia", NOON)
        add_verdicts(store.table.database, job.job_id, [verdict])
    return job


def test_the_text_of_a_study_is_printed_in_either_language(config: Path, job: Job):
    english = sij_node("jobs", "text", job.job_id, "--config", config)
    german = sij_node("jobs", "text", job.job_id, "--language", "de", "--config", config)

    assert english.stdout.startswith("RIGHT: ")
    assert german.stdout.startswith("RECHTS: ")


def test_scores_are_written_as_a_table(config: Path, job: Job, tmp_path: Path):
    out = tmp_path / "scores.csv"

    done = sij_node("export-scores", "--out", out, "--dates", "none", "--config", config)

    with out.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert "studies: 1;" in done.stdout
    assert row["right_upper_ilium_oedema_present"] == "0"
    assert job.study_uid not in out.read_text(encoding="utf-8")


def test_verdicts_become_a_case_for_the_training_package(config: Path, job: Job, tmp_path: Path):
    done = sij_node("export-verdicts", "--out", tmp_path, "--config", config)

    (file,) = tmp_path.glob("*.case.npz")
    case = read_case_file(file)
    assert done.returncode == 0, done.stderr
    assert {one.kind for one in case.series} == {"T1", "STIR"}
    assert case.agreed() == {POSITIONS[5]: 1}
    assert file.name == f"{case.subject}-1.case.npz"
