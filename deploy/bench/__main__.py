"""`make bench`: run all benchmarks and write docs/benchmarks.md.

A benchmark that cannot run (server not installed, no weights) is listed as not measured.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import models
from deploy.bench.analysis_stages import measure_study, phantom_case
from deploy.bench.benchmarks_page import PARTS, Results, page
from deploy.bench.ingest import Report, measure_ingest
from deploy.bench.jobs import measure_jobs
from deploy.bench.result_costs import measure_objects
from deploy.bench.servers import MeasurementFailed
from deploy.bench.system_info import system_info
from deploy.bench.whole_node import measure_node
from deploy.trial import prefer_programs_of_the_system
from models.weights import WeightsInvalid
from sij_node.errors import NodeError

WEIGHTS = Path(models.__file__).parent / "weights"
Measured = TypeVar("Measured")
_LEFT_OUT = "Excluded by --only."
_EXPECTED = (MeasurementFailed, WeightsInvalid, NodeError, OSError)

console = Console()


def main(
    out: Annotated[
        Path, typer.Option(help="Output page; the figures are written next to it as JSON.")
    ] = Path("docs/benchmarks.md"),
    repeats: Annotated[
        int, typer.Option(min=1, help="Runs per benchmark; medians are reported.")
    ] = 5,
    weights: Annotated[
        Path | None, typer.Option(help="Weights folder (default: the shipped weights).")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run only these: {', '.join(PARTS)}.")
    ] = None,
) -> None:
    """Run all benchmarks (under six minutes on two idle cores)."""
    prefer_programs_of_the_system()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="sij_node_bench_") as scratch, _progress() as progress:
        step = progress.add_task("starting")
        results = _measure(
            Path(scratch),
            weights,
            repeats,
            only or list(PARTS),
            lambda words: progress.update(step, description=words),
        )
    _write(results, out)
    if set(results.missing.values()) - {_LEFT_OUT}:
        raise typer.Exit(1)


def _measure(
    scratch: Path, weights: Path | None, repeats: int, wanted: list[str], report: Report
) -> Results:
    case, missing = phantom_case(), dict[str, str]()

    def attempt(part: str, measure: Callable[[Path], Measured]) -> Measured | None:
        if part not in wanted:
            missing[part] = _LEFT_OUT
            return None
        try:
            return measure(scratch / part)
        except _EXPECTED as error:
            missing[part] = str(error)
            console.print(f"[bold red]{part} was not measured: {error}[/]")
            return None

    return Results(
        system_info(scratch),
        attempt("ingest", lambda folder: measure_ingest(folder, repeats, report)),
        attempt(
            "study", lambda folder: measure_study(folder, weights or WEIGHTS, case, repeats, report)
        ),
        attempt(
            "objects",
            lambda folder: measure_objects(folder, weights or WEIGHTS, case, repeats, report),
        ),
        attempt("node", lambda folder: measure_node(folder, weights, case, repeats, report)),
        attempt("jobs", lambda folder: measure_jobs(folder, repeats, report)),
        missing,
    )


def _write(results: Results, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    text = page(results)
    out.write_text(text, encoding="utf-8")
    numbers = out.with_suffix(".json")
    numbers.write_text(json.dumps(asdict(results), default=str, indent=1) + "\n", encoding="utf-8")
    console.print(Markdown(text))
    console.print(f"Page: {out}   Numbers: {numbers}")


def _progress() -> Progress:
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())


if __name__ == "__main__":
    typer.run(main)
