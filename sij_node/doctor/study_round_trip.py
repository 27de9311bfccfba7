"""A phantom study from end to end: sent to a temporary node, analysed, and received back.

The temporary node runs as an administrator would start it, with the configured networks and
device, but with its own folder and ports: the real queue and archive are not involved.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import StoragePresentationContexts

from sij_node.config.settings import Config, DeliveryConfig, PeerConfig
from sij_node.doctor.assessments import RoundTrip
from sij_node.errors import DestinationUnavailable
from sij_node.network.dicom_folder import contents_of
from sij_node.network.store_scu import StoreScu

STUDY = Path(__file__).parent / "study.zip"
NODE, DESTINATION, HERE = "DOCTOR_NODE", "DOCTOR_PACS", "127.0.0.1"
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 45.0
POLL_S = 0.2
EXPECTED_RESULTS = 4
"""The profile `minimal` sends the summary, the report of all scores, and a segmentation of each
series."""


def send_test_study(config: Config, timeout_s: float) -> RoundTrip:
    """Send the phantom study through a temporary node and wait for its results.

    Parameters
    ----------
    timeout_s
        How long the study may take once the node responds.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sij-doctor-") as name, _destination() as received:
        folder, peer = Path(name), _node_at(_free_port())
        settings = _write_settings(folder, config, peer.port, received.port)
        with _running(settings, folder / "log") as node:
            problem = node.wait_until(lambda: _responds(peer), START_TIMEOUT_S)
            problem = problem or _send(folder, peer)
            problem = problem or node.wait_until(
                lambda: len(received.objects) >= EXPECTED_RESULTS, timeout_s
            )
    problem = problem or _missing_results(received.objects)
    return RoundTrip(problem, len(received.objects), time.monotonic() - began)


class _Received:
    """What the test destination has received."""

    def __init__(self) -> None:
        self.objects: list[Dataset] = []
        self.port = 0

    def keep(self, event: evt.Event) -> int:
        self.objects.append(event.dataset)
        return 0x0000


@contextmanager
def _destination() -> Iterator[_Received]:
    """A Storage SCP on a free port that keeps what it receives in memory."""
    received = _Received()
    entity = AE(ae_title=DESTINATION)
    entity.supported_contexts = StoragePresentationContexts
    server = entity.start_server(
        (HERE, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, received.keep)]
    )
    if server is None:
        raise OSError("the test destination could not be started")
    received.port = int(server.server_address[1])
    try:
        yield received
    finally:
        entity.shutdown()


class _Node:
    """The process of the temporary node."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> str:
        """Wait for a condition; returns the problem, or an empty text."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._process.poll() is not None:
                return (
                    f"The node exited with status {self._process.returncode}: {self._last_line()}"
                )
            if time.monotonic() > deadline:
                return (
                    f"No response within {timeout_s:.0f} s; its last log line: {self._last_line()}"
                )
            time.sleep(POLL_S)
        return ""

    def _last_line(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        messages = [line for line in lines if line.startswith("sij-node:")]
        return (messages or lines or ["none."])[-1]


@contextmanager
def _running(settings: Path, log: Path) -> Iterator[_Node]:
    """Run `sij-node run` until the block ends."""
    command = [sys.executable, "-m", "sij_node", "run", "--config", str(settings)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603
    try:
        yield _Node(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write_settings(folder: Path, config: Config, port: int, destination_port: int) -> Path:
    """The configuration of the temporary node: of the real one, only [worker] is used."""
    worker = config.worker.model_dump(mode="json", exclude_none=True) | {"processes": 1}
    sections: Mapping[str, Mapping[str, object]] = {
        "[node]": {"ae_title": NODE, "data_folder": str(folder / "data")},
        "[listener]": {"port": port},
        "[web]": {"enabled": False},
        "[[peer]]": {
            "ae_title": DESTINATION,
            "networks": [HERE],
            "host": HERE,
            "port": destination_port,
        },
        "[study]": {"stable_age_s": 1, "stable_age_without_pair_s": 10},
        "[worker]": worker,
        "[retry]": {"analysis_attempts": 1, "initial_delay_s": 1, "max_delay_s": 2},
        "[spool]": {"min_free_mb": 0},
    }
    settings = folder / "config.toml"
    settings.write_text(
        "\n".join(
            "\n".join([title, *(f"{key} = {json.dumps(value)}" for key, value in content.items())])
            for title, content in sections.items()
        ),
        encoding="utf-8",
    )
    return settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def _node_at(port: int) -> PeerConfig:
    return PeerConfig(ae_title=NODE, networks=(HERE,), host=HERE, port=port)


def _responds(peer: PeerConfig) -> bool:
    try:
        StoreScu(DESTINATION, DeliveryConfig(connect_timeout_s=2)).echo(peer)
    except DestinationUnavailable:
        return False
    return True


def _send(folder: Path, peer: PeerConfig) -> str:
    """Send the phantom; returns the problem, or an empty text."""
    images = folder / "images"
    with zipfile.ZipFile(STUDY) as bundle:
        bundle.extractall(images)
    try:
        for sent in StoreScu(DESTINATION, DeliveryConfig()).send(peer, contents_of(images).objects):
            if not sent.acknowledged:
                return f"The node did not accept an image of the phantom: {sent.note}"
    except DestinationUnavailable as error:
        return str(error)
    return ""


def _missing_results(objects: list[Dataset]) -> str:
    """Check for summary, report and segmentation; returns the problem, or an empty text."""
    kinds = sorted(str(one.get("Modality")) for one in objects)
    return "" if {"OT", "SEG", "SR"} <= set(kinds) else f"Only {', '.join(kinds)} came back."
