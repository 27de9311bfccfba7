"""How commands print: tables for people, JSON for scripts."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_line(text: str) -> None:
    """Print one line as it is, for a person or a script."""
    Console(highlight=False).print(text, soft_wrap=True, markup=False)


TABLE_COLUMNS = 100
"""Width of tables in characters; a narrower terminal makes them narrower."""
_AS_WIDE_AS_NEEDED = 10_000


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, is_wide: bool = False
) -> None:
    """Print a table; what images state is printed as it is, without control characters.

    Parameters
    ----------
    is_wide
        Put each row on one line, however long; otherwise cells are wrapped.
    """
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_printable(cell)) for cell in row))
    terminal = Console()
    width = min(terminal.width, TABLE_COLUMNS) if terminal.is_terminal else TABLE_COLUMNS
    Console(width=_AS_WIDE_AS_NEEDED if is_wide else width).print(table)


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)


def print_json(content: Any) -> None:
    """Print JSON; what JSON lacks is printed as text."""
    print(json.dumps(content, default=str, indent=2))  # noqa: T201


def time_of(moment: datetime) -> str:
    """Date and time in UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def dimse_status(status: int | None) -> str:
    """A DIMSE status in hexadecimal; empty without one."""
    return "" if status is None else f"0x{status:04X}"
