"""Guarantees of the job table, on SQLite and on PostgreSQL."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from sij_node.domain.job import DeliveryState, Job, State, Step
from sij_node.domain.study import Refusal, Registration
from sij_node.errors import (
    DatabaseUnavailable,
    DestinationUnavailable,
    IllegalStep,
    InternalFault,
    LeaseLost,
    PairMissing,
    SpoolUnavailable,
    UnknownJob,
    WorkerLost,
)
from sij_node.store.clear_spool import clear_study, finished_before
from sij_node.store.database import open_database
from sij_node.store.deliveries import deliveries_of, results_sent_before
from sij_node.store.job_queries import (
    leased_jobs,
    newest_jobs,
    receiving_jobs,
    steps_of,
    waiting_jobs,
)
from sij_node.store.job_statistics import job_counts
from sij_node.store.job_table import JobTable
from sij_node.store.refusals import add_refusal, conflicts_of, newest_refusals
from sij_node.store.registration import received_instances
from tests.support.job_tables import (
    JPEG_LS,
    NOON,
    POLICY,
    analysing,
    delivering,
    latest_job,
    made,
    queued,
    received,
)
from tests.support.removed_files import Removed
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[3]


@pytest.fixture
def another_table(database_url: str) -> Iterator[Callable[[], JobTable]]:
    """The same jobs, seen by another process: with connections of its own."""
    engines = []

    def opened() -> JobTable:
        engines.append(open_database(database_url))
        return JobTable(engines[-1])

    yield opened
    for engine in engines:
        engine.dispose()


def only_job(table: JobTable) -> Job:
    (job,) = newest_jobs(table.database)
    return job


def steps_taken(job: Job, table: JobTable) -> list[Step]:
    return [line.step for line in steps_of(table.database, job.job_id)]


# ---- registering -------------------------------------------------------------------------


def test_the_first_image_of_a_study_opens_its_job(table):
    assert table.register(received(1), 5, opens_job=True) is Registration.NEW

    job = only_job(table)
    assert (job.state, job.study_uid, job.source_ae) == (State.RECEIVING, "1.2.3", "PACS")
    assert (job.instances, job.priority, job.predecessor_id) == (1, 5, None)


def test_what_was_registered_is_read_back_as_it_was(table):
    instance = received(1, patient_id="Ω-17", issuer_of_patient_id="hospital")
    table.register(instance, 5, opens_job=True)

    assert received_instances(table.database, "1.2.3") == (instance,)


def test_all_images_of_a_study_join_one_job_with_one_line_of_history(table):
    for number in range(5):
        table.register(received(number), 5, opens_job=True)

    job = only_job(table)
    assert job.instances == 5
    assert steps_taken(job, table) == [Step.OPENED]


def test_a_job_has_the_highest_priority_of_its_images(table):
    for number, priority in enumerate([5, 9, 3]):
        table.register(received(number), priority, opens_job=True)

    assert only_job(table).priority == 9


def test_an_object_that_is_no_image_is_kept_but_opens_no_job(table):
    assert table.register(received(1), 5, opens_job=False) is Registration.NEW

    assert len(received_instances(table.database, "1.2.3")) == 1
    assert newest_jobs(table.database) == []


def test_an_image_sent_twice_changes_nothing(table):
    table.register(received(1), 5, opens_job=True)
    before = only_job(table)

    assert table.register(received(1), 9, opens_job=True) is Registration.DUPLICATE

    assert only_job(table) == before


def test_an_image_in_another_transfer_syntax_is_the_same_image(table):
    table.register(received(1), 5, opens_job=True)
    recoded = received(1, transfer_syntax_uid=JPEG_LS, sha256="0" * 64)

    assert table.register(recoded, 5, opens_job=True) is Registration.DUPLICATE
    assert conflicts_of(table.database, "1.2.3") == ()


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 64},
        {"sha256": "0" * 64, "transfer_syntax_uid": JPEG_LS, "patient_id": "P2"},
        {"sha256": "0" * 64, "transfer_syntax_uid": JPEG_LS, "series_uid": "1.2.3.7"},
    ],
)
def test_other_content_under_a_known_uid_keeps_the_first_copy(table, change):
    first = received(1)
    table.register(first, 5, opens_job=True)

    assert table.register(received(1, **change), 5, opens_job=True) is Registration.CONFLICT

    assert received_instances(table.database, "1.2.3") == (first,)
    assert [c.sop_instance_uid for c in conflicts_of(table.database, "1.2.3")] == [
        first.sop_instance_uid
    ]


def test_a_conflict_between_two_studies_makes_both_doubtful(table):
    table.register(received(1), 5, opens_job=True)
    stolen = received(1, study_uid="1.2.4", sop_instance_uid="1.2.3.9.1")

    assert table.register(stolen, 5, opens_job=True) is Registration.CONFLICT

    assert len(conflicts_of(table.database, "1.2.3")) == 1
    assert len(conflicts_of(table.database, "1.2.4")) == 1
    assert len(newest_jobs(table.database)) == 1


def test_what_the_listener_adds_about_a_conflict_completes_its_note(table):
    table.register(received(1), 5, opens_job=True)
    table.register(received(1, sha256="0" * 64), 5, opens_job=True)
    reported = Refusal(
        NOON, "PACS", "10.0.0.7", "1.2.3.9.1", "1.2.3", 0xC000, "other bytes", "ab.dcm"
    )

    add_refusal(table.database, reported)

    assert newest_refusals(table.database) == (reported,)
    assert conflicts_of(table.database, "1.2.3") == (reported,)


def test_a_conflicting_copy_sent_repeatedly_is_recorded_once(table):
    table.register(received(1), 5, opens_job=True)
    for _ in range(3):
        table.register(received(1, sha256="0" * 64), 5, opens_job=True)

    assert len(newest_refusals(table.database)) == 1


def test_the_nodes_own_results_are_recognised_and_not_stored(table):
    delivering(table, made("scores"))
    scores = made("scores")
    keywords = ("sop_instance_uid", "sop_class_uid", "series_uid")
    uids = {keyword: getattr(scores, keyword) for keyword in keywords}

    answer = table.register(received(1, "1.2.3", **uids), 5, opens_job=True)

    assert answer is Registration.OWN_RESULT

    assert len(received_instances(table.database, "1.2.3")) == 1
    assert len(newest_jobs(table.database)) == 1


def test_another_report_under_the_uid_of_a_result_is_a_conflict(table):
    delivering(table, made("scores"))
    own = made("scores")
    uids = {"sop_instance_uid": own.sop_instance_uid, "sop_class_uid": own.sop_class_uid}
    report = received(1, "1.2.4", **uids)

    assert table.register(report, 5, opens_job=False) is Registration.CONFLICT


def test_an_image_under_the_uid_of_a_result_is_a_conflict(table):
    delivering(table, made("scores"))
    image = received(1, "1.2.3", sop_instance_uid=made("scores").sop_instance_uid)

    assert table.register(image, 5, opens_job=True) is Registration.CONFLICT

    assert len(received_instances(table.database, "1.2.3")) == 1


def test_the_same_study_from_another_pacs_gets_a_job_of_its_own(table):
    table.register(received(1), 5, opens_job=True)

    again = [table.register(received(1, source_ae="OTHER"), 5, opens_job=True) for _ in range(2)]

    assert again == [Registration.DUPLICATE] * 2
    assert {(job.source_ae, job.instances) for job in newest_jobs(table.database)} == {
        ("PACS", 1),
        ("OTHER", 1),
    }


def test_text_that_no_database_takes_does_not_stop_an_instance(table):
    hostile = received(1, patient_id="P\x001\ud800")

    assert table.register(hostile, 5, opens_job=True) is Registration.NEW
    assert received_instances(table.database, "1.2.3")[0].patient_id == "P\ufffd1?"


# ---- many at once ------------------------------------------------------------------------


@contextmanager
def slow_commits(table: JobTable, seconds: float = 0.03) -> Iterator[list[object]]:
    """A disk that takes its time, so that others queue up; yields the commits made."""
    commits: list[object] = []

    def wait(connection: object) -> None:
        commits.append(connection)
        threading.Event().wait(seconds)

    engine = table._database._engine
    event.listen(engine, "commit", wait)
    yield commits
    event.remove(engine, "commit", wait)


def test_sixteen_associations_share_their_waits_for_the_disk(table):
    def send(study: int) -> list[Registration]:
        return [table.register(received(n, f"1.2.{study}"), 5, opens_job=True) for n in range(10)]

    with slow_commits(table, 0.1) as commits, ThreadPoolExecutor(16) as associations:
        answers = list(associations.map(send, range(16)))

    assert answers == [[Registration.NEW] * 10] * 16
    assert [job.instances for job in newest_jobs(table.database)] == [10] * 16
    assert len(commits) < 50


def test_the_same_image_on_sixteen_associations_is_new_once(table):
    with slow_commits(table), ThreadPoolExecutor(16) as associations:
        answers = list(
            associations.map(lambda _: table.register(received(1), 5, opens_job=True), range(16))
        )

    assert sorted(answers) == [Registration.DUPLICATE] * 15 + [Registration.NEW]
    assert only_job(table).instances == 1


def test_an_instance_that_the_database_refuses_harms_no_other(table):
    def send(number: int) -> Registration | InternalFault:
        priority = 77 if number == 5 else 5
        try:
            return table.register(received(number, f"1.2.{number}"), priority, opens_job=True)
        except InternalFault as error:
            return error

    with slow_commits(table), ThreadPoolExecutor(16) as associations:
        answers = list(associations.map(send, range(16)))

    assert isinstance(answers.pop(5), InternalFault)
    assert answers == [Registration.NEW] * 15
    assert received_instances(table.database, "1.2.5") == ()


def test_two_listeners_register_the_same_study_into_one_job(table, another_table):
    listeners = [table, another_table()]

    def send(number: int) -> Registration:
        return listeners[number % 2].register(received(number // 2), 5, opens_job=True)

    with ThreadPoolExecutor(8) as associations:
        answers = list(associations.map(send, range(40)))

    assert answers.count(Registration.NEW) == 20
    assert only_job(table).instances == 20


# ---- late images -------------------------------------------------------------------------


def test_a_late_image_returns_a_queued_job_to_receiving(table):
    job = queued(table)

    table.register(received(2), 5, opens_job=True)

    after = table.get(job.job_id)
    assert (after.state, after.instances) == (State.RECEIVING, 2)
    assert steps_taken(after, table) == [Step.OPENED, Step.SETTLED, Step.INSTANCE_ARRIVED]


@pytest.mark.parametrize("reach", [analysing, delivering])
def test_an_image_after_the_claim_opens_a_job_with_a_predecessor(table, reach):
    job = reach(table)

    table.register(received(2), 5, opens_job=True)

    late = latest_job(table, "1.2.3", "PACS")
    assert (late.state, late.predecessor_id) == (State.RECEIVING, job.job_id)
    assert table.get(job.job_id).state is job.state


def test_a_job_that_later_images_have_overtaken_does_not_queue_again(table):
    job = analysing(table)
    table.register(received(2), 5, opens_job=True)

    after = table.fail(job, WorkerLost("fell silent"), POLICY, "worker 1")

    assert after.state is State.CANCELLED
    assert steps_taken(after, table)[-1] is Step.SUPERSEDED
    assert latest_job(table, "1.2.3", "PACS").state is State.RECEIVING


def test_there_is_never_more_than_one_waiting_job_of_a_study(table):
    job = analysing(table)
    failed = table.fail(job, InternalFault("broken"), POLICY, "worker 1")
    table.register(received(2), 5, opens_job=True)

    with pytest.raises(IllegalStep, match="job 2 of the same study is receiving"):
        table.retry(failed, "admin")


# ---- claiming ----------------------------------------------------------------------------


def test_the_highest_priority_is_claimed_first_and_then_the_oldest(table):
    for study, priority in [("1.1", 5), ("1.2", 9), ("1.3", 5), ("1.4", 9)]:
        queued(table, study, priority)

    claimed = [table.claim("worker 1").study_uid for _ in range(4)]

    assert claimed == ["1.2", "1.4", "1.1", "1.3"]
    assert table.claim("worker 1") is None


def test_eight_claimers_claim_each_job_once(table, another_table):
    expected = {queued(table, f"1.2.{n}").job_id for n in range(40)}
    claimers = [another_table() for _ in range(8)]
    together = threading.Barrier(8)

    def claim_all(claimer: JobTable) -> list[int]:
        together.wait()
        mine = []
        while (job := claimer.claim(f"worker {id(claimer)}")) is not None:
            mine.append(job.job_id)
        return mine

    with ThreadPoolExecutor(8) as threads:
        claimed = [job_id for mine in threads.map(claim_all, claimers) for job_id in mine]

    assert sorted(claimed) == sorted(expected)


def test_a_job_that_waits_is_not_claimed_until_it_is_released(table):
    waiting = table.fail(analysing(table), WorkerLost("died"), POLICY, "worker 1")
    assert (waiting.state, waiting.wait_s) == (State.QUEUED, 5)
    assert waiting_jobs(table.database) == [waiting]
    assert table.claim("worker 2") is None

    table.release(waiting)

    assert table.claim("worker 2").analysis_attempts == 2


def test_a_heartbeat_shows_that_the_worker_lives(table):
    job = analysing(table)

    assert table.heartbeat(job)
    assert table.heartbeat(job)

    (leased,) = leased_jobs(table.database)
    assert leased.heartbeat == job.heartbeat + 2
    assert leased.revision == job.revision


# ---- losing a job ------------------------------------------------------------------------


def test_a_worker_that_was_woken_after_its_lease_cannot_write(table, another_table):
    sleeper = another_table()
    queued(table)
    job = sleeper.claim("sleeper")
    expired = table.expire(leased_jobs(table.database)[0], POLICY)
    other = table.claim("other") or table.claim_delivery("other")
    assert other is None  # it waits first
    table.release(expired)
    job_of_other = table.claim("other")

    assert not sleeper.heartbeat(job)
    for write in (
        lambda: sleeper.store_results(job, [made()], "PACS", "sleeper"),
        lambda: sleeper.fail(job, WorkerLost("late"), POLICY, "sleeper"),
        lambda: sleeper.reject(job, PairMissing("no T1"), [made()], "PACS", "sleeper"),
        lambda: sleeper.release_claim(job, "sleeper"),
    ):
        with pytest.raises(LeaseLost):
            write()

    done = table.store_results(job_of_other, [made()], "PACS", "other")
    assert done.state is State.DELIVERING
    assert len(deliveries_of(table.database, job.job_id)) == 1


def test_nothing_of_a_lost_attempt_is_left_behind(table):
    job = analysing(table)
    table.expire(leased_jobs(table.database)[0], POLICY)
    before = steps_of(table.database, job.job_id)

    with pytest.raises(LeaseLost):
        table.store_results(job, [made()], "PACS", "worker 1")

    assert steps_of(table.database, job.job_id) == before
    assert deliveries_of(table.database, job.job_id) == ()


def test_a_worker_that_showed_life_in_the_last_moment_keeps_its_job(table):
    job = analysing(table)
    seen = leased_jobs(table.database)[0]
    table.heartbeat(job)

    with pytest.raises(LeaseLost):
        table.expire(seen, POLICY)

    assert table.get(job.job_id).leased_by == "worker 1"


def test_a_job_without_a_lease_cannot_expire(table):
    with pytest.raises(LeaseLost):
        table.expire(queued(table), POLICY)


CLAIM_AND_WAIT = """
import sys, time
from sij_node.store.database import open_database
from sij_node.store.job_table import JobTable
print(JobTable(open_database(sys.argv[1])).claim("doomed").job_id, flush=True)
time.sleep(600)
"""


@contextmanager
def another_process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with child:
        yield child
        child.kill()


def test_a_job_whose_worker_was_killed_is_done_by_another(table, database_url):
    job = queued(table)
    with another_process(CLAIM_AND_WAIT, database_url) as doomed:
        assert doomed.stdout.readline().strip() == str(job.job_id)
    held = leased_jobs(table.database)[0]
    assert held.leased_by == "doomed"

    waiting = table.expire(held, POLICY)
    table.release(waiting)

    again = table.claim("another")
    assert (again.job_id, again.analysis_attempts) == (job.job_id, 2)
    assert again.reason == "No heartbeat from doomed; its lease has expired"


REGISTER_MANY = """
import sys
from sij_node.store.database import open_database
from sij_node.store.job_table import JobTable
from tests.support.job_tables import received
table = JobTable(open_database(sys.argv[1]))
for number in range(100_000):
    table.register(received(number), 5, opens_job=True)
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_killed_listener(table, database_url):
    acknowledged = []
    with another_process(REGISTER_MANY, database_url) as listener:
        for line in listener.stdout:
            acknowledged.append(int(line))
            if len(acknowledged) == 50:
                listener.kill()

    stored = {instance.sop_instance_uid for instance in received_instances(table.database, "1.2.3")}
    assert {f"1.2.3.9.{number}" for number in acknowledged} <= stored
    # The server may still be at the last commit of whoever was killed.
    wait_for(
        lambda: only_job(table).instances == len(received_instances(table.database, "1.2.3")),
        "right count",
    )


