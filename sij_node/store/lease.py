"""Keeping a job while working on it: a heartbeat that tells the others this process lives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sij_node.errors import DatabaseUnavailable
from sij_node.jobs import Job
from sij_node.store.job_table import JobTable

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
