"""Working on jobs: one after the other, each kept by a heartbeat while it is worked on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from sij_node.domain.job import Job
from sij_node.errors import DatabaseUnavailable, LeaseLost
from sij_node.store.job_table import JobTable

log = structlog.get_logger()

BEATS_PER_LEASE = 4


class Lease:
    """Whether a claimed job is still ours."""

    def __init__(self) -> None:
        self._lost = threading.Event()

    @property
    def lost(self) -> bool:
        """True once another process has taken the job over."""
        return self._lost.is_set()

    def lose(self) -> None:
        """Note that the job is no longer ours."""
        self._lost.set()


@contextmanager
def held(table: JobTable, job: Job, lease_s: float) -> Iterator[Lease]:
    """Send heartbeats for a claimed job until the block ends.

    A database that does not answer is not a lost lease: the next beat may reach it.
    """
    lease, done = Lease(), threading.Event()

    def beat() -> None:
        while not done.wait(lease_s / BEATS_PER_LEASE):
            try:
                if not table.heartbeat(job):
                    return lease.lose()
            except DatabaseUnavailable:
                continue

    thread = threading.Thread(target=beat, name=f"lease of job {job.job_id}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()


def one_after_the_other(
    do_next: Callable[[], bool], who: str, stop: threading.Event, idle_s: float
) -> None:
    """Claim and do jobs until `stop` is set, through lost leases and outages of the database.

    Parameters
    ----------
    do_next
        Claims a job and does it; False when there is none.
    who
        The worker, for the log.
    idle_s
        How long to wait when there is nothing to do.
    """
    outage = ""
    while not stop.is_set():
        try:
            did_something, outage = do_next(), ""
        except LeaseLost as error:
            log.warning("lease lost", worker=who, reason=str(error))
            did_something = True
        except DatabaseUnavailable as error:
            if str(error) != outage:
                log.warning("database unavailable", worker=who, reason=str(error))
            did_something, outage = False, str(error)
        if not did_something:
            stop.wait(idle_s)