def test_a_study_that_kills_its_worker_fails_and_others_complete(table):
    poison = queued(table, "6.6.6", priority=9)
    good = {queued(table, f"1.2.{n}").job_id for n in range(20)}

    done = set()
    while (job := table.claim("worker")) is not None:
        if job.job_id == poison.job_id:
            after = table.expire(leased_jobs(table.database)[0], POLICY)
            if after.wait_s:
                table.release(after)
        else:
            done.add(table.store_results(job, [made(study_uid=job.study_uid)], "P", "w").job_id)

    assert done == good
    after = table.get(poison.job_id)
    assert (after.state, after.analysis_attempts) == (State.FAILED, POLICY.max_attempts)
    assert "No heartbeat from" in after.reason


def test_a_stopping_worker_returns_its_job_without_using_an_attempt(table):
    job = analysing(table)

    table.release_claim(job, "worker 1")

    again = table.claim("worker 2")
    assert (again.job_id, again.analysis_attempts) == (job.job_id, 1)


# ---- results and their delivery ----------------------------------------------------------


def test_results_wait_for_delivery_and_close_the_job_when_acknowledged(table):
    job = delivering(table, made("scores"), made("seg t1"))
    assert [d.state for d in deliveries_of(table.database, job.job_id)] == [
        DeliveryState.PENDING
    ] * 2

    claimed = table.claim_delivery("courier")
    for result in (made("scores"), made("seg t1")):
        table.record_delivery(claimed, result.sop_instance_uid, "PACS", 0, True)
    after = table.delivered(claimed, "courier")

    assert (after.state, after.reason, after.leased_by) == (State.DELIVERED, "", "")
    assert {d.state for d in deliveries_of(table.database, job.job_id)} == {
        DeliveryState.ACKNOWLEDGED
    }


