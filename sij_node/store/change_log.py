"""What people changed, looked up or took out, and who it was."""

from sqlalchemy import Connection, insert, select

from sij_node.domain.users import AdminChange
from sij_node.store.tables import change_from, changes


def add_change(connection: Connection, change: AdminChange) -> None:
    """Note a change, in the transaction that makes it."""
    connection.execute(insert(changes).values(**vars(change)))


def newest(connection: Connection, limit: int, who: str = "") -> tuple[AdminChange, ...]:
    """The newest changes, of everybody or of one person."""
    wanted = select(changes).order_by(changes.c.change_id.desc()).limit(limit)
    if who:
        wanted = wanted.where(changes.c.who == who)
    return tuple(change_from(row) for row in connection.execute(wanted))
