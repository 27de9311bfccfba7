"""The delivery worker: results reach the destination once, however often it has to try."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from sij_node.audit.peer_events import PeerEvents
from sij_node.config.profiles import MINIMAL, preset
from sij_node.config.settings import PeerConfig
from sij_node.deliver.delivery_worker import DeliveryWorker
from sij_node.domain.job import DeliveryState, Job, RetryPolicy, State
from sij_node.errors import DestinationUnavailable, PairMissing
from sij_node.network.store_scu import OutgoingObject, SendResult
from sij_node.store.deliveries import add_deliveries, deliveries_of
from sij_node.store.destination_holds import hold
from sij_node.store.job_table import MAX_ANALYSES, JobTable
from sij_node.store.peer_activity_table import (
    PeerActivityLog,
    PeerActivityTable,
    PeerCounter,
)
from sij_node.store.spool import Spool
from sij_node.store.tables import instances
from tests.support.job_tables import RESULT_CONTENT, analysing, delivering, made
from tests.support.unrecorded_events import NO_TRAIL, no_events

POLICY = RetryPolicy(max_attempts=3, first_wait_s=1, max_wait_s=4)
PACS = PeerConfig(ae_title="PACS", networks=("127.0.0.1",), host="127.0.0.1", port=104)
FAILED = (PeerCounter.FAILED_DELIVERIES,)
SCORES, SEG, NOTICE = made("scores"), made("seg t1"), made("not analysed")


class FakePacs:
    """Answers each object with the next status; None breaks the association."""

    def __init__(self, *statuses: int | None, comment: str = "") -> None:
        self.statuses, self.comment = list(statuses), comment
        self.got: list[str] = []

    def send(self, peer: PeerConfig, objects: Sequence[OutgoingObject]) -> Iterator[SendResult]:
        for item in objects:
            status = self.statuses.pop(0) if self.statuses else 0x0000
            if status is None:
                raise DestinationUnavailable("PACS broke off.")
            if status == 0x0000:
                self.got.append(item.sop_instance_uid)
            yield SendResult(item.sop_instance_uid, status, self.comment)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool that holds every result the tests deliver."""
    spool = Spool(tmp_path / "spool")
    for result in (SCORES, SEG, NOTICE):
        spool.keep_result(RESULT_CONTENT, result.file_name)
    return spool


def deliver(
    table: JobTable, spool: Spool, pacs: FakePacs, job: Job, peer=PACS, profile=MINIMAL, events=None
) -> Job:
    """One round of the courier."""
    stop = threading.Event()
    courier = DeliveryWorker(
        "courier 1",
        table,
        spool,
        pacs.send,
        lambda title: peer,
        lambda title: profile,
        POLICY,
        lease_s=20,
        stop=stop,
        events=events or no_events(),
    )
    courier.deliver_next()
    return table.get(job.job_id)


def states(table: JobTable, job: Job) -> list[DeliveryState]:
    return [delivery.state for delivery in deliveries_of(table.database, job.job_id)]


def test_results_are_sent_in_the_order_of_the_profile(table: JobTable, spool: Spool):
    summary = made("summary")
    spool.keep_result(RESULT_CONTENT, summary.file_name)

    for profile, expected in (
        (MINIMAL.model_copy(update={"objects": ("scores", "seg")}), [SCORES, SEG]),
        (preset("orthanc"), [summary, SEG, SCORES]),
    ):
        pacs, job = FakePacs(), delivering(table, *reversed(expected), source_ae=profile.name)
        deliver(table, spool, pacs, job, profile=profile)
        assert pacs.got == [result.sop_instance_uid for result in expected]


def test_what_is_acknowledged_is_delivered(table: JobTable, spool: Spool):
    pacs, job = FakePacs(), delivering(table, SCORES, SEG)

    after = deliver(table, spool, pacs, job)

    assert after.state is State.DELIVERED
    assert sorted(pacs.got) == sorted([SCORES.sop_instance_uid, SEG.sop_instance_uid])


def test_only_what_was_not_acknowledged_is_sent_again(table: JobTable, spool: Spool):
    pacs, job = FakePacs(0x0000, None), delivering(table, SCORES, SEG)

    first = deliver(table, spool, pacs, job)
    table.release(first)
    second = deliver(table, spool, pacs, job)

    assert (first.state, first.wait_s, first.reason) == (State.DELIVERING, 1, "PACS broke off.")
    assert second.state is State.DELIVERED
    assert len(pacs.got) == len(set(pacs.got)) == 2