def test_a_delivery_shows_the_response_and_its_time(table):
    delivering(table, made("scores"))
    job = table.claim_delivery("courier")
    uid = made("scores").sop_instance_uid

    table.record_delivery(job, uid, "PACS", 0xA700, False, "out of resources")
    (refused,) = deliveries_of(table.database, job.job_id)
    table.record_delivery(job, uid, "PACS", 0xB000, True, "stored with changes")
    (taken,) = deliveries_of(table.database, job.job_id)

    assert (refused.state, refused.attempts, refused.status) == (DeliveryState.PENDING, 1, 0xA700)
    assert refused.acknowledged_at is None
    assert (taken.attempts, taken.status, taken.note) == (2, 0xB000, "stored with changes")
    assert taken.acknowledged_at is not None
    assert taken.result == made("scores")


def test_a_delivery_is_not_closed_while_something_is_pending(table):
    delivering(table, made("scores"), made("seg t1"))
    job = table.claim_delivery("courier")
    table.record_delivery(job, made("scores").sop_instance_uid, "PACS", 0, True)

    with pytest.raises(IllegalStep, match="not acknowledged"):
        table.delivered(job, "courier")


def test_a_worker_that_lost_its_job_cannot_record_a_delivery(table):
    delivering(table)
    job = table.claim_delivery("courier")
    table.expire(leased_jobs(table.database)[0], POLICY)

    with pytest.raises(LeaseLost):
        table.record_delivery(job, made().sop_instance_uid, "PACS", 0, True)


