"""`run`, `listen`, `work`, `web`: the processes of the node."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

from sij_node.cli.opening import on_demand, with_logging
from sij_node.cli.options import DEFAULT_CONFIG, ConfigFile
from sij_node.processes import assembly, supervisor

app = typer.Typer()


@app.command()
def run(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the whole node on this host: listener, workers and web server."""
    settings = with_logging(config)
    with assembly.open_store(settings):
        pass  # a database that cannot be opened is reported before any process starts
    names = ["listen", *["work"] * settings.worker.processes]
    if settings.web.enabled:
        names.append("web")
    program = [sys.executable, "-m", "sij_node"]
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
