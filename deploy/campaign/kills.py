"""Random kills of all processes of a node, under load and through cut connections (T02, T34, T39).

Studies without a STIR series are rejected with a report, so every step of a job is reached within
seconds and without the networks' computing time; the analysis process is real and is killed too.
"""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.bench.footprint import tree_of
from deploy.campaign.fault_proxy import FaultProxy
from deploy.campaign.invariants import violations
from deploy.campaign.senders import SENDER, Ledger, send_until_acknowledged, small_study
from deploy.demo.archive import Archive
from deploy.trial import free_port, set_up

SENDERS = 4
CUT_SHARE = 0.2
ROLES = {
    "listener": "sij_node listen",
    "worker": "sij_node work",
    "analysis process": "spawn_main",
    "supervisor and all": "sij_node run",
}
UNDER_LOAD = {"listener": 4, "worker": 2, "analysis process": 2, "supervisor and all": 1}
WHILE_ANALYSING = {"worker": 3, "analysis process": 3, "listener": 1}
"""Relative frequencies of kills while images come in, and while the jobs are worked off."""
_READY_LIMIT_S = 180.0
_DRAIN_LIMIT_S = 600.0


@dataclass
class KillFigures:
    """What was done to the node, and what became of it.

    Parameters
    ----------
    kills
        By role.
    states
        How often a job was in a state when a process was killed.
    ready_s
        From each kill to the next accepted connection.
    """

    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    ready_s: list[float] = field(default_factory=list)
    acknowledged: int = 0
    studies: int = 0
    associations: int = 0
    connections: int = 0
    cut: int = 0
    sent_to_archive: int = 0
    at_archive: int = 0
    seconds: float = 0.0


class _CountingArchive(Archive):
    """Counts how often each object is sent."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SENDER)
        self.sent: Counter[str] = Counter()

    def _store(self, event: object) -> int:
        self.sent[str(event.request.AffectedSOPInstanceUID)] += 1  # type: ignore[attr-defined]
        return super()._store(event)  # type: ignore[arg-type]


def kill_at_random(folder: Path, kills: int, seconds: float, seed: int) -> KillFigures:
    """Kill processes of a node until the number or the time is reached.

    A folder of an earlier, interrupted run is continued.
    """
    numbers, figures, began = random.Random(seed), KillFigures(), time.monotonic()  # noqa: S311
    ledger, stop = Ledger(folder / "acknowledged.jsonl"), threading.Event()
    with ExitStack() as running:
        archive = running.enter_context(_CountingArchive(folder / "archive"))
        out = running.enter_context(FaultProxy(archive.port, CUT_SHARE, numbers))
        node = running.enter_context(_running_node(folder / "node", out.port))
        into = running.enter_context(FaultProxy(node.port, CUT_SHARE, numbers))
        senders = [
            threading.Thread(
                target=_send_studies, args=(seed + one, into.port, ledger, stop, figures)
            )
            for one in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        while figures.kills.total() < kills / 2 and time.monotonic() - began < seconds / 2:
            time.sleep(numbers.uniform(1, 5))
            _kill_one(node, numbers, figures, UNDER_LOAD)
        stop.set()
        for sender in senders:
            sender.join()
        while figures.kills.total() < kills and time.monotonic() - began < seconds:
            time.sleep(numbers.uniform(1, 5))
            _kill_one(node, numbers, figures, WHILE_ANALYSING)
        _drain(node)
        figures.connections, figures.cut = out.connections + into.connections, out.cut + into.cut
    figures.seconds = time.monotonic() - began
    return _counted(figures, ledger, archive)


def _counted(figures: KillFigures, ledger: Ledger, archive: _CountingArchive) -> KillFigures:
    lines = ledger.lines()
    figures.acknowledged = len(lines)
    figures.studies = len({line["study"] for line in lines})
    figures.sent_to_archive = archive.sent.total()
    figures.at_archive = len(list(archive.folder.glob("*.dcm")))
    return figures


def judge(folder: Path) -> list[str]:
    """Promises that were broken in a campaign's folder, in words."""
    lines = Ledger(folder / "acknowledged.jsonl").lines()
    return violations(folder / "node" / "data", lines, folder / "archive")