def test_acknowledged_results_are_not_resent_after_another_fails(table):
    delivering(table, made("scores"), made("seg t1"))
    job = table.claim_delivery("courier")
    table.record_delivery(job, made("scores").sop_instance_uid, "PACS", 0, True)
    after = table.fail(job, DestinationUnavailable("aborted"), POLICY, "courier")
    table.release(after)

    again = table.claim_delivery("courier")

    pending = [
        d.result.kind for d in deliveries_of(table.database, again.job_id) if d.state == "pending"
    ]
    assert (again.delivery_attempts, pending) == (2, ["seg t1"])


def test_a_delivery_worker_killed_before_closing_leaves_a_closable_job(table):
    delivering(table)
    job = table.claim_delivery("courier")
    table.record_delivery(job, made().sop_instance_uid, "PACS", 0, True)
    table.release(table.expire(leased_jobs(table.database)[0], POLICY))

    again = table.claim_delivery("another")

    assert table.delivered(again, "another").state is State.DELIVERED


def test_a_delivery_that_fails_for_good_fails_the_job_and_is_given_up(table):
    delivering(table)
    for attempt in range(POLICY.max_attempts):
        after = table.fail(
            table.claim_delivery("courier"), DestinationUnavailable("silent"), POLICY, "courier"
        )
        if attempt < POLICY.max_attempts - 1:
            table.release(after)

    assert after.state is State.FAILED
    assert [d.state for d in deliveries_of(table.database, after.job_id)] == [
        DeliveryState.GIVEN_UP
    ]
    assert table.claim_delivery("courier") is None


