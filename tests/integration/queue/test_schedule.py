"""Time-driven transitions, on clocks set by the tests."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from sij_node.config.settings import StudyConfig
from sij_node.domain.job import RetryPolicy, State
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import DatabaseUnavailable, PixelsUnusable, SpoolUnavailable
from sij_node.queue.completeness import Readiness
from sij_node.queue.schedule import ClockGuard, Scheduler
from sij_node.store.job_queries import leased_jobs, newest_jobs, receiving_jobs, steps_of
from sij_node.store.job_statistics import job_counts
from sij_node.store.job_table import JobTable
from tests.support.job_tables import analysing, delivering, queued, received

PAIR_QUIET_S, QUIET_S, LEASE_S = 10, 120, 20
ANALYSIS = RetryPolicy(max_attempts=3, first_wait_s=5, max_wait_s=300)
PAIR = Readiness(has_pair=True, priority=None)
NO_PAIR = Readiness(has_pair=False, priority=None)
DELIVERY = RetryPolicy(max_attempts=50, first_wait_s=30, max_wait_s=300)


def schedule_of(
    table: JobTable,
    assess: Callable[[Sequence[ReceivedInstance]], Readiness] = lambda _: PAIR,
    clear_spool: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Scheduler:
    return Scheduler(
        table,
        StudyConfig(stable_age_s=PAIR_QUIET_S, stable_age_without_pair_s=QUIET_S),
        analysis_policy=ANALYSIS,
        delivery_policy=DELIVERY,
        lease_s=LEASE_S,
        assess=assess,
        clear_spool=clear_spool,
        clock=clock,
    )


def seconds(first: int, last: int) -> range:
    """A tick each second, both ends included."""
    return range(first, last + 1)


# ---- quiet studies -----------------------------------------------------------------------


def test_a_study_with_its_pair_is_queued_after_the_shorter_delay(table):
    schedule = schedule_of(table)
    table.register(received(1), 5, opens_job=True)

    for now in seconds(0, PAIR_QUIET_S - 1):
        schedule.completion.queue_complete_studies(now)
    assert job_counts(table.database)[State.QUEUED] == 0
    schedule.completion.queue_complete_studies(PAIR_QUIET_S)

    assert job_counts(table.database)[State.QUEUED] == 1
    assert steps_of(table.database, 1)[-1].note == "T1 and STIR received, no new images for 10 s"


def test_a_study_without_a_pair_is_queued_after_the_longer_delay(table):
    schedule = schedule_of(table, assess=lambda _: NO_PAIR)
    table.register(received(1), 5, opens_job=True)

    for now in seconds(0, QUIET_S - 1):
        schedule.completion.queue_complete_studies(now)
    assert job_counts(table.database)[State.QUEUED] == 0
    schedule.completion.queue_complete_studies(QUIET_S)

    assert (
        steps_of(table.database, 1)[-1].note
        == "no new images for 120 s; T1 and STIR are not complete"
    )


@pytest.mark.parametrize(("rule", "priority"), [(9, 9), (1, 1), (None, 5)])
def test_a_priority_rule_that_applies_decides_over_the_peer(table, rule, priority):
    schedule = schedule_of(table, assess=lambda _: Readiness(has_pair=True, priority=rule))
    table.register(received(1), 5, opens_job=True)

    for now in seconds(0, PAIR_QUIET_S):
        schedule.completion.queue_complete_studies(now)

    assert [job.priority for job in newest_jobs(table.database, [State.QUEUED])] == [priority]


def test_each_image_restarts_the_delay_before_a_study_is_complete(table):
    schedule = schedule_of(table)
    for now in seconds(0, 60):
        if now % (PAIR_QUIET_S - 1) == 0:
            table.register(received(now), 5, opens_job=True)
        schedule.completion.queue_complete_studies(now)

    assert job_counts(table.database)[State.RECEIVING] == 1


def test_the_pair_is_looked_for_once_while_nothing_changes(table):
    asked = []

    def ask(found: Sequence[ReceivedInstance]) -> Readiness:
        asked.append(len(found))
        return NO_PAIR

    schedule = schedule_of(table, assess=ask)
    table.register(received(1), 5, opens_job=True)

    for now in seconds(0, 60):
        schedule.completion.queue_complete_studies(now)

    assert asked == [1]


def test_a_study_whose_pair_cannot_be_recognised_hinders_no_other(table):
    def refuse_the_first(found: Sequence[ReceivedInstance]) -> Readiness:
        if found[0].study_uid == "1.1":
            raise PixelsUnusable("damaged")
        return PAIR

    schedule = schedule_of(table, assess=refuse_the_first)
    table.register(received(1, "1.1"), 5, opens_job=True)
    table.register(received(1, "1.2"), 5, opens_job=True)

    for now in seconds(0, PAIR_QUIET_S):
        schedule.completion.queue_complete_studies(now)

    assert [job.study_uid for job in newest_jobs(table.database, [State.QUEUED])] == ["1.2"]


def test_an_image_arriving_while_a_study_is_queued_is_included(table):
    late = iter([received(2)])

    def send_one_more(_: object) -> Readiness:
        table.register(next(late), 5, opens_job=True)
        return PAIR

    schedule = schedule_of(table, assess=send_one_more)
    table.register(received(1), 5, opens_job=True)

    for now in seconds(0, PAIR_QUIET_S):
        schedule.completion.queue_complete_studies(now)

    (job,) = receiving_jobs(table.database)
    assert job.instances == 2


# ---- leases ------------------------------------------------------------------------------


def test_a_worker_that_shows_life_keeps_its_job(table):
    schedule = schedule_of(table)
    job = analysing(table)

    for now in seconds(0, 10 * LEASE_S):
        if now % (LEASE_S - 1) == 0:
            assert table.heartbeat(job)
        schedule.expire_leases(now)

    assert table.get(job.job_id).leased_by == "worker 1"


def test_a_silent_worker_loses_its_job_after_the_lease(table):
    schedule = schedule_of(table)
    job = analysing(table)

    for now in seconds(0, LEASE_S - 1):
        schedule.expire_leases(now)
    assert leased_jobs(table.database) == [job]
    with capture_logs() as lines:
        schedule.expire_leases(LEASE_S)

    after = table.get(job.job_id)
    assert (after.state, after.wait_s) == (State.QUEUED, 5)
    (line,) = lines
    assert (line["event"], line["worker"], line["seconds"]) == ("worker lost", "worker 1", 20)


def test_a_silent_courier_waits_as_deliveries_do(table):
    schedule = schedule_of(table)
    delivering(table)
    job = table.claim_delivery("courier")

    for now in seconds(0, LEASE_S):
        schedule.expire_leases(now)

    after = table.get(job.job_id)
    assert (after.state, after.wait_s) == (State.DELIVERING, DELIVERY.first_wait_s)


def test_a_study_that_kills_every_worker_ends_as_failed_all_by_itself(table):
    schedule = schedule_of(table)
    queued(table)

    for now in seconds(0, 120):
        table.claim("doomed")
        schedule.expire_leases(now)
        schedule.release_waiting(now)

    (job,) = newest_jobs(table.database)
    assert (job.state, job.analysis_attempts) == (State.FAILED, 3)


def test_a_pause_of_the_whole_machine_costs_no_worker_its_job(table):
    schedule = schedule_of(table)
    job = analysing(table)
    schedule.expire_leases(0)

    schedule.expire_leases(3600)  # the first check after an hour of suspension

    assert table.heartbeat(job)


def test_a_schedule_that_restarts_begins_to_count_anew(table):
    job = analysing(table)
    first = schedule_of(table)
    for now in seconds(0, LEASE_S - 1):
        first.expire_leases(now)

    second = schedule_of(table)
    for now in seconds(LEASE_S, 2 * LEASE_S - 1):
        second.expire_leases(now)

    assert table.heartbeat(job)


# ---- waits -------------------------------------------------------------------------------


def test_a_failed_job_may_be_tried_again_after_its_wait(table):
    schedule = schedule_of(table)
    table.expire(analysing(table), ANALYSIS)

    for now in seconds(0, 4):
        schedule.release_waiting(now)
    assert table.claim("worker 2") is None
    schedule.release_waiting(5)

    assert table.claim("worker 2") is not None


# ---- clocks ------------------------------------------------------------------------------


class Clocks:
    """A wall clock and a monotonic one, as the operating system has them."""

    def __init__(self) -> None:
        self.monotonic_s = 500.0
        self.wall_s = 1.7e9

    def pass_by(self, elapsed_s: float) -> None:
        self.monotonic_s += elapsed_s
        self.wall_s += elapsed_s


@pytest.mark.parametrize("jump_s", [-86_400, 86_400, -3, 3])
def test_a_jump_of_the_wall_clock_is_noticed_once(jump_s):
    clocks, jumps = Clocks(), []
    guard = ClockGuard(lambda: jumps.append(1), lambda: clocks.wall_s, lambda: clocks.monotonic_s)

    clocks.pass_by(1)
    guard.check()
    assert jumps == []
    clocks.wall_s += jump_s
    for _ in range(3):
        clocks.pass_by(1)
        guard.check()

    assert jumps == [1]


def test_a_clock_that_is_slowly_corrected_has_not_jumped():
    clocks, jumps = Clocks(), []
    guard = ClockGuard(lambda: jumps.append(1), lambda: clocks.wall_s, lambda: clocks.monotonic_s)

    for _ in range(100):
        clocks.pass_by(1)
        clocks.wall_s += 0.5
        guard.check()

    assert jumps == []


@contextmanager
def running(schedule: Scheduler) -> Iterator[Scheduler]:
    schedule.start()
    yield schedule
    schedule.stop()


def wait_until(true: Callable[[], bool], limit_s: float = 30) -> bool:
    deadline = time.monotonic() + limit_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_a_schedule_asleep_until_tomorrow_is_woken_by_the_guard(table):
    """As after a clock set back by a day: everything is planned for a day from now."""
    table.register(received(1), 5, opens_job=True)
    ticks = iter(range(0, 10**6, 5))
    with running(schedule_of(table, clock=lambda: next(ticks))) as schedule:
        scheduler, guard = schedule._running
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        scheduler.pause()
        for planned in scheduler.get_jobs():
            planned.modify(next_run_time=tomorrow)
        guard._offset_s += 86_400
        scheduler.resume()

        assert wait_until(lambda: job_counts(table.database)[State.QUEUED] == 1)


def test_a_clock_set_forward_by_years_does_not_keep_the_schedule_busy(table):
    """As after a start in 1970: what was skipped is not counted one by one."""
    cleared = threading.Semaphore(0)
    with running(schedule_of(table, clear_spool=cleared.release)) as schedule:
        assert cleared.acquire(timeout=30)
        scheduler, _ = schedule._running
        scheduler.pause()
        for planned in scheduler.get_jobs():
            planned.modify(next_run_time=datetime(1970, 1, 1, tzinfo=UTC))
        scheduler.resume()

        assert cleared.acquire(timeout=30)


# ---- running -----------------------------------------------------------------------------


def test_an_error_is_logged_once_and_again_when_it_has_gone(table):
    errors = iter([SpoolUnavailable("full"), SpoolUnavailable("full"), None])

    def clear() -> None:
        error = next(errors)
        if error is not None:
            raise error

    schedule = schedule_of(table)
    with capture_logs() as lines:
        for _ in range(3):
            schedule._run_logged("clear the spool", clear)

    assert [(line["event"], line["step"]) for line in lines] == [
        ("scheduled task failed", "clear the spool"),
        ("scheduled task recovered", "clear the spool"),
    ]


class LostTable(JobTable):
    """A job table whose database is away until it comes back."""

    away = True

    def receiving(self):
        if self.away:
            raise DatabaseUnavailable("gone")
        return super().receiving()


def test_a_schedule_survives_a_database_that_goes_and_comes_back(table):
    table.register(received(1), 5, opens_job=True)
    lost = LostTable(table._database._engine)
    ticks = iter(range(0, 10**6, 5))
    with running(schedule_of(lost, clock=lambda: next(ticks))):
        time.sleep(0.2)
        lost.away = False

        assert wait_until(lambda: job_counts(table.database)[State.QUEUED] == 1)


def test_a_failed_scheduled_task_is_logged_and_others_run(table):
    def break_down() -> None:
        raise ZeroDivisionError

    table.register(received(1), 5, opens_job=True)
    ticks = iter(range(0, 10**6, 5))
    with (
        capture_logs() as lines,
        running(schedule_of(table, clear_spool=break_down, clock=lambda: next(ticks))),
    ):
        assert wait_until(lambda: job_counts(table.database)[State.QUEUED] == 1)

    assert "scheduled task crashed" in [line["event"] for line in lines]


def test_a_stopped_schedule_does_nothing_more(table):
    schedule = schedule_of(table, clock=iter(range(0, 10**6, 60)).__next__)
    with running(schedule):
        pass
    table.register(received(1), 5, opens_job=True)
    time.sleep(0.1)

    assert job_counts(table.database)[State.RECEIVING] == 1
    assert not [t.name for t in threading.enumerate() if t.name == "clock guard"]
