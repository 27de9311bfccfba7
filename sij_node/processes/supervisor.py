"""Runs listener, workers and web server on one host and restarts them.

They are separate processes that share only database and spool, so a crash of one neither refuses
an instance nor loses a job of another.
"""

import ctypes
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import structlog

from sij_node.domain.backoff import next_delay_s

log = structlog.get_logger()

STOP_LIMIT_S = 40.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
STEADY_S = 60.0
"""After a run of this length the restart delay is reset to the shortest."""
PERMANENT = range(64, 80)
"""Exit statuses (BSD sysexits) after which a restart does not help, except `TEMPORARY`."""
TEMPORARY = 75
PR_SET_PDEATHSIG = 1


@dataclass
class _Supervised:
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    wait_s: float = FIRST_WAIT_S
    due: float | None = None


def keep_running(
    commands: Sequence[Sequence[str]], stop: threading.Event, dispensable: Collection[str] = ()
) -> int:
    """Start commands, restart them when they exit, and end them when `stop` is set.

    Parameters
    ----------
    dispensable
        Subcommands that are restarted even if they cannot run, for instance because their port is
        in use: the others do not depend on them.

    Returns
    -------
    int
        0 after a stop; otherwise the exit status of a process that cannot run, for instance
        because of its configuration. All other processes are ended as well.
    """
    supervised = [_Supervised(command, _started(command)) for command in commands]
    try:
        while not stop.wait(0.2):
            for one in supervised:
                status = one.process.poll()
                if status is None:
                    continue
                is_permanent = status in PERMANENT and status != TEMPORARY
                if is_permanent and _name(one.command) not in dispensable:
                    return status
                _restart_when_due(one, status)
        return 0
    finally:
        _end([one.process for one in supervised])


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, preexec_fn=_terminate_with_parent)  # noqa: PLW1509, S603


def _terminate_with_parent() -> None:
    """Have the kernel send SIGTERM when the supervisor dies (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _restart_when_due(one: _Supervised, status: int) -> None:
    now = time.monotonic()
    if one.due is None:
        if now - one.started > STEADY_S:
            one.wait_s = FIRST_WAIT_S
        name = _name(one.command)
        log.error("process died", process=name, exit_status=status, seconds=one.wait_s)
        one.due = now + one.wait_s
    if now >= one.due:
        one.process = _started(one.command)
        one.started, one.due = now, None
        one.wait_s = next_delay_s(one.wait_s, FIRST_WAIT_S, LONGEST_WAIT_S)


def _name(command: Sequence[str]) -> str:
    """The subcommand: the last word before the options."""
    *_, name = takewhile(lambda word: not word.startswith("--"), command)
    return name


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_LIMIT_S
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("process killed, it did not stop", pid=process.pid)
            process.kill()
            process.wait()
