"""The scheduler: queues complete studies, expires leases, ends retry delays, clears the spool.

Everything is timed by the monotonic clock of this process, so that a jump of the wall clock makes
nothing early or late.
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
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from sij_node.config.settings import StudyConfig
from sij_node.domain.job import Job, RetryPolicy, StallDetector, State
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import LeaseLost, NodeError
from sij_node.queue.completeness import Readiness
from sij_node.store.job_queries import leased_jobs, receiving_jobs, waiting_jobs
from sij_node.store.job_table import JobTable
from sij_node.store.registration import received_instances

log = structlog.get_logger()

TICK_S = 1.0
CLEARING_S = 3600.0
SHIFT_S = 2.0
"""A wall clock that moves this much against the monotonic one has jumped."""


@dataclass(frozen=True)
class ScheduledTask:
    """A task that is repeated.

    Parameters
    ----------
    name
        What the log calls it.
    every_s
        From one time to the next.
    """

    name: str
    every_s: float
    do: Callable[[], object]


_NOTHING_SEEN = Readiness(has_pair=False, priority=None)


class Scheduler:
    """Looks at the job table about every second and does what has become due.

    Parameters
    ----------
    look_at
        What the instances of a study that is arriving tell: are T1 and STIR there, is it urgent?
    clear_spool
        Removes what has been kept long enough; called once an hour.
    tasks
        Further tasks.
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
        look_at: Callable[[Sequence[ReceivedInstance]], Readiness],
        clear_spool: Callable[[], object],
        tasks: Sequence[ScheduledTask] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._study = study
        self._analysis_policy = analysis_policy
        self._delivery_policy = delivery_policy
        self._lease_s = lease_s
        self._look_at = look_at
        self._tasks = (ScheduledTask("clear the spool", CLEARING_S, clear_spool), *tasks)
        self._clock = clock
        self._arrivals, self._leases, self._waits = (StallDetector() for _ in range(3))
        self._seen: dict[int, tuple[int, Readiness]] = {}
        self._complaints: dict[str, str] = {}
        self._running: tuple[BackgroundScheduler, ClockGuard] | None = None

    def start(self) -> None:
        """Begin; everything due is done in threads of its own."""
        scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for task in (*self._ticks(), *self._tasks):
            scheduler.add_job(
                self._complaining,
                _Every(task.every_s),
                args=(task.name, task.do),
                next_run_time=_now(),
            )
        scheduler.add_listener(_log_fault, EVENT_JOB_ERROR)
        scheduler.start()
        guard = ClockGuard(lambda: _run_all_now(scheduler))
        guard.start()
        self._running = scheduler, guard

    def stop(self) -> None:
        """End; what is being done is finished first."""
        if self._running is not None:
            scheduler, guard = self._running
            guard.stop()
            scheduler.shutdown(wait=True)
            self._running = None

    def _ticks(self) -> tuple[ScheduledTask, ...]:
        def each_tick(name: str, look: Callable[[float], None]) -> ScheduledTask:
            return ScheduledTask(name, TICK_S, lambda: look(self._clock()))

        return (
            each_tick("settle quiet studies", self.settle_quiet_studies),
            each_tick("expire leases", self.expire_leases),
            each_tick("release waiting jobs", self.release_waiting),
        )

    def settle_quiet_studies(self, now: float) -> None:
        """Queue each study that is complete or has received nothing for long enough."""
        jobs = receiving_jobs(self._table.database)
        self._arrivals.keep_only(job.job_id for job in jobs)
        self._seen = {j.job_id: self._seen[j.job_id] for j in jobs if j.job_id in self._seen}
        for job in jobs:
            quiet_s = self._arrivals.still_for_s(job.job_id, (job.revision, job.instances), now)
            if quiet_s >= min(self._study.stable_age_s, self._study.stable_age_without_pair_s):
                self._settle_if_ready(job, quiet_s)

    def _settle_if_ready(self, job: Job, quiet_s: float) -> None:
        seen = self._look(job)
        if seen.has_pair and quiet_s >= self._study.stable_age_s:
            note = f"T1 and STIR received, no new images for {quiet_s:.0f} s"
        elif quiet_s >= self._study.stable_age_without_pair_s:
            note = f"no new images for {quiet_s:.0f} s; T1 and STIR are not complete"
        else:
            return
        _unless_it_moved_on(partial(self._table.settle, job, note, seen.priority))

    def _look(self, job: Job) -> Readiness:
        """Look once for each revision: reading a study's headers is not free."""
        revision, seen = self._seen.get(job.job_id, (0, _NOTHING_SEEN))
        if revision != job.revision:
            seen = self._look_anew(job)
            self._seen[job.job_id] = (job.revision, seen)
        return seen

    def _look_anew(self, job: Job) -> Readiness:
        instances = received_instances(self._table.database, job.study_uid)
        try:
            return self._look_at(instances)
        except NodeError as error:  # what is wrong with one study must not hinder the others
            log.warning("study not assessed", job_id=job.job_id, reason=str(error))
            return _NOTHING_SEEN

    def expire_leases(self, now: float) -> None:
        """Take jobs back from workers whose lease has expired."""
        jobs = leased_jobs(self._table.database)
        self._leases.keep_only(job.job_id for job in jobs)
        for job in jobs:
            silent_s = self._leases.still_for_s(job.job_id, (job.revision, job.heartbeat), now)
            if silent_s >= self._lease_s:
                _unless_it_moved_on(partial(self._expire, job, silent_s))

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
        """Let jobs be tried again whose wait is over."""
        jobs = waiting_jobs(self._table.database)
        self._waits.keep_only(job.job_id for job in jobs)
        for job in jobs:
            waited_s = self._waits.still_for_s(job.job_id, job.revision, now)
            if waited_s >= job.wait_s:
                _unless_it_moved_on(partial(self._table.release, job))

    def _complaining(self, name: str, tick: Callable[[], object]) -> None:
        """Do one thing; an error is logged when it first appears, and again when it has gone."""
        try:
            tick()
        except NodeError as error:
            if self._complaints.get(name) != str(error):
                log.warning("scheduled task failed", step=name, reason=str(error))
            self._complaints[name] = str(error)
        else:
            if self._complaints.pop(name, None) is not None:
                log.info("scheduled task recovered", step=name)


