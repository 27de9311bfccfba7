"""Queries over all jobs, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest

from sij_node.domain.job import Job, State, Step
from sij_node.domain.job_list import JobFilter, JobOrder
from sij_node.domain.study import StudyAttributes
from sij_node.errors import InternalFault
from sij_node.store.job_queries import (
    find_jobs,
    jobs_of_patient,
    jobs_of_study,
    oldest_unfinished,
    patients_of,
    queue_order,
    sources,
    steps_of,
)
from sij_node.store.job_statistics import (
    analysis_seconds,
    chart_events,
    last_deliveries,
    weights_used,
)
from sij_node.store.job_table import JobTable
from sij_node.store.study_attributes_table import attributes_of, forget
from tests.support.job_tables import (
    POLICY,
    analysing,
    delivering,
    latest_job,
    made,
    queued,
    received,
)


def numbers(table: JobTable, **wanted: object) -> list[int]:
    return [job.job_id for job in find_jobs(table.database, JobFilter(**wanted), 50).jobs]


def test_the_newest_jobs_come_first_and_pages_do_not_overlap(table: JobTable):
    for number in range(5):
        queued(table, f"1.2.{number}")

    first, second = (
        find_jobs(table.database, JobFilter(), 2),
        find_jobs(table.database, JobFilter(), 2, 2),
    )

    assert [job.job_id for job in (*first.jobs, *second.jobs)] == [5, 4, 3, 2]
    assert (first.total, second.total) == (5, 5)


def test_jobs_are_found_by_state_and_sender(table: JobTable):
    analysing(table, "1.2.1", source_ae="CT")
    queued(table, "1.2.2")

    assert numbers(table, states=(State.QUEUED,)) == [2]
    assert numbers(table, source_ae="CT") == [1]
    assert numbers(table, states=(State.QUEUED,), source_ae="CT") == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("1", [1]),
        ("2.7", [2]),
        ("  2.7 ", [2]),
        ("abroad", [3]),
        ("ABR", [3]),
        ("%", []),
        ("_", []),
    ],
)
def test_words_find_a_number_a_study_or_a_sender(table: JobTable, words: str, found: list[int]):
    queued(table, "1.2.5")
    queued(table, "1.2.7")
    queued(table, "1.3.9", source_ae="ABROAD")

    assert numbers(table, words=words) == found


KNOWN = (
    StudyAttributes("2026-11-02", "MR Sacroiliac joints", "A-1"),
    StudyAttributes("2026-11-28", "SIJ 100 %", "A-2"),
    None,
)


def with_attributes(table: JobTable) -> None:
    """Three queued jobs; the images of the third have not been read."""
    for number, attributes in enumerate(KNOWN, 1):
        table.register(received(number, f"1.2.{number}"), 5, opens_job=True)
        table.settle(latest_job(table, f"1.2.{number}", "PACS"), "quiet", attributes=attributes)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("2026-11-28", [2]),
        ("20261102", [1]),
        ("2.11.2026", [1]),
        ("sacroiliac", [1]),
        ("100 %", [2]),
        ("A-1", []),
    ],
)
def test_words_find_a_study_by_date_and_description_not_by_order(
    table: JobTable, words: str, found: list[int]
):
    with_attributes(table)

    assert numbers(table, words=words) == found


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (JobOrder.NEWEST, [3, 2, 1]),
        (JobOrder.STUDY_DATE, [2, 1, 3]),
        (JobOrder.DESCRIPTION, [1, 2, 3]),
        (JobOrder.SENDER, [3, 2, 1]),
        (JobOrder.STATE, [3, 2, 1]),
        (JobOrder.REASON, [3, 2, 1]),
    ],
)
def test_jobs_are_listed_in_the_order_asked_for(table: JobTable, order: JobOrder, found: list[int]):
    with_attributes(table)

    assert numbers(table, order=order) == found


def test_a_reason_is_found(table: JobTable):
    table.fail(analysing(table), InternalFault("The joints were not found"), POLICY, "worker 1")

    assert numbers(table, words="joints were not") == [1]


def test_an_accession_number_finds_its_jobs_until_the_images_are_cleared(table: JobTable):
    with_attributes(table)
    listed = jobs_of_patient(table.database, "A-2", 50)
    with table.database.writing() as connection:
        forget(connection, "1.2.2")

    assert [job.job_id for job in listed.jobs] == [2]
    assert jobs_of_patient(table.database, "A-2", 50).jobs == ()
    assert attributes_of(table.database, ["1.2.1", "1.2.2"]) == {"1.2.1": KNOWN[0]}


@pytest.mark.parametrize("words", ["99999999999999", "'; DROP TABLE jobs; --", "\u0661", "\x00"])
def test_strange_words_find_nothing_and_break_nothing(table: JobTable, words: str):
    queued(table)

    assert numbers(table, words=words) == []
    assert numbers(table) == [1]


def test_patients_are_known_while_their_images_are_here(table: JobTable):
    table.register(received(1, "1.2.1", patient_id="A", issuer_of_patient_id="H"), 5, True)

    found = patients_of(table.database, ["1.2.1", "1.2.2"])

    assert {uid: (one.patient_id, one.issuer) for uid, one in found.items()} == {
        "1.2.1": ("A", "H")
    }


def test_jobs_of_a_patient_are_found_by_the_whole_identifier(table: JobTable):
    table.register(received(1, "1.2.1", patient_id="A1"), 5, True)
    table.register(received(2, "1.2.2", patient_id="A12"), 5, True)

    assert [job.study_uid for job in jobs_of_patient(table.database, "A1", 10).jobs] == ["1.2.1"]


def test_the_queue_is_listed_in_the_order_of_claiming(table: JobTable):
    for number, priority in enumerate((3, 9, 3, 5)):
        queued(table, f"1.2.{number}", priority)

    order = queue_order(table.database)
    claimed = [table.claim("w").job_id for _ in order]

    assert list(order) == claimed


def test_how_long_an_analysis_took_is_from_its_last_claim(table: JobTable):
    job = analysing(table)
    waiting = table.release_claim(job, "w")
    again = table.claim("w")
    done = table.store_results(again, [made()], "PACS", "w")

    (seconds,) = analysis_seconds(table.database)

    steps = {step.step: step.at for step in steps_of(table.database, done.job_id)}
    assert seconds == pytest.approx(
        (steps[Step.RESULTS_STORED] - steps[Step.CLAIMED]).total_seconds()
    )
    assert waiting.state is State.QUEUED


def test_new_history_steps_come_with_the_time_the_study_started(table: JobTable):
    job = delivering(table)
    broken = analysing(table, "1.2.9")
    table.fail(broken, InternalFault("broken"), POLICY, "w")

    found = chart_events(table.database, datetime.now(UTC) - timedelta(hours=1))

    assert [(one.job_id, one.step) for one in found] == [
        (1, Step.CLAIMED),
        (1, Step.RESULTS_STORED),
        (2, Step.CLAIMED),
        (2, Step.GIVE_UP),
    ]
    assert found[0].opened_at == table.get(job.job_id).created_at
    assert chart_events(table.database, datetime.now(UTC) + timedelta(hours=1)) == ()


def test_charts_count_each_study_at_its_first_delivery_only(table: JobTable):
    delivering(table, made())
    sent = deliver(table)
    table.redeliver(sent, "mia")
    again = table.reanalyse(deliver(table), "mia")
    table.store_results(table.claim("w"), [made()], "PACS", "w")

    found = chart_events(table.database, datetime.now(UTC) - timedelta(hours=1))

    assert [one.job_id for one in found if one.step is Step.ACKNOWLEDGED] == [sent.job_id]
    assert table.get(again.job_id).state is State.DELIVERED


def test_weights_are_listed_with_their_jobs_those_in_use_first(table: JobTable):
    for number, weights in enumerate(("old 1", "old 1", "own 2")):
        job = analysing(table, f"1.2.{number}")
        table.store_results(job, [made()], "PACS", "worker 1", weights)
    analysing(table, "1.2.9")

    newest, oldest = weights_used(table.database)

    assert [(one.weights, one.jobs) for one in (newest, oldest)] == [("own 2", 1), ("old 1", 2)]
    assert oldest.first_at <= oldest.last_at <= newest.first_at <= datetime.now(UTC)


def deliver(table: JobTable) -> Job:
    """The claimed job after its result was acknowledged."""
    job = table.claim_delivery("w")
    table.record_delivery(job, made().sop_instance_uid, "PACS", 0, True)
    return table.delivered(job, "w")


def test_the_oldest_unfinished_job_is_found(table: JobTable):
    first = queued(table, "1.2.1")
    queued(table, "1.2.2")
    table.cancel(first, "me")

    assert oldest_unfinished(table.database).job_id == 2


def test_when_a_destination_last_took_something_is_known(table: JobTable):
    delivering(table)
    job = table.claim_delivery("w")
    table.record_delivery(job, made().sop_instance_uid, "PACS", 0, acknowledged=True)

    (at,) = last_deliveries(table.database).values()

    assert datetime.now(UTC) - at < timedelta(minutes=1)


def test_all_jobs_of_a_study_are_listed(table: JobTable):
    queued(table, "1.2.1")
    queued(table, "1.2.1", source_ae="CT")
    queued(table, "1.2.2")

    assert [job.job_id for job in jobs_of_study(table.database, "1.2.1")] == [1, 2]
    assert sources(table.database) == ("CT", "PACS")
