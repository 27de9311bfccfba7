"""What the node has made of a study, and whether the archive has it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from sij_node.jobs import Delivery, DeliveryState, Job, Result
from sij_node.store.tables import (
    deliveries,
    delivery_from,
    instances,
    jobs,
    result_from,
    results,
)
from sij_node.study import Patient

PENDING = DeliveryState.PENDING.value
ACKNOWLEDGED = DeliveryState.ACKNOWLEDGED.value
GIVEN_UP = DeliveryState.GIVEN_UP.value
_INSERT: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def add_results(connection: Connection, job_id: int, made: Sequence[Result]) -> None:
    """Note results by their SOP Instance UID.

    One that was made before is the same again, though its file may have been cleared away or
    written anew. Two workers that analyse the same images may do this at the same time; they
    take the rows in the same order, so that neither waits for the other in a circle.
    """
    insert_or_update = _INSERT[connection.dialect.name]
    for result in sorted(made, key=lambda result: result.sop_instance_uid):
        row = {name: getattr(result, name) for name in Result.__dataclass_fields__}
        connection.execute(
            insert_or_update(results)
            .values(job_id=job_id, **row)
            .on_conflict_do_update(index_elements=[results.c.sop_instance_uid], set_=row)
        )


def add_deliveries(
    connection: Connection, job_id: int, made: Iterable[Result], destination: str
) -> None:
    """Have results delivered, except those that the destination acknowledged before."""
    for result in made:
        _add_delivery(connection, job_id, result.sop_instance_uid, destination)


def _add_delivery(connection: Connection, job_id: int, uid: str, destination: str) -> None:
    pair = (deliveries.c.result_uid == uid) & (deliveries.c.destination == destination)
    before = connection.execute(select(deliveries).where(pair)).all()
    done = next((row for row in before if row.state == ACKNOWLEDGED), None)
    values = {
        "state": ACKNOWLEDGED if done else PENDING,
        "status": done.status if done else None,
        "note": f"acknowledged for job {done.job_id}" if done else "",
        "acknowledged_at": done.acknowledged_at if done else None,
    }
    mine = next((row for row in before if row.job_id == job_id), None)
    if mine is None:
        connection.execute(
            insert(deliveries).values(
                job_id=job_id, result_uid=uid, destination=destination, attempts=0, **values
            )
        )
    elif mine.state != ACKNOWLEDGED:
        connection.execute(update(deliveries).where(pair, _of(job_id)).values(values))


def record(
    connection: Connection,
    job_id: int,
    result_uid: str,
    destination: str,
    *,
    status: int | None,
    acknowledged: bool,
    note: str,
) -> None:
    """Note what a destination answered; once it has acknowledged a result, that stays so."""
    answer: dict[str, Any] = {"status": status, "note": note}
    if acknowledged:
        answer |= {"state": ACKNOWLEDGED, "acknowledged_at": datetime.now(UTC)}
    connection.execute(
        update(deliveries)
        .where(
            _of(job_id),
            deliveries.c.result_uid == result_uid,
            deliveries.c.destination == destination,
            deliveries.c.state != ACKNOWLEDGED,
        )
        .values(attempts=deliveries.c.attempts + 1, **answer)
    )


def give_up(connection: Connection, job_id: int) -> None:
    """Note that what is still pending will not be sent."""
    connection.execute(
        update(deliveries).where(_of(job_id), deliveries.c.state == PENDING).values(state=GIVEN_UP)
    )


def any_pending(connection: Connection, job_id: int) -> bool:
    """Whether something of this job has still to be sent."""
    waiting = exists().where(_of(job_id), deliveries.c.state == PENDING)
    return bool(connection.execute(select(waiting)).scalar())


def deliveries_of(connection: Connection, job_id: int) -> tuple[Delivery, ...]:
    """The deliveries of a job, in the order in which its results were stored."""
    rows = connection.execute(
        select(deliveries, results)
        .join(results, results.c.sop_instance_uid == deliveries.c.result_uid)
        .where(_of(job_id))
        .order_by(results.c.kind, deliveries.c.result_uid, deliveries.c.destination)
    )
    return tuple(delivery_from(row) for row in rows)


def given_before(connection: Connection, job: Job) -> tuple[tuple[Result, ...], ...]:
    """What a job and those before it gave to its source; a notice apart from what follows it."""
    is_result = results.c.kind != "not analysed"
    rows = connection.execute(
        select(deliveries.c.job_id, is_result.label("is_result"), results)
        .join(results, results.c.sop_instance_uid == deliveries.c.result_uid)
        .join(jobs, jobs.c.job_id == deliveries.c.job_id)
        .where(
            jobs.c.study_uid == job.study_uid,
            jobs.c.job_id <= job.job_id,
            deliveries.c.destination == job.source_ae,
            deliveries.c.state != GIVEN_UP,
        )
        .order_by(deliveries.c.job_id, is_result, results.c.kind, results.c.sop_instance_uid)
    )
    return tuple(
        tuple(result_from(row) for row in one)
        for _, one in groupby(rows, key=lambda row: (row[0], row.is_result))
    )


MOST_SCORES = 50
"""Of one patient, revisions included, that are looked at."""


def scores_of(connection: Connection, job: Job, patient: Patient) -> tuple[Result, ...]:
    """Reports of all scores of a patient's other studies that are still on the disk."""
    theirs = select(instances.c.study_uid).where(
        instances.c.patient_id == patient.identifier,
        instances.c.issuer_of_patient_id == patient.issuer,
        instances.c.study_uid != job.study_uid,
    )
    query = (
        select(results)
        .join(jobs, jobs.c.job_id == results.c.job_id)
        .where(jobs.c.study_uid.in_(theirs), results.c.kind == "scores", results.c.file_name != "")
    )
    if not patient.issuer:
        query = query.where(jobs.c.source_ae == job.source_ae)
    rows = connection.execute(query.order_by(results.c.job_id.desc()).limit(MOST_SCORES))
    return tuple(result_from(row) for row in rows)


def _of(job_id: int) -> ColumnElement[bool]:
    return deliveries.c.job_id == job_id
