"""The worker and its analysis process: no study can stop the worker."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sij_node.analyse.analysis_process import AnalysisOutcome, AnalysisProcess, AnalysisRequest
from sij_node.analyse.analysis_worker import AnalysisWorker
from sij_node.config.routing import Recipient
from sij_node.domain.job import Job, RetryPolicy, State, Step
from sij_node.domain.prior_comparison import Priors
from sij_node.errors import InternalFault, WeightsRefused, WorkerLost
from sij_node.store.deliveries import deliveries_of
from sij_node.store.job_queries import steps_of
from sij_node.store.job_table import JobTable
from tests.support import analysis_children
from tests.support.job_tables import latest_job, made, received

POLICY = RetryPolicy(max_attempts=2, first_wait_s=0.01, max_wait_s=0.01)
RESULTS = (made("scores"),)
PATIENCE_S = 120
BUSY_WORKER = """
from tests.integration.analyse.test_analysis_worker import analysis, analysis_children, order
if __name__ == "__main__":
    with analysis() as process:
        process.analyse(order(analysis_children.SLEEPY), lambda: print("busy", flush=True))
"""


@contextmanager
def analysis(limit_s: float = 60, target=None) -> Iterator[AnalysisProcess]:
    process = AnalysisProcess(
        *((target, ()) if target else (analysis_children.child, (RESULTS,))), limit_s
    )
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def working(
    table: JobTable,
    limit_s: float = 60,
    recipients: Callable[[str], Sequence[Recipient]] = lambda sender: (Recipient(sender),),
) -> Iterator[threading.Event]:
    stop = threading.Event()
    with analysis(limit_s) as process:
        worker = AnalysisWorker("worker 1", table, process, POLICY, 20, stop, recipients)
        thread = threading.Thread(target=worker.run, args=(0.05,))
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def queue(table: JobTable, source: str, study_uid: str) -> Job:
    table.register(received(1, study_uid, source_ae=source), 5, opens_job=True)
    job = latest_job(table, study_uid, source)
    return table.settle(job, "quiet")


def wait_for(table: JobTable, job: Job, *states: State) -> Job:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        now = table.get(job.job_id)
        if now.state in states:
            return now
        if now.wait_s:
            table.release(now)
        time.sleep(0.05)
    pytest.fail(f"the job is {table.get(job.job_id).state}")


def order(source: str) -> AnalysisRequest:
    return AnalysisRequest((received(1, source_ae=source),), ())


def test_a_study_is_analysed_and_its_results_wait_for_delivery(table: JobTable):
    job = queue(table, "PACS", "1.2.3")

    with working(table):
        after = wait_for(table, job, State.DELIVERING)

    assert after.weights == "contour 1.0"
    assert [delivery.result for delivery in deliveries_of(table.database, job.job_id)] == list(
        RESULTS
    )


def test_a_study_is_analysed_with_the_requested_weights(table: JobTable):
    first = queue(table, "PACS", "1.2.3")

    with working(table):
        wait_for(table, first, State.DELIVERING)
        again = table.reanalyse(table.get(first.job_id), "mia", "trial")
        after = wait_for(table, again, State.DELIVERING, State.DELIVERED)

    assert (after.weights_wanted, after.weights) == ("trial", "trial")


def test_a_study_of_a_peer_in_shadow_mode_is_analysed_and_withheld(table: JobTable):
    job = queue(table, "PACS", "1.2.3")

    with working(table, recipients=lambda sender: (Recipient(sender, withheld=True),)):
        after = wait_for(table, job, State.NOT_SENT)

    assert after.weights == "contour 1.0"
    assert table.claim_delivery("courier") is None


def test_an_order_says_who_the_results_are_for_and_what_it_has(table: JobTable):
    first = queue(table, "PACS", "1.2.3")
    with working(table):
        wait_for(table, first, State.DELIVERING)
    orders = []

    class RecordingAnalysis(AnalysisProcess):
        def start(self):
            return None

        def analyse(self, order, check):
            orders.append(order)
            return AnalysisOutcome(RESULTS)

    table.register(received(2, "1.2.3"), 5, opens_job=True)
    late = table.settle(latest_job(table, "1.2.3", "PACS"), "quiet")
    stop = threading.Event()
    found = Priors((), ("late",))
    recording = RecordingAnalysis(analysis_children.child, (), 60)
    worker = AnalysisWorker(
        "w", table, recording, POLICY, 20, stop, priors_for=lambda job, received: found
    )
    thread = threading.Thread(target=worker.run, args=(0.05,))
    thread.start()
    wait_for(table, late, State.DELIVERING)
    stop.set()
    thread.join(PATIENCE_S)

    (order,) = orders
    assert (order.destination, order.history, order.priors) == ("PACS", (RESULTS,), found)


def test_a_study_that_kills_its_process_fails_and_the_next_is_analysed(table: JobTable):
    poison = queue(table, analysis_children.DEADLY, "1.2.4")
    good = queue(table, "PACS", "1.2.3")

    with working(table):
        wait_for(table, good, State.DELIVERING)
        after = wait_for(table, poison, State.FAILED)

    assert after.analysis_attempts == POLICY.max_attempts
    assert "died" in after.reason


def test_a_study_that_takes_too_long_is_ended(table: JobTable):
    job = queue(table, analysis_children.SLEEPY, "1.2.4")

    with working(table, limit_s=1):
        after = wait_for(table, job, State.FAILED)

    assert "limit of 1 s" in after.reason


def test_an_unforeseen_error_fails_the_job_and_quotes_nothing_of_the_study(table: JobTable):
    job = queue(table, analysis_children.BROKEN, "1.2.4")

    with working(table):
        after = wait_for(table, job, State.FAILED)

    assert after.error_family == InternalFault.__name__
    assert "KeyError" in after.reason
    assert "Muster" not in after.reason


def test_running_out_of_memory_is_retried_and_not_blamed_on_images(table: JobTable):
    job = queue(table, analysis_children.OUT_OF_MEMORY, "1.2.4")

    with working(table):
        after = wait_for(table, job, State.FAILED, State.REJECTED)

    assert (after.state, after.analysis_attempts) == (State.FAILED, POLICY.max_attempts)
    assert "ran out of memory" in after.reason


def test_a_rejected_study_is_answered_with_a_notice(table: JobTable):
    job = queue(table, analysis_children.HOPELESS, "1.2.4")

    with working(table):
        after = wait_for(table, job, State.REJECTED)

    assert after.reason == "No T1."
    assert len(deliveries_of(table.database, job.job_id)) == 1


def test_a_stopping_worker_returns_the_job_it_cannot_finish(
    table: JobTable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sij_node.analyse.analysis_worker.DRAIN_S", 0.1)
    job = queue(table, analysis_children.SLEEPY, "1.2.4")

    with working(table) as stop:
        wait_for(table, job, State.ANALYSING)
        stop.set()
        after = wait_for(table, job, State.QUEUED)

    assert after.analysis_attempts == 0
    assert Step.HANDED_BACK in [step.step for step in steps_of(table.database, job.job_id)]


def test_a_worker_that_lost_its_lease_writes_nothing_and_goes_on(table: JobTable):
    lost = queue(table, analysis_children.SLEEPY, "1.2.4")

    with analysis() as process:
        stop = threading.Event()
        worker = AnalysisWorker("worker 1", table, process, POLICY, 0.4, stop)
        thread = threading.Thread(target=worker.run, args=(0.05,))
        thread.start()
        claimed = wait_for(table, lost, State.ANALYSING)
        _take_over(table, claimed)
        good = queue(table, "PACS", "1.2.3")
        wait_for(table, good, State.DELIVERING)
        stop.set()
        thread.join(PATIENCE_S)

    assert table.get(lost.job_id).state is State.ANALYSING
    assert table.get(lost.job_id).leased_by == "worker 2"


def _take_over(table: JobTable, claimed: Job) -> None:
    """As the clock would do for a worker that had fallen silent; beats may come in between."""
    for _ in range(200):
        current = table.get(claimed.job_id)
        try:
            waiting = table.expire(current, POLICY)
        except Exception:  # noqa: BLE001 - a heartbeat came first: look again
            continue
        table.release(waiting)
        assert table.claim("worker 2")
        return
    pytest.fail("the lease could not be taken")


def test_refused_weights_end_the_worker():
    with (
        analysis(60, analysis_children.child_without_weights) as process,
        pytest.raises(WeightsRefused, match="no weights"),
    ):
        process.start()


def test_a_process_that_dies_at_start_is_reported():
    with (
        analysis(60, analysis_children.child_that_dies_at_once) as process,
        pytest.raises(WorkerLost, match="died"),
    ):
        process.start()


def test_a_process_that_dies_before_a_request_is_reported():
    with analysis(60, analysis_children.child_that_hangs_up) as process:
        assert process.start().poll(PATIENCE_S)  # it has hung up
        with pytest.raises(WorkerLost, match="before it received the study"):
            process.analyse(order("PACS"), lambda: None)


@pytest.mark.parametrize("length", [0, 4_000_000], ids=["in the pipe", "longer than the pipe"])
def test_a_process_that_dies_before_reading_its_job_is_reported(length):
    waiting = replace(order("PACS"), weights="w" * length)

    with (
        analysis(60, analysis_children.child_that_dies_with_an_order_unread) as process,
        pytest.raises(WorkerLost, match="died"),
    ):
        process.analyse(waiting, lambda: None)


def test_the_process_is_warm_between_studies_and_replaced_after_a_crash():
    with analysis() as process:
        first = process.start()
        process.analyse(order("PACS"), lambda: None)
        assert process.start() is first

        with pytest.raises(WorkerLost):
            process.analyse(order(analysis_children.DEADLY), lambda: None)

        assert process.analyse(order("PACS"), lambda: None).results == RESULTS


def test_an_analysis_ends_with_the_worker_that_was_killed():
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_WORKER],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as worker:
        assert worker.stdout.readline() == "busy\n"

        worker.kill()

        worker.communicate(timeout=PATIENCE_S)  # the end comes when nobody is left to write
