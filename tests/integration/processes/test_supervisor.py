"""`sij-node run`: processes are kept running, and ended together."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sij_node.processes.supervisor import keep_running

PATIENCE_S = 60
NOTE_AND_SLEEP = """
import os, pathlib, time
with pathlib.Path({notes!r}).open("a") as notes:
    notes.write(f"{{os.getpid()}}\\n")
time.sleep(600)
"""


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def pids(notes: Path) -> list[int]:
    return [int(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_dies_is_started_again_and_all_end_at_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sij_node.processes.supervisor.FIRST_WAIT_S", 0.1)
    notes, stop, status = tmp_path / "pids", threading.Event(), []
    command = python(NOTE_AND_SLEEP.format(notes=str(notes)))
    command += ["work", "--config", "config.toml"]
    thread = threading.Thread(target=lambda: status.append(keep_running([command], stop)))
    with capture_logs() as lines:
        thread.start()
        try:
            wait_until(lambda: len(pids(notes)) == 1)
            os.kill(pids(notes)[0], signal.SIGKILL)
            wait_until(lambda: len(pids(notes)) == 2)
        finally:
            stop.set()
            thread.join(PATIENCE_S)

    assert status == [0]
    assert not any(is_running(pid) for pid in pids(notes))
    assert [(line["event"], line["process"]) for line in lines] == [("process died", "work")]


def test_a_process_that_can_never_work_ends_all_with_its_status(tmp_path: Path):
    notes = tmp_path / "pids"
    sleeping = python(NOTE_AND_SLEEP.format(notes=str(notes)))
    hopeless = python("import sys, time; time.sleep(0.5); sys.exit(78)")

    status = keep_running([sleeping, hopeless], threading.Event())

    assert status == 78
    assert not any(is_running(pid) for pid in pids(notes))


def test_a_page_that_cannot_start_leaves_the_others_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sij_node.processes.supervisor.FIRST_WAIT_S", 0.1)
    notes, tries, stop, status = tmp_path / "pids", tmp_path / "tries", threading.Event(), []
    listener = python(NOTE_AND_SLEEP.format(notes=str(notes)))
    hopeless = NOTE_AND_SLEEP.format(notes=str(tries)).replace("time.sleep(600)", "os._exit(78)")
    commands = [[*listener, "listen"], [*python(hopeless), "web"]]
    thread = threading.Thread(target=lambda: status.append(keep_running(commands, stop, ("web",))))
    thread.start()
    try:
        wait_until(lambda: len(pids(tries)) >= 2)
        assert is_running(pids(notes)[0])
    finally:
        stop.set()
        thread.join(PATIENCE_S)

    assert (status, len(pids(notes))) == ([0], 1)


def test_a_temporary_failure_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sij_node.processes.supervisor.FIRST_WAIT_S", 0.1)
    notes = tmp_path / "pids"
    script = NOTE_AND_SLEEP.format(notes=str(notes)).replace(
        "time.sleep(600)", "raise SystemExit(75)"
    )
    stop = threading.Event()
    thread = threading.Thread(target=keep_running, args=([python(script)], stop))
    thread.start()
    try:
        wait_until(lambda: len(pids(notes)) >= 2)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_when_the_supervisor_is_killed_its_processes_end_too(tmp_path: Path):
    notes = tmp_path / "pids"
    command = python(NOTE_AND_SLEEP.format(notes=str(notes)))
    supervise = (
        "import threading; from sij_node.processes.supervisor import keep_running; "
        f"keep_running([{command!r}], threading.Event())"
    )
    supervisor = subprocess.Popen(python(supervise))
    try:
        wait_until(lambda: len(pids(notes)) == 1)
    finally:
        supervisor.kill()
        supervisor.wait()

    wait_until(lambda: not is_running(pids(notes)[0]))