@pytest.mark.parametrize("status", [0x0122, 0x0124, 0xA900, 0xC123])
def test_what_no_retry_can_change_fails_at_once_and_says_what_to_do(table, spool, status):
    pacs, job = FakePacs(*[status] * 2), delivering(table, SCORES, SEG)

    after = deliver(table, spool, pacs, job)

    assert (after.state, after.delivery_attempts) == (State.FAILED, 1)
    assert f"status 0x{status:04X}: " in after.reason
    assert "SR Storage" in after.reason
    assert "destination" in after.reason


def test_a_passing_refusal_beside_a_final_one_is_retried(table: JobTable, spool: Spool):
    pacs, job = FakePacs(0x0122, 0xA700), delivering(table, SCORES, SEG)

    after = deliver(table, spool, pacs, job)

    assert (after.state, after.wait_s) == (State.DELIVERING, 1)


def test_a_refused_object_is_retried_then_abandoned_with_the_reason(table: JobTable, spool: Spool):
    pacs, job = FakePacs(*[0xA700] * 3), delivering(table, SCORES)

    for _ in range(POLICY.max_attempts):
        after = deliver(table, spool, pacs, job)
        if after.wait_s:
            table.release(after)

    assert after.state is State.FAILED
    assert "0xA700" in after.reason


def test_what_an_archive_says_of_a_patient_stays_with_the_delivery(table: JobTable, spool: Spool):
    pacs = FakePacs(0xA700, comment="DOE^JANE exists already")
    job = delivering(table, SCORES)

    after = deliver(table, spool, pacs, job)

    (delivery,) = deliveries_of(table.database, job.job_id)
    assert delivery.note == "DOE^JANE exists already"
    assert after.reason == "1 of 1 objects were refused: Comprehensive SR Storage, status 0xA700"


def test_a_failed_delivery_waits_before_it_is_tried_again(table: JobTable, spool: Spool):
    pacs, job = FakePacs(None), delivering(table, SCORES)

    deliver(table, spool, pacs, job)
    after = deliver(table, spool, pacs, job)

    assert after.delivery_attempts == 1
    assert pacs.got == []


def test_a_study_stays_rejected_after_its_notice_is_delivered(table: JobTable, spool: Spool):
    pacs, job = FakePacs(), analysing(table)
    table.reject(job, PairMissing("No T1."), [NOTICE], "PACS", "worker 1")

    with capture_logs() as lines:
        after = deliver(table, spool, pacs, job)

    assert after.state is State.REJECTED
    assert after.reason == "No T1."
    assert states(table, job) == [DeliveryState.ACKNOWLEDGED]
    assert [(line["event"], line["reason"]) for line in lines] == [("results delivered", "")]


def test_a_failed_delivery_is_logged_even_for_a_rejected_study(table: JobTable, spool: Spool):
    pacs, job = FakePacs(0xA700), analysing(table)
    table.reject(job, PairMissing("No T1."), [NOTICE], "PACS", "worker 1")

    with capture_logs() as lines:
        deliver(table, spool, pacs, job)

    assert [(line["event"], line["reason"]) for line in lines] == [
        (
            "delivery failed",
            "1 of 1 objects were refused: Comprehensive SR Storage, status 0xA700",
        )
    ]


def test_a_delivery_is_logged_while_another_destination_is_held(table: JobTable, spool: Spool):
    job = delivering(table, SCORES)
    failed = deliver(table, spool, FakePacs(0xA700), job)
    table.release(failed)
    also_elsewhere(table, job, "ARCHIVE")
    hold(table.database, "ARCHIVE", "it moves", "a person")

    with capture_logs() as lines:
        after = deliver(table, spool, FakePacs(), job)

    assert after.state is State.DELIVERING
    assert after.reason != ""
    assert [line["event"] for line in lines] == ["results delivered"]


def also_elsewhere(table: JobTable, job: Job, destination: str) -> None:
    """Have a job's results delivered to a second destination too."""
    with table.database.writing() as connection:
        add_deliveries(connection, job.job_id, [SCORES], destination)


