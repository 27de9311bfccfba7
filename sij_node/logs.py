"""Structured logging with a closed list of keys, which keeps patient data out of the log.

Each line is one unit of work: a constant event and facts under keys from `KEYS`. Any other key is
dropped. Messages of libraries are dropped too: they may quote values of a dataset.
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
"""The keys that reach the log."""


def configure_logging(form: Literal["json", "terminal"]) -> None:
    """Write the node's log to standard error, and silence the loggers of libraries.

    Parameters
    ----------
    form
        ``json`` for log collectors, ``terminal`` for reading.
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
    logging.captureWarnings(True)  # some libraries override the filter


def _locate_errors(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace an exception by its class and traceback locations.

    Only the messages of `NodeError` are kept; others may quote patient data.
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
    structlog.get_logger().error("process crashed", exc_info=error.with_traceback(trace))


def _log_uncaught_in_thread(end: threading.ExceptHookArgs) -> None:
    structlog.get_logger().error("thread crashed", exc_info=end.exc_value)
