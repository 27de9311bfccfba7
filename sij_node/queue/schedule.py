"""The scheduler: queues complete studies, expires leases, ends retry delays, clears the spool.

All delays are measured on the monotonic clock of this process, so that a jump of the wall clock
neither shortens nor prolongs them. When a study counts as complete is decided in
`sij_node.queue.study_completion`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from sij_node.config.settings import StudyConfig
from sij_node.domain.job import Job, RetryPolicy, StallDetector, State
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import LeaseLost, NodeError
from sij_node.queue.completeness import Readiness
from sij_node.queue.study_completion import StudyCompletion
from sij_node.store.job_queries import leased_jobs, waiting_jobs
from sij_node.store.job_table import JobTable

log = structlog.get_logger()

TICK_S = 1.0
CLEARING_S = 3600.0
JUMP_S = 2.0
"""Shift of the wall clock against the monotonic clock that counts as a jump."""


@dataclass(frozen=True)
class ScheduledTask:
    """A periodic task.

    Parameters
    ----------
    name
        Name in the log.
    every_s
        Interval between two runs.
    """

    name: str
    every_s: float
    do: Callable[[], object]


class Scheduler:
    """Checks the job table about every second and takes the steps that are due.

    Parameters
    ----------
    assess
        Whether the instances of a study include T1 and STIR, and their priority.
    clear_spool
        Removes files past the retention time; called once an hour.
    tasks
        Further tasks.
    is_carried, missing_at
        As in `sij_node.queue.study_completion.StudyCompletion`.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        table: JobTable,
        study: StudyConfig,
        *,
        analysis_policy: RetryPolicy,
        delivery_policy: RetryPolicy,
        lease_s: float,
        assess: Callable[[Sequence[ReceivedInstance]], Readiness],
        clear_spool: Callable[[], object],
        tasks: Sequence[ScheduledTask] = (),
        is_carried: Callable[[str], bool] = lambda study_uid: False,
        missing_at: Callable[[Job, bool], tuple[str, ...]] = lambda job, has_pair: (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self.completion = StudyCompletion(table, study, assess, is_carried, missing_at)
        self._analysis_policy = analysis_policy
        self._delivery_policy = delivery_policy
        self._lease_s = lease_s
        self._tasks = (ScheduledTask("clear the spool", CLEARING_S, clear_spool), *tasks)
        self._clock = clock
        self._leases, self._waits = StallDetector(), StallDetector()
        self._failures: dict[str, str] = {}
        self._running: tuple[BackgroundScheduler, ClockGuard] | None = None

    def start(self) -> None:
        """Start; tasks run in threads of their own."""
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(len(self._ticks()) + len(self._tasks))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for task in (*self._ticks(), *self._tasks):
            scheduler.add_job(
                self._run_logged,
                _Every(task.every_s),
                args=(task.name, task.do),
                next_run_time=_now(),
            )
        scheduler.add_listener(_log_crash, EVENT_JOB_ERROR)
        scheduler.start()
        guard = ClockGuard(lambda: _run_all_now(scheduler))
        guard.start()
        self._running = scheduler, guard

    def stop(self) -> None:
        """Stop after the tasks that are running have ended."""
        if self._running is not None:
            scheduler, guard = self._running
            guard.stop()
            scheduler.shutdown(wait=True)
            self._running = None

    def _ticks(self) -> tuple[ScheduledTask, ...]:
        def every_tick(name: str, step: Callable[[float], None]) -> ScheduledTask:
            return ScheduledTask(name, TICK_S, lambda: step(self._clock()))

        return (
            every_tick("queue complete studies", self.completion.queue_complete_studies),
            every_tick("expire leases", self.expire_leases),
            every_tick("release waiting jobs", self.release_waiting),
        )

    def expire_leases(self, now: float) -> None:
        """Return jobs whose lease has expired to the queue."""
        jobs = leased_jobs(self._table.database)
        self._leases.keep_only(job.job_id for job in jobs)
        for job in jobs:
            silent_s = self._leases.still_for_s(job.job_id, (job.revision, job.heartbeat), now)
            if silent_s >= self._lease_s:
                _unless_changed(partial(self._expire, job, silent_s))

    def _expire(self, job: Job, silent_s: float) -> None:
        analysing = job.state is State.ANALYSING
        after = self._table.expire(
            job, self._analysis_policy if analysing else self._delivery_policy
        )
        log.warning(
            "worker lost",
            job_id=job.job_id,
            state=after.state,
            worker=job.leased_by,
            seconds=round(silent_s, 1),
            attempt=job.analysis_attempts if analysing else job.delivery_attempts,
        )

    def release_waiting(self, now: float) -> None:
        """End the retry delays that are over."""
        jobs = waiting_jobs(self._table.database)
        self._waits.keep_only(job.job_id for job in jobs)
        for job in jobs:
            waited_s = self._waits.still_for_s(job.job_id, job.revision, now)
            if waited_s >= job.wait_s:
                _unless_changed(partial(self._table.release, job))

    def _run_logged(self, name: str, task: Callable[[], object]) -> None:
        """Run a task; log an error when it first occurs and when the task recovers."""
        try:
            task()
        except NodeError as error:
            if self._failures.get(name) != str(error):
                log.warning("scheduled task failed", step=name, reason=str(error))
            self._failures[name] = str(error)
        else:
            if self._failures.pop(name, None) is not None:
                log.info("scheduled task recovered", step=name)


def _unless_changed(step: Callable[[], object]) -> None:
    """Take a step unless the job has changed since it was read; the step is obsolete then."""
    with suppress(LeaseLost):
        step()


class ClockGuard:
    """Detects jumps of the wall clock.

    APScheduler plans by the wall clock: set back by a day, it would sleep for a day.

    Parameters
    ----------
    on_jump
        Called after a jump, in the thread of the guard.
    wall, monotonic
        The two clocks, in seconds.
    """

    def __init__(
        self,
        on_jump: Callable[[], None],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_jump = on_jump
        self._wall = wall
        self._monotonic = monotonic
        self._offset_s = wall() - monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="clock guard", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        self._thread.join()

    def check(self) -> None:
        """Compare the two clocks once."""
        offset_s = self._wall() - self._monotonic()
        shift_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(shift_s) > JUMP_S:
            log.warning("clock jumped", seconds=round(shift_s, 1))
            self._on_jump()

    def _watch(self) -> None:
        while not self._stopped.wait(TICK_S):
            self.check()


class _Every(BaseTrigger):  # type: ignore[misc]
    """An interval trigger that ignores missed runs.

    APScheduler's own interval trigger steps through every run missed when the clock is set forward;
    at one run per second from 1970 to today it would never return.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """One interval from now, however long ago the last run was."""
        return now + self._interval


def _run_all_now(scheduler: BackgroundScheduler) -> None:
    for planned in scheduler.get_jobs():
        planned.modify(next_run_time=_now())


def _log_crash(event: JobExecutionEvent) -> None:
    log.error("scheduled task crashed", exc_info=event.exception)


def _now() -> datetime:
    return datetime.now(UTC)