def test_a_dead_destination_does_not_keep_others_waiting(table):
    delivering(table, study_uid="1.1")
    stuck = table.fail(
        table.claim_delivery("courier"), DestinationUnavailable("silent"), POLICY, "courier"
    )
    table.release(stuck)
    fresh = delivering(table, study_uid="1.2")

    assert table.claim_delivery("courier").job_id == fresh.job_id


def test_a_study_done_again_after_a_retry_sends_only_what_is_missing(table):
    delivering(table, made("scores"), made("seg t1"))
    job = table.claim_delivery("courier")
    table.record_delivery(job, made("scores").sop_instance_uid, "PACS", 0, True)
    failed = table.fail(job, InternalFault("broken"), POLICY, "courier")

    table.retry(failed, "admin")
    again = table.claim("worker 1")
    after = table.store_results(again, [made("scores"), made("seg t1")], "PACS", "worker 1")

    states = {d.result.kind: d.state for d in deliveries_of(table.database, after.job_id)}
    assert states == {"scores": DeliveryState.ACKNOWLEDGED, "seg t1": DeliveryState.PENDING}


def test_a_study_whose_results_the_archive_has_is_delivered_at_once(table):
    delivering(table)
    job = table.claim_delivery("courier")
    table.record_delivery(job, made().sop_instance_uid, "PACS", 0, True)
    table.delivered(job, "courier")
    table.register(received(2), 5, opens_job=True)
    table.settle(receiving_jobs(table.database)[0], "quiet")
    late = table.claim("worker 1")

    after = table.store_results(late, [made()], "PACS", "worker 1", weights="contour 1.0")

    assert (after.state, after.weights) == (State.DELIVERED, "contour 1.0")
    (known,) = deliveries_of(table.database, late.job_id)
    assert (known.state, known.note) == (DeliveryState.ACKNOWLEDGED, "acknowledged for job 1")
    assert table.claim_delivery("courier") is None


