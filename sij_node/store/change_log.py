"""The change log: which user changed, looked up or exported what."""

from sqlalchemy import Connection, insert, select

from sij_node.domain.users import AdminChange
from sij_node.store.database import Database
from sij_node.store.tables import change_from, changes


def add_change(connection: Connection, change: AdminChange) -> None:
    """Log a change in the transaction that makes it."""
    connection.execute(insert(changes).values(**vars(change)))


def note_change(database: Database, change: AdminChange) -> None:
    """Log a change that is not a step of a job, in a transaction of its own."""
    with database.writing() as connection:
        add_change(connection, change)


def newest_changes(database: Database, limit: int = 50, who: str = "") -> tuple[AdminChange, ...]:
    """The newest changes, by all users or by one."""
    wanted = select(changes).order_by(changes.c.change_id.desc()).limit(limit)
    if who:
        wanted = wanted.where(changes.c.who == who)
    return tuple(change_from(row) for row in database.rows(wanted))


def last_change(database: Database, who: str, action: str, subject: str) -> AdminChange | None:
    """The last time a user performed an action on a subject."""
    same = (changes.c.who == who, changes.c.action == action, changes.c.subject == subject)
    row = database.row(select(changes).where(*same).order_by(changes.c.change_id.desc()).limit(1))
    return None if row is None else change_from(row)
