"""Jobs are processed one after another, whatever happens to any of them."""

import threading
from collections.abc import Callable

from sij_node.errors import DatabaseUnavailable, LeaseLost
from sij_node.queue.lease import run_jobs


def working_through(*happenings: Callable[[], bool]) -> list[int]:
    """The numbers of the happenings that were reached; the last one stops the work."""
    stop, reached, left = threading.Event(), [], list(enumerate(happenings))

    def do_next() -> bool:
        number, happen = left.pop(0)
        reached.append(number)
        if not left:
            stop.set()
        return happen()

    run_jobs(do_next, "worker 1", stop, idle_s=0)
    return reached


def raising(error: Exception) -> Callable[[], bool]:
    def raise_it() -> bool:
        raise error

    return raise_it


def test_a_worker_survives_a_lost_lease_and_a_database_outage():
    outage = raising(DatabaseUnavailable("no answer"))

    reached = working_through(
        lambda: True, raising(LeaseLost("taken")), outage, outage, lambda: False, lambda: True
    )

    assert reached == [0, 1, 2, 3, 4, 5]