def test_a_later_job_knows_what_its_source_was_given_before(table):
    delivering(table, made("scores"), made("seg t1"))
    delivering(table, made("summary"), source_ae="OTHER")
    table.register(received(2), 5, opens_job=True)
    late = table.settle(receiving_jobs(table.database)[0], "quiet")

    (before,) = results_sent_before(table.database, late)

    assert [result.kind for result in before] == ["scores", "seg t1"]
    assert before[0] == made("scores")


def test_what_was_given_up_was_not_given(table):
    job = delivering(table, made("scores"))
    table.cancel(job, "admin")

    assert results_sent_before(table.database, job) == ()


def test_a_notice_comes_before_the_results_of_the_same_job(table):
    table.reject(analysing(table), PairMissing("No T1."), [made("not analysed")], "PACS", "w")
    job = table.claim_delivery("courier")
    table.record_delivery(job, made("not analysed").sop_instance_uid, "PACS", 0, True)
    table.retry(table.delivered(job, "courier"), "admin")
    table.store_results(table.claim("worker 1"), [made("scores")], "PACS", "worker 1")

    kinds = [
        [r.kind for r in one] for one in results_sent_before(table.database, table.get(job.job_id))
    ]
    assert kinds == [["not analysed"], ["scores"]]


def test_the_same_results_still_go_to_another_destination(table):
    delivering(table)
    job = table.claim_delivery("courier")
    table.record_delivery(job, made().sop_instance_uid, "PACS", 0, True)
    table.delivered(job, "courier")
    queued(table, source_ae="OTHER")

    after = table.store_results(table.claim("worker 1"), [made()], "OTHER", "worker 1")

    assert after.state is State.DELIVERING


def test_two_workers_may_store_one_result_for_two_destinations(table, another_table):
    everything = [made("scores"), made("seg t1"), made("seg stir")]
    held = []
    for source in ("PACS", "OTHER"):
        queued(table, source_ae=source)
        held.append(table.claim(source))
    together = threading.Barrier(2)

    def store(place: tuple[JobTable, Job, int]) -> Job:
        own, job, order = place
        together.wait()
        return own.store_results(job, everything[::order], job.source_ae, job.leased_by)

    with ThreadPoolExecutor(2) as threads:
        places = [(table, held[0], 1), (another_table(), held[1], -1)]
        after = list(threads.map(store, places))

    assert [job.state for job in after] == [State.DELIVERING] * 2
    assert [len(deliveries_of(table.database, job.job_id)) for job in after] == [3, 3]


def test_a_rejected_study_stays_rejected_while_its_notice_is_delivered(table):
    job = table.reject(
        analysing(table), PairMissing("There is no STIR."), [made("not analysed")], "PACS", "w"
    )
    assert (job.state, job.reason, job.error_family) == (
        State.REJECTED,
        "There is no STIR.",
        "InputRejected",
    )

    claimed = table.claim_delivery("courier")
    table.record_delivery(claimed, made("not analysed").sop_instance_uid, "PACS", 0, True)
    after = table.delivered(claimed, "courier")

    assert (after.state, after.reason) == (State.REJECTED, "There is no STIR.")
    assert table.claim_delivery("courier") is None


def test_a_notification_never_acknowledged_is_finally_abandoned(table):
    table.reject(analysing(table), PairMissing("no STIR"), [made("not analysed")], "PACS", "w")
    after = table.fail(table.claim_delivery("c"), InternalFault("no peer"), POLICY, "c")

    assert after.state is State.REJECTED
    assert table.claim_delivery("courier") is None


# ---- what a person does ------------------------------------------------------------------


def test_a_cancelled_delivery_is_not_sent(table):
    job = table.cancel(delivering(table), "admin")

    assert job.state is State.CANCELLED
    assert [d.state for d in deliveries_of(table.database, job.job_id)] == [DeliveryState.GIVEN_UP]
    assert table.claim_delivery("courier") is None


def test_a_job_that_is_being_analysed_cannot_be_cancelled(table):
    job = analysing(table)

    with pytest.raises(IllegalStep):
        table.cancel(job, "admin")


def test_an_action_on_an_outdated_page_changes_nothing(table):
    seen = queued(table)
    table.claim("worker 1")

    with pytest.raises(LeaseLost, match="Read the job again"):
        table.cancel(seen, "admin")

    assert only_job(table).state is State.ANALYSING


