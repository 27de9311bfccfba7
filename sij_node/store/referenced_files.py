"""Which files of the spool the database references, and the removal of those that nothing does.

A file without a row is left by a refused C-STORE (0xA700 after the file was written), a crash, or a
database restored from an older backup. It holds a patient's data as any other does, so it is
removed after the same time.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, select, union

from sij_node.domain.study import CopyState
from sij_node.store.database import Database, lock_openings
from sij_node.store.spool import Spool, SpoolFile, SpoolFolder
from sij_node.store.tables import (
    analysis_pictures,
    instances,
    received_copies,
    refusals,
    results,
)

STAGED_FOR = timedelta(days=1)
"""A file in incoming/ that is older was left by a crash."""
_AT_ONCE = 500


def referenced(connection: Connection, folder: SpoolFolder, names: Collection[str]) -> set[str]:
    """The names among some that a row of the database references as files of a folder."""
    if folder is SpoolFolder.INSTANCES:
        stored = select(instances.c.file_name).where(instances.c.file_name.in_(names))
        return {*connection.execute(stored).scalars(), *_replaced(connection).intersection(names)}
    if folder is SpoolFolder.QUARANTINE:
        return _either(
            connection, names, refusals.c.quarantined_as, received_copies.c.quarantined_as
        )
    if folder is SpoolFolder.RESULTS:
        return _either(connection, names, results.c.file_name, analysis_pictures.c.file_name)
    return set()


def is_referenced(database: Database, folder: SpoolFolder, name: str) -> bool:
    """Whether a row references a file of a folder."""
    with database.reading() as connection:
        return bool(referenced(connection, folder, [name]))


def _either(connection: Connection, names: Collection[str], *columns: Column[Any]) -> set[str]:
    wanted = union(*(select(one).where(one.in_(names)) for one in columns))
    return set(connection.execute(wanted).scalars())


def _replaced(connection: Connection) -> set[str]:
    """Instances whose corrected copy was accepted: their files stay as long as their study."""
    accepted = select(received_copies.c.stored).where(
        received_copies.c.state == CopyState.ACCEPTED.value
    )
    return {stored["file_name"] for stored in connection.execute(accepted).scalars()}


def clear_unreferenced(database: Database, spool: Spool, moment: datetime, now: datetime) -> int:
    """Remove files without a row that were written before a moment; returns their number."""
    limits = dict.fromkeys(SpoolFolder, moment) | {SpoolFolder.INCOMING: now - STAGED_FOR}
    return sum(
        remove_unreferenced(database, spool, folder, file)
        for folder, limit in limits.items()
        for file in unreferenced(database, spool, folder)
        if file.written_at < limit
    )


def unreferenced(
    database: Database, spool: Spool, folder: SpoolFolder, beginning: str = ""
) -> tuple[SpoolFile, ...]:
    """Files of a folder that no row references.

    Parameters
    ----------
    beginning
        Only those whose names begin with it.
    """
    files = {one.name: one for one in spool.files_in(folder, beginning)}
    names, known = list(files), set[str]()
    with database.reading() as connection:
        for start in range(0, len(names), _AT_ONCE):
            known |= referenced(connection, folder, names[start : start + _AT_ONCE])
    return tuple(file for name, file in files.items() if name not in known)


def remove_unreferenced(
    database: Database, spool: Spool, folder: SpoolFolder, file: SpoolFile
) -> bool:
    """Remove a file, unless a row has been added meanwhile; none can be added until it is gone."""
    with database.writing() as connection:
        lock_openings(connection)
        if referenced(connection, folder, [file.name]):
            return False
        spool.remove_from(folder, file.name)
        return True
