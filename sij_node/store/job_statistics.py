"""Statistics on all jobs, for health, metrics and charts: counts, durations, failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    and_,
    exists,
    func,
    or_,
    select,
    type_coerce,
)

from sij_node.domain.health import FailingDestination, QueueStatus
from sij_node.domain.job import DeliveryState, State, Step
from sij_node.domain.job_list import ChartEvent, WeightsUse
from sij_node.store.database import Database
from sij_node.store.destination_holds import held_titles
from sij_node.store.tables import Utc, deliveries, job_steps, jobs

RECENT_ANALYSES = 50
"""Number of analyses from which the usual duration is estimated."""
STEPS_AT_ONCE = 5000
_ENDS = (Step.RESULTS_STORED, Step.WITHHELD, Step.REJECT)
_CHARTED = (
    Step.CLAIMED,
    *_ENDS,
    Step.ACKNOWLEDGED,
    Step.GIVE_UP,
    Step.TRY_AGAIN,
    Step.DELIVERY_FAILED,
)
_STEPS = {step.value: step for step in Step}
_STATES = {state.value: state for state in State}
"""By value: faster than the enums' own lookup for the tens of thousands of steps of a month."""


@dataclass(frozen=True)
class RecordedStep:
    """A history entry."""

    step_id: int
    job_id: int
    step: Step
    from_state: State | None
    to_state: State
    at: datetime


def job_counts(database: Database) -> dict[State, int]:
    """Number of jobs in each state, states without jobs included."""
    counted = select(jobs.c.state, func.count().label("jobs")).group_by(jobs.c.state)
    found = {row.state: row.jobs for row in database.rows(counted)}
    return {state: found.get(state.value, 0) for state in State}


def weights_used(database: Database) -> tuple[WeightsUse, ...]:
    """The weights that analysed the jobs with results, those in use last first."""
    last_at = type_coerce(func.max(job_steps.c.at), Utc).label("last_at")
    used = (
        select(
            jobs.c.weights,
            func.count(jobs.c.job_id.distinct()).label("jobs"),
            type_coerce(func.min(job_steps.c.at), Utc).label("first_at"),
            last_at,
        )
        .join(job_steps, job_steps.c.job_id == jobs.c.job_id)
        .where(
            job_steps.c.step.in_((Step.RESULTS_STORED.value, Step.WITHHELD.value)),
            jobs.c.weights != "",
        )
        .group_by(jobs.c.weights)
        .order_by(last_at.desc())
    )
    return tuple(
        WeightsUse(row.weights, row.jobs, row.first_at, row.last_at) for row in database.rows(used)
    )


def queue_status(database: Database) -> QueueStatus:
    """The jobs that wait for a worker, without those in a retry delay."""
    due = (jobs.c.state == State.QUEUED.value) & (jobs.c.wait_s == 0)
    oldest = database.row(
        select(
            jobs.c.job_id,
            jobs.c.changed_at,
            _now().label("now"),
            func.count().over().label("waiting"),
        )
        .where(due)
        .order_by(jobs.c.changed_at)
        .limit(1)
    )
    if oldest is None:
        return QueueStatus()
    return QueueStatus(oldest.waiting, oldest.job_id, _seconds(oldest.changed_at, oldest.now))


def failing_destinations(database: Database) -> Mapping[str, FailingDestination]:
    """Destinations with pending deliveries that have failed before; not those on hold."""
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
        return {row.destination: _failing(connection, row) for row in rows}


def _failing(connection: Connection, row: Row[Any]) -> FailingDestination:
    acknowledged = exists().where(
        deliveries.c.destination == row.destination, deliveries.c.acknowledged_at > row.since
    )
    last_note = select(job_steps.c.note).where(job_steps.c.step_id == row.last_step)
    return FailingDestination(
        row.destination,
        row.jobs,
        _seconds(row.since, row.now),
        bool(connection.execute(select(acknowledged)).scalar()),
        connection.execute(last_note).scalar() or "",
    )


