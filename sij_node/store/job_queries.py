"""How the queue and the destinations stand: the questions behind the node's health."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, select, type_coerce

from sij_node.domain.health import FailingDestination, QueueStatus
from sij_node.domain.job import DeliveryState, State, Step
from sij_node.store.database import Database
from sij_node.store.destination_holds import held_titles
from sij_node.store.tables import Utc, deliveries, job_steps, jobs


def queue_now(database: Database) -> QueueStatus:
    """What waits for a worker; a job that waits before another attempt is not counted."""
    due = (jobs.c.state == State.QUEUED.value) & (jobs.c.wait_s == 0)
    with database.reading() as connection:
        waiting = connection.execute(select(func.count()).where(due)).scalar() or 0
        oldest = connection.execute(
            select(jobs.c.job_id, jobs.c.changed_at, _now().label("now"))
            .where(due)
            .order_by(jobs.c.changed_at)
            .limit(1)
        ).one_or_none()
    if oldest is None:
        return QueueStatus()
    return QueueStatus(waiting, oldest.job_id, _seconds(oldest.changed_at, oldest.now))


def stuck_destinations(database: Database) -> Mapping[str, FailingDestination]:
    """The destinations to which deliveries have failed that are still to be made.

    One that a person holds is not among them.
    """
    failed = (
        select(
            deliveries.c.destination,
            func.count(job_steps.c.job_id.distinct()).label("jobs"),
            type_coerce(func.min(job_steps.c.at), Utc).label("since"),
            func.max(job_steps.c.step_id).label("last_step"),
            _now().label("now"),
        )
        .join(job_steps, job_steps.c.job_id == deliveries.c.job_id)
        .where(
            deliveries.c.state == DeliveryState.PENDING.value,
            deliveries.c.destination.not_in(held_titles()),
            job_steps.c.step == Step.DELIVERY_FAILED.value,
        )
        .group_by(deliveries.c.destination)
    )
    with database.reading() as connection:
        rows = connection.execute(failed).all()
        return {row.destination: _stuck(connection, row) for row in rows}


def _stuck(connection: Connection, row: Row[Any]) -> FailingDestination:
    taken_since = exists().where(
        deliveries.c.destination == row.destination, deliveries.c.acknowledged_at > row.since
    )
    acknowledged = connection.execute(select(taken_since)).scalar()
    reason = connection.execute(
        select(job_steps.c.note).where(job_steps.c.step_id == row.last_step)
    ).scalar()
    failing_s = _seconds(row.since, row.now)
    return FailingDestination(
        row.destination, row.jobs, failing_s, bool(acknowledged), reason or ""
    )


def _seconds(since: datetime, now: datetime) -> float:
    """Never negative, though the two moments may come from different clocks."""
    return max(0.0, (now - since).total_seconds())


def _now() -> ColumnElement[datetime]:
    return type_coerce(func.current_timestamp(), Utc)
