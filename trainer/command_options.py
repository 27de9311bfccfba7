"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ExperimentFile = Annotated[Path, typer.Option("--experiment", help="Experiment file (TOML).")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a setting of the experiment: KEY=VALUE or SECTION.KEY=VALUE."
    ),
]
Device = Annotated[str, typer.Option(help="auto (a GPU if available), cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 for one per core.")]