def last_deliveries(database: Database) -> Mapping[str, datetime]:
    """When each destination last acknowledged a result."""
    newest = (
        select(deliveries.c.destination, func.max(deliveries.c.acknowledged_at).label("at"))
        .where(deliveries.c.acknowledged_at.is_not(None))
        .group_by(deliveries.c.destination)
    )
    return {row.destination: row.at for row in database.rows(newest)}


def analysis_seconds(database: Database) -> tuple[float, ...]:
    """Durations of the latest analyses, from claim to results."""
    with database.reading() as connection:
        ended = connection.execute(
            select(job_steps.c.job_id, job_steps.c.step_id, job_steps.c.at)
            .where(job_steps.c.step.in_([step.value for step in _ENDS]))
            .order_by(job_steps.c.step_id.desc())
            .limit(RECENT_ANALYSES)
        ).all()
        begun = _claims(connection, [row.job_id for row in ended])
    spans = (
        (row.at - max(before)).total_seconds()
        for row in ended
        if (before := [at for at in begun.get(row.job_id, ()) if at <= row.at])
    )
    return tuple(spans)


def _claims(connection: Connection, job_ids: Sequence[int]) -> Mapping[int, Sequence[datetime]]:
    rows = connection.execute(
        select(job_steps.c.job_id, job_steps.c.at).where(
            job_steps.c.job_id.in_(set(job_ids)), job_steps.c.step == Step.CLAIMED.value
        )
    )
    found: dict[int, list[datetime]] = {}
    for job_id, at in rows:
        found.setdefault(job_id, []).append(at)
    return found


def chart_events(database: Database, since: datetime) -> tuple[ChartEvent, ...]:
    """The steps since a moment that the charts count; of each study, only the first delivery."""
    steps = (
        select(
            job_steps.c.job_id,
            job_steps.c.step,
            job_steps.c.to_state,
            job_steps.c.at,
            jobs.c.created_at,
        )
        .join(jobs, jobs.c.job_id == job_steps.c.job_id)
        .where(
            job_steps.c.at >= since,
            job_steps.c.step.in_([step.value for step in _CHARTED]),
            ~and_(_is_delivery(job_steps), _delivered_before()),
        )
        .order_by(job_steps.c.step_id)
    )
    return tuple(
        ChartEvent(row.job_id, _STEPS[row.step], _STATES[row.to_state], row.at, row.created_at)
        for row in database.rows(steps)
    )


def _delivered_before() -> ColumnElement[bool]:
    """SQL condition: the study of the outer row's job was delivered before that step."""
    steps, earlier = job_steps.alias(), jobs.alias()
    return exists().where(
        earlier.c.study_uid == jobs.c.study_uid,
        earlier.c.source_ae == jobs.c.source_ae,
        steps.c.job_id == earlier.c.job_id,
        steps.c.step_id < job_steps.c.step_id,
        _is_delivery(steps),
    )


def _is_delivery(steps: FromClause) -> ColumnElement[bool]:
    """SQL condition: a step by which results were delivered, or withheld in shadow mode."""
    acknowledged = steps.c.step == Step.ACKNOWLEDGED.value
    return or_(
        steps.c.step == Step.WITHHELD.value,
        and_(acknowledged, steps.c.to_state == State.DELIVERED.value),
    )


def steps_after(database: Database, step_id: int) -> Sequence[RecordedStep]:
    """The next `STEPS_AT_ONCE` steps of all jobs after a given step, in order."""
    chosen = (
        select(
            job_steps.c.step_id,
            job_steps.c.job_id,
            job_steps.c.step,
            job_steps.c.from_state,
            job_steps.c.to_state,
            job_steps.c.at,
        )
        .where(job_steps.c.step_id > step_id)
        .order_by(job_steps.c.step_id)
        .limit(STEPS_AT_ONCE)
    )
    return [
        RecordedStep(
            row.step_id,
            row.job_id,
            _STEPS[row.step],
            row.from_state and _STATES[row.from_state],
            _STATES[row.to_state],
            row.at,
        )
        for row in database.rows(chosen)
    ]


def _seconds(since: datetime, now: datetime) -> float:
    """Seconds between two times, which may come from different clocks; never negative."""
    return max(0.0, (now - since).total_seconds())


def _now() -> ColumnElement[datetime]:
    return type_coerce(func.current_timestamp(), Utc)
