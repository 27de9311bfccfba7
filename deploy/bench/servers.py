"""The servers under comparison, each started as its documentation says and stopped by its pid."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from deploy.bench.footprint import tree_of
from deploy.trial import free_port, set_up

CALLING = "BENCH"
NODE, STORESCP, ORTHANC = "sij_node", "DCMTK storescp", "Orthanc"
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_ACCEPTED = 2
_START_LIMIT_S = 30.0
_END_LIMIT_S = 15.0


class MeasurementFailed(Exception):
    """A benchmark could not be run; the message says which and why."""


@dataclass(frozen=True)
class Server:
    """A storage SCP and how to start it.

    Parameters
    ----------
    program
        Executable that must be installed.
    stored
        Folder in which received instances are stored.
    nodelay
        Whether TCP_NODELAY is set for it. The node always sets it.
    """

    name: str
    title: str
    port: int
    program: str
    command: tuple[str, ...]
    stored: Path
    nodelay: bool

    @property
    def is_installed(self) -> bool:
        """Whether its executable is installed."""
        return shutil.which(self.program) is not None


@dataclass(frozen=True, eq=False)
class Running:
    """A running server and its process."""

    server: Server
    process: subprocess.Popen[bytes]


def storescp(folder: Path, nodelay: bool) -> Server:
    """DCMTK storescp in bit preserving mode, one process per association."""
    folder.mkdir(parents=True)
    port = free_port()
    options = ["--fork", "+B", "-pdu", "131072", "-aet", "STORESCP", "-od", str(folder)]
    return Server(
        STORESCP, "STORESCP", port, "storescp", ("storescp", *options, str(port)), folder, nodelay
    )


def orthanc(folder: Path, nodelay: bool) -> Server:
    """Orthanc with default settings: no plugins, every file synced."""
    folder.mkdir(parents=True)
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "Plugins": [],
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings), encoding="utf-8")
    return Server(
        ORTHANC,
        "ORTHANC",
        port,
        "Orthanc",
        ("Orthanc", str(configuration)),
        folder / "storage",
        nodelay,
    )


def listener(folder: Path) -> Server:
    """The node's listener, as `sij-node run` starts it; no study completes meanwhile."""
    trial = set_up(
        folder, CALLING, 104, study={"stable_age_s": 3600, "stable_age_without_pair_s": 3600}
    )
    stored = folder / "data" / "spool" / "instances"
    command = (sys.executable, "-m", "sij_node", "listen", "--config", str(trial.config))
    return Server(NODE, "SIJNODE", trial.peer.port, sys.executable, command, stored, nodelay=True)


def environment(nodelay: bool) -> Mapping[str, str]:
    """Environment of a DCMTK-based program, which reads TCP_NODELAY."""
    rest = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
    return {**rest, "TCP_NODELAY": "1"} if nodelay else rest


@contextmanager
def running(server: Server, log: Path) -> Iterator[Running]:
    """Start a server, wait until it accepts associations, and always stop it."""
    with started(server.command, log, server.nodelay) as process:
        deadline = time.monotonic() + _START_LIMIT_S
        while not _accepts_associations(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise MeasurementFailed(f"{server.name} did not start: {last_line(log)}")
            time.sleep(0.1)
        yield Running(server, process)


@contextmanager
def started(
    command: Sequence[str], log: Path, nodelay: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program within a ``with`` block; its descendants are stopped with it."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdout=output, stderr=output, env=environment(nodelay)
        )
        try:
            yield process
        finally:
            _end(process)


def last_line(log: Path) -> str:
    """The last line of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"


def _end(process: subprocess.Popen[bytes]) -> None:
    children = [pid for pid in tree_of(process.pid) if pid != process.pid]
    process.terminate()
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)


def _accepts_associations(server: Server) -> bool:
    with ExitStack() as stack:
        return idle_association(server, stack)


def idle_association(server: Server, stack: ExitStack, timeout_s: float = 2.0) -> bool:
    """Open an association that sends nothing; False if it was not accepted."""
    try:
        connection = stack.enter_context(
            socket.create_connection(("127.0.0.1", server.port), timeout_s)
        )
        connection.sendall(_associate_request(server.title))
        answer = connection.recv(1)
    except OSError:
        return False
    return answer == bytes((_ACCEPTED,))


def _associate_request(called: str) -> bytes:
    request = A_ASSOCIATE()
    request.application_context_name = _APPLICATION_CONTEXT
    request.calling_ae_title, request.called_ae_title = CALLING, called
    context = build_context(Verification)
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16384, "2.25.5"
    request.user_information = [length, implementation]
    encoded: bytes = A_ASSOCIATE_RQ(request).encode()
    return encoded
