"""The closed vocabulary of the log: what may be written, and nothing about a patient.

Each line is one unit of work: a constant event, and facts under keys from `KEYS`. A key that is
not in the list never reaches the log, so a new fact has to be thought about first. Messages of
libraries are dropped: they may quote values of a dataset.
"""

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from sij_node.errors import NodeError

KEYS = frozenset(
    {
        "address",
        "associations",
        "attempt",
        "bytes",
        "channel",
        "destination",
        "device",
        "error",
        "event",
        "exit_status",
        "host",
        "instances",
        "job_id",
        "level",
        "model",
        "objects",
        "peer",
        "pid",
        "port",
        "process",
        "reason",
        "reason_code",
        "refused",
        "removed",
        "seconds",
        "sop_class",
        "state",
        "status",
        "step",
        "timestamp",
        "where",
        "worker",
    }
)
"""Every key a log line may carry."""


def configure_logging(form: Literal["json", "terminal"]) -> None:
    """Send the node's log to standard error, and silence everything else.

    Parameters
    ----------
    form
        ``json`` for machines, ``terminal`` for people.
    """
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _locate_errors,
            _keep_known_keys,
            _escape_control_characters,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    _silence_libraries()
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _silence_libraries() -> None:
    logging.getLogger().handlers[:] = [logging.NullHandler()]
    logging.lastResort = None
    warnings.simplefilter("ignore")
    logging.captureWarnings(True)  # some libraries have theirs shown whatever is ignored


def _locate_errors(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace an exception by its class and the lines it passed.

    Its message is kept for errors of our own only; others may quote a patient.
    """
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return event
    event["error"] = type(error).__name__
    if isinstance(error, NodeError):
        event["reason"] = str(error)
    event["where"] = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return event


def _keep_known_keys(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {key: value for key, value in event.items() if key in KEYS}


def _escape_control_characters(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {
        key: _printable(value) if isinstance(value, str) else value for key, value in event.items()
    }


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    structlog.get_logger().error("stopped by an error", exc_info=error.with_traceback(trace))


def _log_uncaught_in_thread(end: threading.ExceptHookArgs) -> None:
    structlog.get_logger().error("thread stopped by an error", exc_info=end.exc_value)
