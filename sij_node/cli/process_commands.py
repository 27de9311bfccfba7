"""`run`, `listen`, `work`, `web`: the processes of the node."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from types import FrameType

import typer

from sij_node.cli.opening import on_demand, with_logging
from sij_node.cli.options import DEFAULT_CONFIG, ConfigFile
from sij_node.processes import assembly, supervisor
from sij_node.receive.listener import require_free_port

app = typer.Typer()


@app.command()
def run(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the whole node on this host: listener, workers and web server.

    Ends at once with what `check-config` reports if the node cannot start.
    """
    settings = with_logging(config)
    program = [sys.executable, "-m", "sij_node"]
    require_free_port(settings.listener)
    # In a process of its own: it loads torch, whose memory this one must not keep.
    command = [*program, "check-config", "--config", str(config)]
    status = subprocess.run(command, stdout=DEVNULL, check=False).returncode  # noqa: S603
    if status:
        sys.exit(status)
    with assembly.open_store(settings):
        pass  # created or migrated before any process starts
    names = ["listen", *["work"] * settings.worker.processes]
    if settings.web.enabled:
        names.append("web")
    commands = [[*program, name, "--config", str(config)] for name in names]
    with _stopped_by_signals() as stop:
        sys.exit(supervisor.keep_running(commands, stop, dispensable=("web",)))


@app.command()
def listen(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the listener: Storage SCP, scheduler and alerts."""
    _run_process("listener", config)


@app.command()
def work(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run a worker, which analyses and delivers; any number, on any host."""
    _run_process("worker", config)


@app.command()
def web(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the web server: pages, HTTP API and metrics."""
    _run_process("web", config)


def _run_process(name: str, config: Path) -> None:
    settings = with_logging(config)
    with _stopped_by_signals() as stop:
        on_demand(f"processes.{name}_process").run(settings, stop)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set: the process then drains and ends."""
    stop = threading.Event()

    def set_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, set_stop)
    yield stop
