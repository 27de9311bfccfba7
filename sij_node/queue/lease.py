"""The loop of a worker, and the lease that protects its current job by a heartbeat."""

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
    """The lease of a claimed job."""

    def __init__(self) -> None:
        self._lost = threading.Event()

    @property
    def lost(self) -> bool:
        """True once another process has taken over the job."""
        return self._lost.is_set()

    def lose(self) -> None:
        """Mark the lease as lost."""
        self._lost.set()


@contextmanager
def renewed_lease(table: JobTable, job: Job, lease_s: float) -> Iterator[Lease]:
    """Context manager: renew the lease of a claimed job by heartbeats.

    A database outage does not lose the lease: a later heartbeat may succeed.
    """
    lease, done = Lease(), threading.Event()

    def renew() -> None:
        while not done.wait(lease_s / BEATS_PER_LEASE):
            try:
                if not table.heartbeat(job):
                    return lease.lose()
            except DatabaseUnavailable:
                continue

    thread = threading.Thread(target=renew, name=f"lease of job {job.job_id}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()


def run_jobs(
    do_next: Callable[[], bool], worker: str, stop: threading.Event, idle_s: float
) -> None:
    """Claim and run jobs until `stop` is set; lost leases and database outages do not end this.

    Parameters
    ----------
    do_next
        Claims a job and runs it; False when there is none.
    worker
        Name of the worker, for the log.
    idle_s
        Wait before looking again when there is no job.
    """
    outage = ""
    while not stop.is_set():
        try:
            found_job, outage = do_next(), ""
        except LeaseLost as error:
            log.warning("lease lost", worker=worker, reason=str(error))
            found_job = True
        except DatabaseUnavailable as error:
            if str(error) != outage:
                log.warning("database unavailable", worker=worker, reason=str(error))
            found_job, outage = False, str(error)
        if not found_job:
            stop.wait(idle_s)