def test_a_failed_attempt_is_counted_for_its_destination_not_the_sender(table, spool):
    activity = PeerActivityTable(table.database)
    book = PeerActivityLog(activity)
    job = delivering(table, SCORES)
    also_elsewhere(table, job, "ARCHIVE")

    deliver(table, spool, FakePacs(None), job, events=PeerEvents(book, NO_TRAIL, str))

    book.write()
    failed = {tally: n for tally, n in activity.tallies().items() if tally[0] in FAILED}
    assert failed == {(PeerCounter.FAILED_DELIVERIES, "ARCHIVE", "failed"): 1}


def test_a_peer_that_was_taken_from_the_configuration_is_named(table: JobTable, spool: Spool):
    job = delivering(table, SCORES)

    after = deliver(table, spool, FakePacs(), job, peer=None)

    assert after.state is State.DELIVERING
    assert "PACS is no longer a [[peer]]" in after.reason


def test_a_result_that_is_missing_from_the_disk_waits_and_says_so(table: JobTable, spool: Spool):
    job = delivering(table, SCORES)

    spool.remove_result(SCORES.file_name)
    after = deliver(table, spool, FakePacs(), job)

    assert after.state is State.DELIVERING
    assert "not in the spool" in after.reason


def test_an_unexpected_error_fails_one_attempt_of_one_job(table: JobTable, spool: Spool):
    class Impossible(FakePacs):
        def send(self, peer: PeerConfig, objects: Sequence[OutgoingObject]) -> Iterator[SendResult]:
            raise UnicodeError("label empty or too long of DOE^JANE")
            yield

    bad = delivering(table, SCORES)
    after = deliver(table, spool, Impossible(), bad)

    assert (after.state, after.delivery_attempts, after.wait_s) == (State.DELIVERING, 1, 1)
    assert after.reason == "The delivery failed with UnicodeError; see the log."
    good = delivering(table, SEG, study_uid="1.2.4")
    assert deliver(table, spool, FakePacs(), good).state is State.DELIVERED


@pytest.mark.parametrize("content", [RESULT_CONTENT[:3], b"a resulT", b""])
def test_a_damaged_result_is_never_sent_but_made_again(
    table: JobTable, spool: Spool, content: bytes
):
    pacs, job = FakePacs(), delivering(table, SCORES)
    spool.path_of_result(SCORES.file_name).write_bytes(content)

    after = deliver(table, spool, pacs, job)

    assert (after.state, pacs.got) == (State.QUEUED, [])
    assert f"{SCORES.sop_instance_uid} (scores) has changed on disk" in after.reason
    again = table.claim("worker 1")
    assert again is not None
    spool.keep_result(RESULT_CONTENT, SCORES.file_name)
    table.store_results(again, [SCORES], "PACS", "worker 1")
    assert deliver(table, spool, pacs, job).state is State.DELIVERED
    assert pacs.got == [SCORES.sop_instance_uid]


def test_a_damaged_result_without_images_fails_by_name(table: JobTable, spool: Spool):
    job = delivering(table, SCORES)
    spool.path_of_result(SCORES.file_name).write_bytes(b"")
    with table.database.writing() as connection:
        connection.execute(delete(instances))

    after = deliver(table, spool, FakePacs(), job)

    assert after.state is State.FAILED
    assert f"{SCORES.sop_instance_uid} (scores) has changed on disk" in after.reason


def test_results_that_are_damaged_again_and_again_end_as_failed(table: JobTable, spool: Spool):
    job = delivering(table, SCORES)
    for _ in range(MAX_ANALYSES):
        spool.path_of_result(SCORES.file_name).write_bytes(b"")
        after = deliver(table, spool, FakePacs(), job)
        if (again := table.claim("worker 1")) is not None:
            table.store_results(again, [SCORES], "PACS", "worker 1")

    assert (after.state, after.analysis_attempts) == (State.FAILED, MAX_ANALYSES)


def test_every_status_is_kept_with_its_object(table: JobTable, spool: Spool):
    pacs, job = FakePacs(0xA700), delivering(table, SCORES)

    deliver(table, spool, pacs, job)

    (delivery,) = deliveries_of(table.database, job.job_id)
    assert (delivery.status, delivery.state) == (0xA700, DeliveryState.PENDING)
