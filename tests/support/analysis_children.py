"""Stand-ins for the analysis process, from one that works to one that ignores SIGTERM."""

import os
import signal
import time
from multiprocessing.connection import Connection

from sij_node.analyse.analysis_process import (
    AnalysisOutcome,
    AnalysisRequest,
    LoadedNetworks,
    serve_requests,
)
from sij_node.domain.job import Result
from sij_node.errors import PairMissing, WeightsRefused

SLEEPY, DEADLY, BROKEN, HOPELESS = "sleepy", "deadly", "broken", "hopeless"
OUT_OF_MEMORY = "out of memory"


def child(pipe: Connection, results: tuple[Result, ...]) -> None:
    """Answer by the AE title of the study's first instance; otherwise with `results`."""
    serve_requests(pipe, lambda order: _outcome(order, results))


def child_without_weights(pipe: Connection) -> None:
    pipe.send(WeightsRefused("The networks cannot be used: no weights."))


def child_that_dies_at_once(pipe: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def child_that_hangs_up(pipe: Connection) -> None:
    pipe.send(LoadedNetworks())
    pipe.close()
    time.sleep(600)


def child_that_dies_with_an_order_unread(pipe: Connection) -> None:
    """Dies while it draws images and the next order waits."""
    pipe.send(LoadedNetworks())
    pipe.poll(600)
    os.kill(os.getpid(), signal.SIGKILL)


def _outcome(order: AnalysisRequest, results: tuple[Result, ...]) -> AnalysisOutcome:
    match order.instances[0].source_ae:
        case "sleepy":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        case "deadly":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "broken":
            raise KeyError("Muster^Erika")
        case "out of memory":
            raise MemoryError
        case "hopeless":
            return AnalysisOutcome(results, rejected=PairMissing("No T1."))
    return AnalysisOutcome(results, weights=order.weights or "contour 1.0")
