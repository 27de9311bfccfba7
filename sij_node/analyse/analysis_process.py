"""The analysis process: a child process of the worker that holds the networks.

The networks stay loaded between studies. A study that crashes, hangs or exhausts memory ends the
child and counts as one failed attempt; the worker continues with the next study. The worker
talks to the child through `AnalysisProcess`; the child runs `serve_requests`.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import structlog

from sij_node.domain.analysis_record import NOTHING_KEPT, AnalysisRecord
from sij_node.domain.job import Result
from sij_node.domain.prior_comparison import NO_PRIORS, Priors
from sij_node.domain.study import IdentityCorrection, ReceivedInstance, Refusal
from sij_node.errors import (
    InputRejected,
    InternalFault,
    NodeError,
    OutOfMemory,
    WorkerLost,
    attempted,
)

log = structlog.get_logger()

POLL_S = 0.25
START_LIMIT_S = 120.0


@dataclass(frozen=True)
class AnalysisRequest:
    """A study to analyse.

    Parameters
    ----------
    destination
        AE title that receives the results.
    history
        Results sent to it for this study before, oldest first.
    weights
        Name of the [[weights]] to use; empty for those of [worker].
    priors
        Prior results of the patient.
    correction
        The correction of patient or study after results were sent to the destination.
    at_archive
        Number of images of each series at the archive that sent it, where that is known.
    """

    instances: tuple[ReceivedInstance, ...]
    conflicts: tuple[Refusal, ...]
    destination: str = ""
    history: tuple[tuple[Result, ...], ...] = ()
    weights: str = ""
    priors: Priors = NO_PRIORS
    correction: IdentityCorrection | None = None
    at_archive: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AnalysisOutcome:
    """The stored results, and the reason if the study was rejected.

    Parameters
    ----------
    weights
        Names and versions of the networks.
    note
        The series used, for the job's history.
    record
        Findings and series for the study page.
    """

    results: tuple[Result, ...]
    weights: str = ""
    note: str = ""
    rejected: InputRejected | None = None
    record: AnalysisRecord = NOTHING_KEPT


Answer = AnalysisOutcome | NodeError


@dataclass(frozen=True)
class LoadedNetworks:
    """The loaded networks and their device, reported at start and after each study.

    Parameters
    ----------
    device
        Device and name of the GPU.
    gpu_used_mb, gpu_total_mb
        Memory of that GPU, used by any process; None without GPU.
    weights, weights_sha256
        Names and versions of the networks, and the SHA-256 of their files, in the same order.
    """

    device: str = ""
    gpu_used_mb: float | None = None
    gpu_total_mb: float | None = None
    weights: str = ""
    weights_sha256: str = ""


class Stopping(Exception):
    """The current study cannot be finished before the worker must stop."""


class AnalysisProcess:
    """A child process that analyses one study after another with loaded networks.

    Parameters
    ----------
    target
        Runs in the child, with its end of the pipe and `arguments`. It first sends its
        `LoadedNetworks`, or a `NodeError` if it cannot start; then, for each `AnalysisRequest`, a
        pair of `LoadedNetworks` and `Answer`.
    study_limit_s
        Time limit for one study; the child is killed when it is exceeded.
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
        self.networks = LoadedNetworks()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> Connection:
        """Start the child if it is not running, and wait until its networks are loaded.

        Raises
        ------
        NodeError
            If the child reports that it cannot start.
        WorkerLost
            If it dies or does not respond in time.
        """
        if self._pipe is not None and self._process is not None and self._process.is_alive():
            return self._pipe
        self.stop()
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(
            target=self._target, args=(child_pipe, *self._arguments), name="analysis"
        )
        self._process.start()
        child_pipe.close()
        ready = self._receive(START_LIMIT_S, lambda: None)
        if isinstance(ready, NodeError):
            self.stop()
            raise ready
        self.networks = ready
        return self._pipe

    def analyse(self, request: AnalysisRequest, check: Callable[[], None]) -> Answer:
        """Analyse a study in the child.

        Parameters
        ----------
        check
            Called every `POLL_S`; may raise to cancel the analysis.

        Raises
        ------
        WorkerLost
            If the child died or took too long.
        """
        pipe = self.start()
        try:
            pipe.send(request)
        except (BrokenPipeError, ConnectionResetError) as error:
            self.stop()
            raise WorkerLost("The analysis process died before it received the study.") from error
        answer: Answer
        self.networks, answer = self._receive(self._study_limit_s, check)
        return answer

    def stop(self) -> None:
        """Kill the child, if there is one."""
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
                    raise WorkerLost(
                        f"The analysis exceeded its limit of {limit_s:g} s and was stopped."
                    )
            return self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:  # reset: it died with a request unread
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


def serve_requests(
    pipe: Connection,
    analyse: Callable[[AnalysisRequest], AnalysisOutcome],
    finish: Callable[[], None] = lambda: None,
    networks: Callable[[], LoadedNetworks] = LoadedNetworks,
) -> None:
    """The loop of the child: analyse one request after the other until the parent exits.

    Parameters
    ----------
    finish
        Called after each answer, for work that the results need not wait for.
    networks
        Describes the loaded networks.
    """
    threading.Thread(target=_exit_with_parent, name="orphan guard", daemon=True).start()
    pipe.send(networks())
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        answer = _answer(request, analyse)
        pipe.send((networks(), answer))
        _finish(finish)


def _finish(finish: Callable[[], None]) -> None:
    try:
        finish()
    except NodeError as error:
        log.warning("key images not stored", reason=str(error))


def _exit_with_parent() -> None:
    """Exit with the parent: an orphan would compete with its successor for memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(os.EX_TEMPFAIL)


def _answer(
    request: AnalysisRequest, analyse: Callable[[AnalysisRequest], AnalysisOutcome]
) -> Answer:
    """The outcome, or the error that fails this study alone."""
    outcome = attempted(partial(analyse, request))
    if isinstance(outcome, MemoryError):
        return OutOfMemory(
            "The analysis ran out of memory: see [worker] memory_limit_mb, and the memory of this "
            "host."
        )
    if isinstance(outcome, NodeError) or not isinstance(outcome, Exception):
        return outcome
    log.error("analysis failed", exc_info=outcome)
    return InternalFault(f"The analysis failed with {type(outcome).__name__}; see the log.")
