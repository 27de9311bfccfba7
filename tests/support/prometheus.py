"""Debian's Prometheus, scraping one target with the shipped alert rules."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from deploy.trial import free_port
from tests.support.required_programs import program
from tests.support.waiting import PATIENCE_S, wait_for

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"


class Prometheus:
    """A server on a loopback port, with its own folder."""

    def __init__(self, folder: Path, target: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copy(SHIPPED / "rules.yml", folder)
        shipped = (SHIPPED / "prometheus.yml").read_text(encoding="utf-8")
        often = shipped.replace("15s", "1s").replace("127.0.0.1:8570", target)
        (folder / "prometheus.yml").write_text(often, encoding="utf-8")

    def start(self) -> None:
        """Start it and wait until it responds."""
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus", "prometheus"),
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'storage'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for(self._answers, "answer of Prometheus")

    def stop(self) -> None:
        """Stop it and wait until it has exited."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=PATIENCE_S)

    def ask(self, path: str, **parameters: str) -> Any:
        """Response of its HTTP API."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def values(self, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The value of each series matching a query, by labels."""
        found = self.ask("query", query=query)["result"]
        return {
            tuple(
                sorted(
                    label
                    for label in one["metric"].items()
                    if label[0] not in ("__name__", "job", "instance")
                )
            ): float(one["value"][1])
            for one in found
        }

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            log = (self._folder / "prometheus.log").read_text(encoding="utf-8")
            raise RuntimeError(f"Prometheus did not start: {log[-2000:]}")
        try:
            return bool(self.ask("status/buildinfo"))
        except (URLError, ConnectionError):
            return False


@contextmanager
def running_prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """A Prometheus within a ``with`` block."""
    folder.mkdir(parents=True, exist_ok=True)
    prometheus = Prometheus(folder, target)
    try:
        prometheus.start()
        yield prometheus
    finally:
        prometheus.stop()
