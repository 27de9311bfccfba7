"""The process that analyses: the worker's end of the pipe, and the loop at the child's end.

The networks live in a child process, warm between studies. A study that crashes, hangs or eats
memory ends the child and counts as one failed attempt; the worker and the next study go on.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import structlog

from sij_node.domain.analysis_record import NOTHING_KEPT, AnalysisRecord
from sij_node.domain.job import Result
from sij_node.domain.prior_comparison import NO_PRIORS, Priors
from sij_node.domain.study import ReceivedInstance, Refusal
from sij_node.errors import InputRejected, InternalFault, NodeError, WorkerLost

log = structlog.get_logger()

POLL_S = 0.25
START_LIMIT_S = 120.0


@dataclass(frozen=True)
class AnalysisRequest:
    """What the child is asked to analyse.

    Parameters
    ----------
    destination
        AE title of who gets the results.
    history
        The results it was given for this study before, the oldest first.
    weights
        The [[weights]] to use, by name; empty for those of [worker].
    priors
        Earlier results of the patient.
    """

    instances: tuple[ReceivedInstance, ...]
    conflicts: tuple[Refusal, ...]
    destination: str = ""
    history: tuple[tuple[Result, ...], ...] = ()
    weights: str = ""
    priors: Priors = NO_PRIORS


@dataclass(frozen=True)
class AnalysisOutcome:
    """What the child stored, and why the study was rejected if it was.

    Parameters
    ----------
    weights
        The networks that took part.
    note
        Which series were used, for the job's history.
    record
        What people can look at besides the results.
    """

    results: tuple[Result, ...]
    weights: str = ""
    note: str = ""
    rejected: InputRejected | None = None
    record: AnalysisRecord = NOTHING_KEPT


Answer = AnalysisOutcome | NodeError


@dataclass(frozen=True)
class LoadedNetworks:
    """What the child works with; it says so when it is ready and after each study.

    Parameters
    ----------
    device
        Where the networks run, with the name of the GPU.
    gpu_used_mb, gpu_total_mb
        Memory of that GPU, whoever uses it; None without one.
    weights, weights_sha256
        Names and versions of the networks, and the digests of their files, in the same order.
    """

    device: str = ""
    gpu_used_mb: float | None = None
    gpu_total_mb: float | None = None
    weights: str = ""
    weights_sha256: str = ""


class Stopping(Exception):
    """The study in hand cannot be finished before this worker must end."""


class AnalysisProcess:
    """A child process that holds the networks and analyses one study after another.

    Parameters
    ----------
    target
        Runs in the child: called with its end of the pipe and `arguments`. Once ready it sends its
        `LoadedNetworks`, or a `NodeError` if it never will be; then for each `AnalysisRequest` its
        `LoadedNetworks` and an `Answer`, as a pair.
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
        self.equipment = LoadedNetworks()
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
        ready = self._receive(START_LIMIT_S, lambda: None)
        if isinstance(ready, NodeError):
            self.stop()
            raise ready
        self.equipment = ready
        return self._pipe

    def analyse(self, order: AnalysisRequest, check: Callable[[], None]) -> Answer:
        """Have a study analysed.

        Parameters
        ----------
        check
            Called every `POLL_S`; may raise to end the analysis.

        Raises
        ------
        WorkerLost
            If the child died or took too long.
        """
        pipe = self.start()
        try:
            pipe.send(order)
        except (BrokenPipeError, ConnectionResetError) as error:
            self.stop()
            raise WorkerLost("The analysis process died before it was asked.") from error
        answer: Answer
        self.equipment, answer = self._receive(self._study_limit_s, check)
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
        except (EOFError, ConnectionResetError) as error:  # reset: it left an order unread
            self._process.join()
            raise WorkerLost(
                f"The analysis process died (exit status {self._process.exitcode})."
            ) from error
        except (NodeError, Stopping):
            self.stop()
            raise
        finally:
            if self._process is not None and not self._process.is_alive():
                self.stop()


def answer_orders(
    pipe: Connection,
    analyse: Callable[[AnalysisRequest], AnalysisOutcome],
    finish: Callable[[], None] = lambda: None,
    equipment: Callable[[], LoadedNetworks] = LoadedNetworks,
) -> None:
    """The child's loop: analyse each order until the parent goes away.

    Parameters
    ----------
    finish
        Called after each answer, for what nobody waits for.
    equipment
        What the child works with.
    """
    threading.Thread(target=_end_with_the_parent, name="orphan guard", daemon=True).start()
    pipe.send(equipment())
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        answer = _answered(order, analyse)
        pipe.send((equipment(), answer))
        _finish(finish)


def _finish(finish: Callable[[], None]) -> None:
    try:
        finish()
    except NodeError as error:
        log.warning("pictures not kept", reason=str(error))


def _end_with_the_parent() -> None:
    """An orphan would compute what nobody takes any more, beside its successor."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(os.EX_TEMPFAIL)


def _answered(
    order: AnalysisRequest, analyse: Callable[[AnalysisRequest], AnalysisOutcome]
) -> Answer:
    try:
        return analyse(order)
    except NodeError as error:
        return error
    except Exception as error:  # the one place: whatever it is, this study failed
        log.error("analysis failed", exc_info=error)
        return InternalFault(f"The analysis stopped with {type(error).__name__}; see the log.")
