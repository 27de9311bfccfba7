"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="SIJ_NODE_CONFIG", help="Configuration file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
AsWide = Annotated[bool, typer.Option("--wide", help="One line per row, however long.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of rows.")]
UserName = Annotated[str, typer.Argument(help="User name.")]
JobNumber = Annotated[int, typer.Argument(help="Job number.")]
Title = Annotated[str, typer.Argument(help="AE title of a configured peer.")]
StudyUid = Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID.")]
DEFAULT_CONFIG = Path("config.toml")
