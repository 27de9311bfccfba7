"""How far the check of the stored files has come, and the problems that it has found."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from sij_node.domain.storage_check import (
    PARTS,
    CheckedFiles,
    StorageFault,
    StorageProblem,
    StorageStatus,
)
from sij_node.store.database import Database
from sij_node.store.tables import storage_checks as checks
from sij_node.store.tables import storage_problems as found

DATABASE = "database"
"""In place of a folder, in problems of the database itself."""


def storage_status(database: Database) -> StorageStatus:
    """The last complete check, and the problems known now."""
    with database.reading() as connection:
        row = connection.execute(select(checks)).one_or_none()
        rows = connection.execute(select(found).order_by(found.c.study_uid, found.c.file_name))
        problems = tuple(_problem_from(one) for one in rows)
    if row is None:
        return StorageStatus(problems=problems)
    return StorageStatus(row.verified_at, row.files, row.size_bytes, row.repairs, problems)


def _problem_from(row: Row[Any]) -> StorageProblem:
    values = {name: getattr(row, name) for name in StorageProblem.__dataclass_fields__}
    return StorageProblem(**{**values, "fault": StorageFault(row.fault)})


def next_part(database: Database) -> tuple[int, datetime | None]:
    """The part to check next, and when the last round ended."""
    row = database.row(select(checks.c.next_part, checks.c.verified_at))
    return (0, None) if row is None else (row.next_part, row.verified_at)


def record_part(database: Database, part: str, checked: CheckedFiles) -> None:
    """Replace the known problems of a part by those that were found now."""
    with database.writing() as connection:
        _replace_problems(connection, part, checked)
        row = _row(connection)
        _write(connection, repairs=row["repairs"] + len(checked.repairs))


def record_progress(database: Database, number: int, parts: int, checked: CheckedFiles) -> None:
    """Note that the check in the background has finished a part.

    Parameters
    ----------
    number, parts
        Of the part, from 0, and of all parts; the last one ends the round.
    """
    with database.writing() as connection:
        row = _row(connection)
        files = row["files_so_far"] * (number > 0) + checked.files
        size_bytes = row["bytes_so_far"] * (number > 0) + checked.size_bytes
        _write(connection, files_so_far=files, bytes_so_far=size_bytes, next_part=number + 1)
        if number + 1 == parts:
            _end_round(connection, files, size_bytes)


def record_round(database: Database, checked: CheckedFiles) -> None:
    """Note a complete check by the command; the next one in the background begins anew."""
    with database.writing() as connection:
        _end_round(connection, checked.files, checked.size_bytes)


def _end_round(connection: Connection, files: int, size_bytes: int) -> None:
    _write(
        connection, next_part=0, verified_at=datetime.now(UTC), files=files, size_bytes=size_bytes
    )


def _replace_problems(connection: Connection, part: str, checked: CheckedFiles) -> None:
    in_part = and_(found.c.folder != DATABASE, found.c.file_name.startswith(part))
    is_replaced = or_(in_part, found.c.folder == DATABASE) if part == PARTS[0] else in_part
    known = {
        (row.folder, row.file_name): row.found_at
        for row in connection.execute(select(found).where(is_replaced))
    }
    connection.execute(delete(found).where(is_replaced))
    for one in checked.problems:
        first = known.get((one.folder, one.file_name), datetime.now(UTC))
        connection.execute(insert(found).values(**vars(replace(one, found_at=first))))


_NOTHING: Mapping[str, int] = {"files_so_far": 0, "bytes_so_far": 0, "repairs": 0}


def _row(connection: Connection) -> Mapping[str, Any]:
    row = connection.execute(select(checks).with_for_update()).one_or_none()
    return _NOTHING if row is None else dict(row._mapping)


def _write(connection: Connection, **values: object) -> None:
    if not connection.execute(update(checks).values(**values)).rowcount:
        empty = {"next_part": 0, "files": 0, "size_bytes": 0}
        connection.execute(insert(checks).values(**{"check_id": 1, **empty, **_NOTHING, **values}))