def _unless_it_moved_on(step: Callable[[], object]) -> None:
    """Take a step that is no longer needed when the job has changed since it was looked at."""
    with suppress(LeaseLost):
        step()


class ClockGuard:
    """Notices when the wall clock jumps, and says so.

    APScheduler plans by the wall clock: set back by a day, it would sleep for a day.

    Parameters
    ----------
    on_jump
        Called in the guard's own thread.
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
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._stopped.set()
        self._thread.join()

    def look(self) -> None:
        """Compare the clocks once."""
        offset_s = self._wall() - self._monotonic()
        shift_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(shift_s) > SHIFT_S:
            log.warning("clock jumped", seconds=round(shift_s, 1))
            self._on_jump()

    def _watch(self) -> None:
        while not self._stopped.wait(TICK_S):
            self.look()


class _Every(BaseTrigger):  # type: ignore[misc]
    """Fires so many seconds after it last could.

    APScheduler's own interval counts every firing that a clock set forward has skipped: from
    1970 to today, at a second each, it would never end.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """One interval from now, however long ago the last firing was."""
        return now + self._interval


def _run_all_now(scheduler: BackgroundScheduler) -> None:
    for planned in scheduler.get_jobs():
        planned.modify(next_run_time=_now())


def _log_fault(event: JobExecutionEvent) -> None:
    log.error("schedule failed", exc_info=event.exception)


def _now() -> datetime:
    return datetime.now(UTC)
