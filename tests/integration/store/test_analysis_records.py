"""Analysis records in the database."""

from datetime import timedelta

from sqlalchemy import update

from models.findings import POSITIONS, Finding, OperatingPoint
from sij_node.domain.analysis_record import AnalysisRecord, KeyPicture, SeriesUse, UsedNetwork
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.errors import PairMissing
from sij_node.store.analysis_records import conclusions_of, record_of
from sij_node.store.clear_spool import clear_study
from sij_node.store.job_table import JobTable
from sij_node.store.tables import analyses, analysis_findings
from tests.support.job_tables import analysing, made
from tests.support.removed_files import Removed
from tests.support.result_inputs import burden

HOSTILE = "<script>\ud800\x00"
SERIES = SeriesUse("1.2.3.9", "3", "T1 tse cor", 20, "T1", True, "used as T1: TR 550 ms")
RECORD = AnalysisRecord(
    series=(SERIES, SeriesUse("1.2.3.10", "", HOSTILE, 1, "other", False, "not used: axial")),
    findings=tuple(
        Finding(
            position,
            None if number == 4 else number / 100,
            0.4,
            operating_point=OperatingPoint.SENSITIVE,
        )
        for number, position in enumerate(POSITIONS)
    ),
    networks=(UsedNetwork("contour", "1.0", "ab" * 32, "Phantoms only."),),
    remarks=("A fat-saturated T2 series was used instead of STIR.",),
    pictures=(KeyPicture(1, "T1", "7", ("1 oedema",), "ab" * 32 + "-1.png", ("O",)),),
    asas_met=True,
    prior=ComparedPrior(
        "2023-03-01",
        tuple(Finding(p, 0.5, 0.4) for p in POSITIONS),
        True,
        ("lesion 0.4.0",),
        burden(),
    ),
    burden=burden(),
)


def with_record(table: JobTable, record: AnalysisRecord = RECORD) -> int:
    job = analysing(table)
    table.store_results(job, [made()], "PACS", "worker 1", record=record)
    return job.job_id


def test_a_record_is_read_as_it_was_written(table: JobTable):
    job_id = with_record(table)

    read = record_of(table.database, job_id)

    assert read.findings == RECORD.findings
    assert (read.networks, read.remarks, read.pictures) == (
        RECORD.networks,
        RECORD.remarks,
        RECORD.pictures,
    )
    assert (read.asas_met, read.prior, read.burden) == (True, RECORD.prior, burden())
    assert read.series[0] == SERIES
    assert read.series[1].description.startswith("<script>")


def test_the_findings_of_a_list_of_jobs_are_read_together(table: JobTable):
    job_id = with_record(table)

    assert conclusions_of(table.database, [job_id, 99]) == {job_id: (RECORD.findings, True)}


def test_a_rejected_study_keeps_its_series(table: JobTable):
    job = analysing(table)

    table.reject(job, PairMissing("No STIR."), [], "PACS", "w", AnalysisRecord(series=(SERIES,)))

    assert record_of(table.database, job.job_id) == AnalysisRecord(series=(SERIES,))


def test_a_job_without_an_analysis_has_no_record(table: JobTable):
    assert record_of(table.database, analysing(table).job_id) is None


def test_the_record_of_a_second_analysis_replaces_the_first(table: JobTable):
    job = analysing(table)
    rejected = table.reject(job, PairMissing("No STIR."), [], "PACS", "w", RECORD)
    table.retry(rejected, "me")

    table.store_results(table.claim("w"), [made()], "PACS", "w", record=AnalysisRecord((SERIES,)))

    assert record_of(table.database, job.job_id) == AnalysisRecord(series=(SERIES,))


def test_pictures_are_cleared_with_their_study_and_the_rest_stays(table: JobTable):
    job_id = with_record(table)
    table.cancel(table.get(job_id), "me")
    removed = Removed()

    later = table.get(job_id).changed_at + timedelta(days=1)
    assert clear_study(table.database, "1.2.3", later, removed)

    assert RECORD.pictures[0].file_name in removed.results
    assert record_of(table.database, job_id).pictures == ()
    assert record_of(table.database, job_id).findings == RECORD.findings


def test_a_record_of_an_earlier_version_has_no_scores_of_burden(table: JobTable):
    job_id = with_record(table)
    prior = {"studied": "2023-03-01", "findings": [], "other_weights": False, "networks": []}
    with table.database.writing() as connection:
        connection.execute(update(analyses).values(burden=None, prior=prior))
        connection.execute(update(analysis_findings).values(operating_point=None))

    read = record_of(table.database, job_id)

    assert (read.burden, read.prior.burden) == ((), ())
    assert {one.operating_point for one in read.findings} == {OperatingPoint.BALANCED}