def _send_studies(
    seed: int, port: int, ledger: Ledger, stop: threading.Event, figures: KillFigures
) -> None:
    """Send studies one after the other; the last one is finished even after the stop."""
    numbers = random.Random(seed + time.time_ns())  # noqa: S311 - new UIDs when continued
    never = threading.Event()
    while not stop.is_set():
        images = list(small_study(numbers))
        figures.associations += send_until_acknowledged(images, port, ledger, never)
        stop.wait(numbers.uniform(0.5, 2))


# ---- the node ------------------------------------------------------------------------------------


@dataclass
class _Node:
    config: Path
    data: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "sij_node", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> float:
        """Seconds until a connection is accepted."""
        began = time.monotonic()
        while time.monotonic() - began < _READY_LIMIT_S:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return time.monotonic() - began
            time.sleep(0.05)
        raise TimeoutError(f"The node did not listen again within {_READY_LIMIT_S:g} s.")

    def pids(self, role: str) -> list[int]:
        found = []
        for pid in tree_of(self.process.pid) if self.process else []:
            with suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if ROLES[role] in command:
                    found.append(pid)
        return found

    def kill_all(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def states(self) -> Counter[str]:
        with closing(sqlite3.connect(f"file:{self.data / 'jobs.sqlite'}?mode=ro", uri=True)) as one:
            return Counter(dict(one.execute("SELECT state, count(*) FROM jobs GROUP BY state")))


@contextmanager
def _running_node(folder: Path, archive_port: int) -> Iterator[_Node]:
    port = free_port()
    trial = set_up(
        folder,
        SENDER,
        archive_port,
        port,
        study={"stable_age_s": 2, "stable_age_without_pair_s": 12},
        worker={"lease_s": 8},
        retry={"initial_delay_s": 0.5, "max_delay_s": 2, "analysis_attempts": 30},
        delivery={"connect_timeout_s": 5, "response_timeout_s": 10},
        spool={"min_free_mb": 10},
    )
    node = _Node(trial.config, folder / "data", trial.peer.port, folder / "node.log")
    node.start()
    try:
        node.wait_until_ready()
        yield node
    finally:
        if node.process is not None and node.process.poll() is None:
            node.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                node.process.wait(60)
        node.kill_all()


def _kill_one(
    node: _Node, numbers: random.Random, figures: KillFigures, shares: Mapping[str, int]
) -> None:
    role = numbers.choices(list(shares), weights=list(shares.values()))[0]
    pids = node.pids(role)
    if not pids:
        return
    with suppress(sqlite3.Error):
        figures.states += node.states()
    if role == "supervisor and all":
        node.kill_all()
        node.start()
    else:
        with suppress(ProcessLookupError):
            os.kill(numbers.choice(pids), signal.SIGKILL)
    figures.kills[role] += 1
    if role in ("listener", "supervisor and all"):
        time.sleep(0.2)  # the kernel closes the old socket
        figures.ready_s.append(0.2 + node.wait_until_ready())


def _drain(node: _Node) -> None:
    """Wait until no job is in progress; what is still in progress then is a violation."""
    deadline = time.monotonic() + _DRAIN_LIMIT_S
    while time.monotonic() < deadline:
        with suppress(sqlite3.Error):
            busy = node.states() & Counter(dict.fromkeys(_IN_PROGRESS, 1))
            if not busy and not _pending(node):
                return
        time.sleep(1)


_IN_PROGRESS = ("receiving", "queued", "analysing", "delivering")


def _pending(node: _Node) -> int:
    with closing(sqlite3.connect(f"file:{node.data / 'jobs.sqlite'}?mode=ro", uri=True)) as one:
        pending = "SELECT count(*) FROM deliveries WHERE state = 'pending'"
        leased = "SELECT count(*) FROM jobs WHERE leased_by <> ''"
        return int(one.execute(pending).fetchone()[0]) + int(one.execute(leased).fetchone()[0])