def test_the_history_records_who_did_what_and_why(table):
    job = analysing(table)
    failed = table.fail(job, InternalFault("The model is broken."), POLICY, "worker 1")
    table.retry(failed, "Dr Grey")

    reported = [
        (line.step, line.from_state, line.to_state, line.who, line.note)
        for line in steps_of(table.database, job.job_id)
    ]
    assert reported == [
        (Step.OPENED, None, State.RECEIVING, "PACS", ""),
        (Step.SETTLED, State.RECEIVING, State.QUEUED, "scheduler", "quiet"),
        (Step.CLAIMED, State.QUEUED, State.ANALYSING, "worker 1", ""),
        (Step.GIVE_UP, State.ANALYSING, State.FAILED, "worker 1", "The model is broken."),
        (Step.RETRIED, State.FAILED, State.QUEUED, "Dr Grey", ""),
    ]
    assert all(line.at.tzinfo is not None for line in steps_of(table.database, job.job_id))


def test_jobs_are_listed_newest_first_a_page_at_a_time(table):
    for n in range(5):
        queued(table, f"1.{n}")
    table.claim("worker 1")

    assert [job.job_id for job in newest_jobs(table.database, limit=2, offset=1)] == [4, 3]
    assert [job.job_id for job in newest_jobs(table.database, [State.ANALYSING])] == [1]
    assert job_counts(table.database) == dict.fromkeys(State, 0) | {
        State.QUEUED: 4,
        State.ANALYSING: 1,
    }


def test_an_unknown_job_is_named(table):
    with pytest.raises(UnknownJob, match=r"no job 99.*sij-node jobs list"):
        table.get(99)


def test_refusals_are_listed_newest_first(table):
    for n in range(3):
        add_refusal(
            table.database, Refusal(NOON, f"X{n}", "10.0.0.1", "", "", 0, "unknown AE title\x00")
        )

    assert [refusal.source_ae for refusal in newest_refusals(table.database, limit=2)] == [
        "X2",
        "X1",
    ]
    assert conflicts_of(table.database, "") == ()


# ---- clearing the spool ------------------------------------------------------------------


def removed_files(table: JobTable, study_uid: str, moment=None) -> Removed | None:
    removed = Removed()
    after = moment or NOON + timedelta(days=40_000)
    return removed if clear_study(table.database, study_uid, after, removed) else None


def test_a_finished_study_can_be_deleted_but_its_history_stays(table):
    delivering(table)
    job = table.claim_delivery("courier")
    table.record_delivery(job, made().sop_instance_uid, "PACS", 0, True)
    table.delivered(job, "courier")
    later = NOON + timedelta(days=40_000)
    assert finished_before(table.database, later) == ("1.2.3",)

    removed = removed_files(table, "1.2.3")

    assert removed.instances == [received(1).file_name]
    assert removed.results == [made().file_name]
    assert received_instances(table.database, "1.2.3") == ()
    assert finished_before(table.database, later) == ()
    assert table.get(job.job_id).state is State.DELIVERED
    assert deliveries_of(table.database, job.job_id)[0].result.file_name == ""
    returned = received(5, sop_instance_uid=made().sop_instance_uid)
    assert table.register(returned, 5, opens_job=False) is Registration.NEW
    assert table.get(job.job_id).state is State.DELIVERED


@pytest.mark.parametrize("reach", [queued, analysing, delivering])
def test_a_study_with_work_to_do_is_not_forgotten(table, reach):
    reach(table)

    assert finished_before(table.database, NOON + timedelta(days=40_000)) == ()
    assert removed_files(table, "1.2.3") is None
    assert len(received_instances(table.database, "1.2.3")) == 1


def test_a_rejected_study_is_not_forgotten_before_its_notice_is_delivered(table):
    table.reject(analysing(table), PairMissing("no STIR"), [made()], "PACS", "w")

    assert finished_before(table.database, NOON + timedelta(days=40_000)) == ()


def test_a_recently_finished_study_is_kept(table):
    table.fail(analysing(table), InternalFault("broken"), POLICY, "worker 1")

    assert finished_before(table.database, NOON + timedelta(seconds=1)) == ()
    assert removed_files(table, "1.2.3", NOON + timedelta(seconds=1)) is None


def conflicting_copy(table: JobTable, name: str, study_uid: str = "1.2.3", at=NOON) -> Refusal:
    """Enter a copy in quarantine, as the listener does."""
    reported = Refusal(at, "PACS", "10.0.0.7", "1.2.3.9.1", study_uid, 0xC001, "other bytes", name)
    add_refusal(table.database, reported)
    return reported


