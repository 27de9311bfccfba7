"""CSV tables of which some columns are required."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from models.case_file import CaseFileInvalid

Row = Mapping[str, str]


def rows_of(
    lines: Iterable[str], columns: Sequence[str], path: Path, dialect: type[csv.Dialect] = csv.excel
) -> Iterator[tuple[int, Row]]:
    """The rows of a table, each with its line number; a short row has None in its last columns.

    Parameters
    ----------
    lines
        Of the table, its head first.
    columns
        Required; others are ignored.
    path
        For messages.

    Raises
    ------
    CaseFileInvalid
        If a column is missing.
    """
    table = csv.DictReader(lines, dialect=dialect)
    missing = [name for name in columns if name not in (table.fieldnames or ())]
    if missing:
        raise CaseFileInvalid(
            f"{path} lacks the column(s) {', '.join(missing)}; required are {', '.join(columns)}"
        )
    for row in table:
        yield table.line_num, row


def cells_of(row: Row, columns: Sequence[str]) -> dict[str, str]:
    """The cells of some columns without surrounding spaces; empty where a row is short."""
    return {name: (row[name] or "").strip() for name in columns}
