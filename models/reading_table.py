"""Readings as one CSV table: a row for each patient, visit, reader, session, side, region, lesion.

Common spellings are accepted: ``edema``, ``BME``, ``L``, ``1.0``, ``SI joint``; a name that is
not known is refused with those that are.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from models.case_file import CaseFileInvalid, Reading
from models.csv_table import rows_of
from models.findings import POSITIONS, Lesion, Position, Region, Side

_Name = TypeVar("_Name", Side, Lesion, Region)

READING_COLUMNS = ("patient", "visit", "reader", "session", "side", "region", "lesion", "score")
HIGHEST_SCORE = 3

_SIDES = {"l": Side.LEFT, "lt": Side.LEFT, "r": Side.RIGHT, "rt": Side.RIGHT}
_LESIONS = {
    "edema": Lesion.OEDEMA,
    "bme": Lesion.OEDEMA,
    "bone marrow edema": Lesion.OEDEMA,
    "bone marrow oedema": Lesion.OEDEMA,
    "fat": Lesion.FATTY_LESION,
    "fatty": Lesion.FATTY_LESION,
    "fatty lesions": Lesion.FATTY_LESION,
    "fat lesion": Lesion.FATTY_LESION,
    "fat metaplasia": Lesion.FATTY_LESION,
    "fatty metaplasia": Lesion.FATTY_LESION,
    "erosions": Lesion.EROSION,
    "ankyloses": Lesion.ANKYLOSIS,
    "fusion": Lesion.ANKYLOSIS,
}
_BONES = {"iliac": "ilium", "ilium": "ilium", "sacral": "sacrum", "sacrum": "sacrum"}
_HALVES = {"superior": "upper", "cranial": "upper", "inferior": "lower", "caudal": "lower"}
_WHOLE = {"", "joint", "si joint", "sij", "whole", "all", "joint space"}
_MISSING = {"", "na", "n/a", "nan", "-"}


def readings_of(path: Path, subject: str, visit: int) -> tuple[Reading, ...]:
    """The readings of one visit, one for each reader and session.

    A site that a reader did not score has no row, or an empty score.

    Raises
    ------
    CaseFileInvalid
        If the table cannot be read, a column is missing, a row is invalid, or no row is of this
        visit.
    """
    found: dict[tuple[str, int], dict[Position, int]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            dialect = _dialect(file.readline())
            file.seek(0)
            for line, row in rows_of(file, READING_COLUMNS, path, dialect):
                _read_row(row, subject, visit, found, f"{path}, line {line}")
    except (OSError, UnicodeDecodeError) as error:
        raise CaseFileInvalid(f"{path} cannot be read: {error}") from error
    if not found:
        raise CaseFileInvalid(
            f"{path} has no row of subject {subject}, visit {visit}; correct the columns patient "
            "and visit or the options --subject and --visit, or leave out --readings."
        )
    return tuple(
        Reading(reader, session, scores) for (reader, session), scores in found.items() if scores
    )


def _dialect(head: str) -> type[csv.Dialect]:
    """Commas, or the semicolons and tabs of a spreadsheet."""
    delimiters = max(",;\t", key=head.count)

    class Table(csv.excel):
        delimiter = delimiters

    return Table


def _read_row(
    row: Mapping[str, str],
    subject: str,
    visit: int,
    found: dict[tuple[str, int], dict[Position, int]],
    where: str,
) -> None:
    try:
        if row["patient"].strip() != subject or whole_number(row["visit"]) != visit:
            return
        position = position_of(row["side"], row["region"], row["lesion"])
        reading = row["reader"].strip(), whole_number(row["session"])
        _note(found.setdefault(reading, {}), position, row["score"].strip())
    except (AttributeError, ValueError) as error:
        raise CaseFileInvalid(f"{where}, is invalid: {error}") from error


def _note(scores: dict[Position, int], position: Position, text: str) -> None:
    if text.lower() in _MISSING:
        return
    score = whole_number(text)
    if not 0 <= score <= HIGHEST_SCORE:
        raise ValueError(f"score {score} is not within 0 to {HIGHEST_SCORE}")
    if scores.setdefault(position, score) != score:
        raise ValueError(f"{position} has two different scores by one reader in one session")


def whole_number(text: str) -> int:
    """A whole number as spreadsheets write it, for instance ``1`` or ``1.0``.

    Raises
    ------
    ValueError
        If it is none.
    """
    number = float(text.strip())
    if number != int(number):
        raise ValueError(f"{text} is not a whole number")
    return int(number)


def position_of(side: str, region: str, lesion: str) -> Position:
    """The position that three cells of the table name.

    Raises
    ------
    CaseFileInvalid
        If one of them is not known, or the lesion is not scored in that region.
    """
    place = _side(side), _region(region), _lesion(lesion)
    for position in POSITIONS:
        if (position.side, position.head.region, position.head.lesion) == place:
            return position
    regions = {str(p.head.region) for p in POSITIONS if p.head.lesion is place[2]}
    raise CaseFileInvalid(
        f"{place[2]} is not scored in {place[1]}, but in {', '.join(sorted(regions))}"
    )


def _words(text: str) -> str:
    return " ".join(text.replace("_", " ").replace("-", " ").lower().split())


def _side(text: str) -> Side:
    word = _words(text)
    if word in _SIDES:
        return _SIDES[word]
    return _of_kind(Side, word, "side", text)


def _lesion(text: str) -> Lesion:
    word = _words(text)
    return _LESIONS[word] if word in _LESIONS else _of_kind(Lesion, word, "lesion", text)


def _region(text: str) -> Region:
    words = [_HALVES.get(word, _BONES.get(word, word)) for word in _words(text).split()]
    if " ".join(words) in _WHOLE:
        return Region.JOINT
    ordered = sorted(words, key=lambda word: word in _BONES)
    return _of_kind(Region, " ".join(ordered), "region", text)


def _of_kind(kind: type[_Name], word: str, name: str, text: str) -> _Name:
    try:
        return kind(word)
    except ValueError:
        known = ", ".join(str(one) for one in kind)
        raise CaseFileInvalid(f"unknown {name} {text!r}; known are {known}") from None


def write_template(path: Path, visits: Iterable[tuple[str, int]], readers: Iterable[str]) -> int:
    """Write a table to fill in: a row without a score for every position.

    Parameters
    ----------
    visits
        Subject and visit.
    readers
        Each reads every visit in session 1.

    Returns
    -------
    int
        Number of rows.
    """
    rows = [
        (subject, visit, reader, 1, p.side, p.head.region, p.head.lesion, "")
        for reader in readers
        for subject, visit in visits
        for p in POSITIONS
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(READING_COLUMNS)
        table.writerows(rows)
    return len(rows)