def test_copies_in_quarantine_are_cleared_with_their_study(table):
    table.register(received(1), 5, opens_job=False)
    table.register(received(1, sha256="0" * 64), 5, opens_job=False)
    for name in ("a copy", "another copy", "another copy"):
        conflicting_copy(table, name)
    of_another = conflicting_copy(table, "a third copy", "1.2.4")

    removed = removed_files(table, "1.2.3")

    assert removed.instances == [received(1).file_name]
    assert sorted(removed.copies) == ["a copy", "another copy"]
    assert conflicts_of(table.database, "1.2.3") == ()
    assert newest_refusals(table.database) == (of_another,)


def test_a_study_that_has_copies_in_quarantine_alone_is_cleared_too(table):
    conflicting_copy(table, "a copy")
    later = NOON + timedelta(seconds=1)

    assert finished_before(table.database, NOON) == ()
    assert finished_before(table.database, later) == ("1.2.3",)
    assert removed_files(table, "1.2.3", later).copies == ["a copy"]
    assert finished_before(table.database, later) == ()


def test_a_copy_in_quarantine_is_not_forgotten_over_many_refusals(table, monkeypatch):
    monkeypatch.setattr("sij_node.store.refusals.KEPT", 2)
    copy = conflicting_copy(table, "a copy")
    for n in range(4):
        add_refusal(
            table.database, Refusal(NOON, f"X{n}", "10.0.0.1", "", "", 0, "unknown AE title")
        )

    assert [refusal.source_ae for refusal in newest_refusals(table.database)] == [
        "X3",
        "X2",
        "PACS",
    ]
    assert newest_refusals(table.database)[-1] == copy


def test_objects_without_a_job_are_cleared_too(table):
    table.register(received(1), 5, opens_job=False)

    assert finished_before(table.database, NOON) == ()
    assert finished_before(table.database, NOON + timedelta(seconds=1)) == ("1.2.3",)


class ReadOnly(Removed):
    def remove(self, file_name: str) -> None:
        raise SpoolUnavailable("read-only")

    remove_from_quarantine = remove


def test_a_file_that_cannot_be_removed_keeps_its_row(table):
    table.register(received(1), 5, opens_job=False)

    with pytest.raises(SpoolUnavailable):
        clear_study(table.database, "1.2.3", NOON + timedelta(days=1), ReadOnly())

    assert len(received_instances(table.database, "1.2.3")) == 1


def test_a_copy_that_cannot_be_removed_keeps_its_row(table):
    copy = conflicting_copy(table, "a copy")

    with pytest.raises(SpoolUnavailable):
        clear_study(table.database, "1.2.3", NOON + timedelta(days=1), ReadOnly())

    assert newest_refusals(table.database) == (copy,)


def test_a_forgotten_study_that_is_sent_again_is_analysed_again(table):
    table.fail(analysing(table), InternalFault("broken"), POLICY, "worker 1")
    removed_files(table, "1.2.3")

    assert table.register(received(1), 5, opens_job=True) is Registration.NEW

    again = latest_job(table, "1.2.3", "PACS")
    assert (again.state, again.predecessor_id) == (State.RECEIVING, 1)


def test_a_job_whose_images_were_cleared_away_is_not_tried_again(table):
    failed = table.fail(analysing(table), InternalFault("broken"), POLICY, "worker 1")
    removed_files(table, "1.2.3")

    with pytest.raises(IllegalStep, match="Send the study again from PACS"):
        table.retry(failed, "admin")


# ---- in another's way --------------------------------------------------------------------


def test_registering_and_claiming_at_once_loses_neither_images_nor_jobs(table, another_table):
    """Images keep coming while jobs are settled, claimed and done: each image is in a job."""
    worker, done = another_table(), threading.Event()

    def work() -> int:
        finished = 0
        while (
            not done.is_set()
            or receiving_jobs(worker.database)
            or job_counts(worker.database)[State.QUEUED]
        ):
            for job in receiving_jobs(worker.database):
                with suppress(LeaseLost):
                    worker.settle(job, "quiet")
            if (job := worker.claim("worker")) is not None:
                worker.store_results(job, [made()], "PACS", "worker")
                finished += 1
        return finished

    with ThreadPoolExecutor(5) as threads:
        working = threads.submit(work)
        sent = list(
            threads.map(lambda n: table.register(received(n), 5, opens_job=True), range(60))
        )
        done.set()
        finished = working.result(timeout=120)

    assert sent == [Registration.NEW] * 60
    jobs = newest_jobs(table.database, limit=1000)
    assert len(jobs) == finished
    assert {job.state for job in jobs} == {State.DELIVERING}
    assert sum(job.instances for job in jobs) == 60


def test_a_database_error_names_no_patient(table):
    with pytest.raises((InternalFault, DatabaseUnavailable)) as reported:
        table.register(received(1, patient_id="CANARY"), 77, opens_job=True)

    assert "CANARY" not in str(reported.value)
