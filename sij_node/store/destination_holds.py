"""Which destinations get nothing for the time being, who decided that, and why."""

from datetime import UTC, datetime

from sqlalchemy import Connection, Select, insert, select, update

from sij_node.domain.job import Hold
from sij_node.errors import IllegalStep
from sij_node.store.tables import hold_from, holds


def held_titles() -> Select[str]:
    """The destinations that are held, for use within another statement."""
    return select(holds.c.destination).where(holds.c.released_at.is_(None))


def current(connection: Connection) -> tuple[Hold, ...]:
    """The holds that last, by destination."""
    rows = connection.execute(
        select(holds).where(holds.c.released_at.is_(None)).order_by(holds.c.destination)
    )
    return tuple(hold_from(row) for row in rows)


def hold(connection: Connection, destination: str, reason: str, who: str) -> Hold:
    """Begin to hold a destination.

    Raises
    ------
    IllegalStep
        If it is held already.
    """
    for former in current(connection):
        if former.destination == destination:
            raise IllegalStep(f"{former}. Release it before you hold it for another reason.")
    row = connection.execute(
        insert(holds)
        .values(
            destination=destination,
            reason=reason,
            held_by=who,
            held_at=datetime.now(UTC),
            released_by="",
        )
        .returning(holds)
    ).one()
    return hold_from(row)


def release(connection: Connection, destination: str, who: str) -> Hold:
    """End the hold of a destination.

    Raises
    ------
    IllegalStep
        If it is not held.
    """
    row = connection.execute(
        update(holds)
        .where(holds.c.destination == destination, holds.c.released_at.is_(None))
        .values(released_by=who, released_at=datetime.now(UTC))
        .returning(holds)
    ).one_or_none()
    if row is None:
        raise IllegalStep(f"{destination} is not held; there is nothing to release.")
    return hold_from(row)
