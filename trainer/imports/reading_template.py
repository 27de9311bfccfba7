"""A table of readings to fill in, for case files: ``python -m trainer reading-template``."""

from pathlib import Path
from typing import Annotated

import typer

from models.case_file import SUFFIX, CaseFileInvalid, read_case_file
from models.reading_table import write_template


def reading_template(
    folder: Annotated[Path, typer.Argument(help=f"Folder with *{SUFFIX} files.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    reader: Annotated[list[str], typer.Option(help="Name of a reader; can be repeated.")],
) -> None:
    """Write a table of readings for every case file: one row per position, scores left empty."""
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    if not paths:
        raise typer.BadParameter(f"{folder} contains no *{SUFFIX} files")
    if out.exists():
        raise CaseFileInvalid(f"{out} exists; name another file, so that no readings are lost")
    rows = write_template(
        out, [(read_case_file(path).subject, _visit(path)) for path in paths], reader
    )
    typer.echo(f"{out}: {rows} rows for {len(paths)} visits and {len(reader)} readers")


def _visit(path: Path) -> int:
    """The visit that a case file's name ends with."""
    _, dash, visit = path.name.removesuffix(SUFFIX).rpartition("-")
    if not dash or not visit.isdecimal():
        raise CaseFileInvalid(f"{path} does not end with its visit, for instance S001-1{SUFFIX}")
    return int(visit)
