"""Destinations on hold: who paused deliveries to them, when and why."""

from datetime import UTC, datetime

from sqlalchemy import Select, insert, select, update

from sij_node.domain.job import Hold
from sij_node.domain.users import AdminChange
from sij_node.errors import IllegalStep
from sij_node.store.change_log import add_change
from sij_node.store.database import Database, lock_openings
from sij_node.store.tables import hold_from, holds


def held_titles() -> Select[str]:
    """AE titles of the destinations on hold, as a subquery."""
    return select(holds.c.destination).where(holds.c.released_at.is_(None))


def current_holds(database: Database) -> tuple[Hold, ...]:
    """The holds not released yet, by destination."""
    wanted = select(holds).where(holds.c.released_at.is_(None)).order_by(holds.c.destination)
    return tuple(hold_from(row) for row in database.rows(wanted))


def hold(database: Database, destination: str, reason: str, who: str) -> Hold:
    """Pause deliveries to a destination until it is released; its results stay pending.

    Raises
    ------
    IllegalStep
        If it is on hold already.
    """
    with database.writing() as connection:
        lock_openings(connection)
        former = select(holds).where(
            holds.c.destination == destination, holds.c.released_at.is_(None)
        )
        for row in connection.execute(former):
            raise IllegalStep(
                f"{hold_from(row)}. Release it before you hold it for another reason."
            )
        values = {"destination": destination, "reason": reason, "held_by": who, "released_by": ""}
        row = connection.execute(
            insert(holds).values(held_at=datetime.now(UTC), **values).returning(holds)
        ).one()
        began = hold_from(row)
        add_change(
            connection, AdminChange(began.held_at, who, "hold", f"peer {destination}", reason)
        )
        return began


def release(database: Database, destination: str, who: str) -> Hold:
    """Resume deliveries to a destination.

    Raises
    ------
    IllegalStep
        If it is not on hold.
    """
    moment = datetime.now(UTC)
    with database.writing() as connection:
        row = connection.execute(
            update(holds)
            .where(holds.c.destination == destination, holds.c.released_at.is_(None))
            .values(released_by=who, released_at=moment)
            .returning(holds)
        ).one_or_none()
        if row is None:
            raise IllegalStep(f"{destination} is not on hold; there is nothing to release.")
        add_change(connection, AdminChange(moment, who, "release", f"peer {destination}"))
        return hold_from(row)
