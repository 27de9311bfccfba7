"""The worker: takes a study from the queue, has it analysed, stores what came out.

The networks live in a child process, warm between studies. A study that crashes, hangs or eats
memory ends the child and counts as one failed attempt; the worker and the next study go on.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import structlog

from sij_node.errors import (
    DatabaseUnavailable,
    InputRejected,
    InternalFault,
    LeaseLost,
    NodeError,
    WorkerLost,
)
from sij_node.jobs import Job, Result, RetryPolicy
from sij_node.store.job_table import JobTable
from sij_node.store.lease import Lease, held
from sij_node.study import ReceivedInstance

log = structlog.get_logger()

POLL_S = 0.5
DRAIN_S = 25.0
START_LIMIT_S = 120.0


@dataclass(frozen=True)
class Order:
    """What the child is asked to analyse."""

    study_uid: str
    instances: tuple[ReceivedInstance, ...]


@dataclass(frozen=True)
class Outcome:
    """What the child stored, and why the study was rejected if it was."""

    results: tuple[Result, ...]
    rejected: InputRejected | None = None


Answer = Outcome | NodeError


class AnalysisProcess:
    """A child process that holds the networks and analyses one study after another.

    Parameters
    ----------
    target
        Runs in the child: called with its end of the pipe and `arguments`. It sends None once it
        is ready, or a `NodeError` if it never will be; then an `Answer` for each `Order`.
    study_limit_s
        An analysis that takes longer ends the child.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        study_limit_s: float,
    ) -> None:
        self._target = target
        self._arguments = arguments
        self._study_limit_s = study_limit_s
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> Connection:
        """Start the child unless it runs, and wait until its networks are loaded.

        Raises
        ------
        NodeError
            What the child says it cannot start for.
        WorkerLost
            If it dies or stays silent.
        """
        if self._pipe is not None and self._process is not None and self._process.is_alive():
            return self._pipe
        self.stop()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=self._target, args=(theirs, *self._arguments), name="analysis"
        )
        self._process.start()
        theirs.close()
        problem = self._receive(START_LIMIT_S, lambda: None)
        if isinstance(problem, NodeError):
            self.stop()
            raise problem
        return self._pipe

    def analyse(self, order: Order, check: Callable[[], None]) -> Answer:
        """Have a study analysed.

        Parameters
        ----------
        check
            Called about twice a second; may raise to end the analysis.

        Raises
        ------
        WorkerLost
            If the child died or took too long.
        """
        self.start().send(order)
        answer: Answer = self._receive(self._study_limit_s, check)
        return answer

    def stop(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _receive(self, limit_s: float, check: Callable[[], None]) -> Any:
        if self._pipe is None or self._process is None:
            raise WorkerLost("The analysis process is not running.")
        deadline = time.monotonic() + limit_s
        try:
            while not self._pipe.poll(POLL_S):
                check()
                if time.monotonic() > deadline:
                    raise WorkerLost(f"The analysis took longer than {limit_s:g} s and was ended.")
            return self._pipe.recv()
        except EOFError as error:
            self._process.join()
            raise WorkerLost(
                f"The analysis process died (exit status {self._process.exitcode})."
            ) from error
        except (NodeError, KeyboardInterrupt):
            self.stop()
            raise
        finally:
            if self._process is not None and not self._process.is_alive():
                self.stop()


class Worker:
    """Claims queued jobs, one at a time, until it is told to stop."""

    def __init__(
        self,
        name: str,
        table: JobTable,
        analysis: AnalysisProcess,
        policy: RetryPolicy,
        lease_s: float,
        stop: threading.Event,
    ) -> None:
        self._name = name
        self._table = table
        self._analysis = analysis
        self._policy = policy
        self._lease_s = lease_s
        self._stop = stop
        self._drain_until = float("inf")

    def run(self, idle_s: float = 1.0) -> None:
        """Work until `stop` is set; a study in hand is finished first, within `DRAIN_S`.

        Raises
        ------
        WeightsRefused
            If the networks cannot be loaded: this worker can never work.
        """
        try:
            self._analysis.start()
            log.info("worker ready", worker=self._name)
            while not self._stop.is_set():
                if not self._work():
                    self._stop.wait(idle_s)
        finally:
            self._analysis.stop()

    def _work(self) -> bool:
        try:
            job = self._table.claim(self._name)
            if job is not None:
                self._analyse(job)
            return job is not None
        except LeaseLost as error:
            log.warning("job was taken over", worker=self._name, reason=str(error))
            return True
        except DatabaseUnavailable as error:
            log.warning("database unavailable", worker=self._name, reason=str(error))
            return False

    def _analyse(self, job: Job) -> None:
        began = time.monotonic()
        try:
            with held(self._table, job, self._lease_s) as lease:
                order = Order(job.study_uid, self._table.instances(job.study_uid))
                answer = self._analysis.analyse(order, lambda: self._may_go_on(lease))
            after = self._settle(job, answer)
        except WorkerLost as error:
            after = self._table.fail(job, error, self._policy, self._name)
        log.info(
            "study analysed",
            job_id=after.job_id,
            state=after.state,
            attempt=after.analysis_attempts,
            reason=after.reason,
            seconds=round(time.monotonic() - began, 2),
        )

    def _settle(self, job: Job, answer: Answer) -> Job:
        if isinstance(answer, NodeError):
            return self._table.fail(job, answer, self._policy, self._name)
        if answer.rejected is not None:
            return self._table.reject(
                job, answer.rejected, answer.results, job.source_ae, self._name
            )
        return self._table.store_results(job, answer.results, job.source_ae, self._name)

    def _may_go_on(self, lease: Lease) -> None:
        if lease.lost:
            raise LeaseLost("Another process took the job over while it was being analysed.")
        if self._stop.is_set():
            self._drain_until = min(self._drain_until, time.monotonic() + DRAIN_S)
            if time.monotonic() > self._drain_until:
                raise WorkerLost("The worker was told to stop and could not finish in time.")


def answer_orders(pipe: Connection, analyse: Callable[[Order], Outcome]) -> None:
    """The child's loop: analyse each order until the parent goes away."""
    pipe.send(None)
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        pipe.send(_answered(order, analyse))


def _answered(order: Order, analyse: Callable[[Order], Outcome]) -> Answer:
    try:
        return analyse(order)
    except NodeError as error:
        return error
    except Exception as error:  # noqa: BLE001 - the one place: whatever it is, this study failed
        log.error("analysis failed", exc_info=error)
        return InternalFault(f"The analysis stopped with {type(error).__name__}; see the log.")
