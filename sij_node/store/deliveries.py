"""What the node has made of a study, and whether the archive has it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    case,
    exists,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from sij_node.domain.job import Delivery, DeliveryState, Job, Result
from sij_node.domain.study import PatientIdentity
from sij_node.store.tables import (
    deliveries,
    delivery_from,
    instances,
    jobs,
    result_from,
    results,
)

PENDING = DeliveryState.PENDING.value
KEPT_BACK = DeliveryState.KEPT_BACK.value
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
    connection: Connection,
    job_id: int,
    made: Iterable[Result],
    destination: str,
    *,
    keep_back: bool = False,
) -> None:
    """Have results delivered or kept back, except those acknowledged by the destination before."""
    for result in made:
        _add_delivery(
            connection,
            job_id,
            result.sop_instance_uid,
            destination,
            KEPT_BACK if keep_back else PENDING,
        )


def _add_delivery(
    connection: Connection, job_id: int, uid: str, destination: str, state: str
) -> None:
    pair = (deliveries.c.result_uid == uid) & (deliveries.c.destination == destination)
    before = connection.execute(select(deliveries).where(pair)).all()
    done = next((row for row in before if row.state == ACKNOWLEDGED), None)
    values = {
        "state": ACKNOWLEDGED if done else state,
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
    """Note that what is still pending will not be sent; what was acknowledged before stays so."""
    before = deliveries.c.acknowledged_at.is_not(None)
    connection.execute(
        update(deliveries)
        .where(_of(job_id), deliveries.c.state == PENDING)
        .values(state=case((before, ACKNOWLEDGED), else_=GIVEN_UP))
    )


def any_pending(connection: Connection, job_id: int) -> bool:
    """Whether something of this job has still to be sent."""
    return _any_in(connection, job_id, PENDING)


def any_left(connection: Connection, job_id: int) -> bool:
    """Whether something of this job has still to be sent, or is kept back."""
    return _any_in(connection, job_id, PENDING, KEPT_BACK)


def _any_in(connection: Connection, job_id: int, *states: str) -> bool:
    found = exists().where(_of(job_id), deliveries.c.state.in_(states))
    return bool(connection.execute(select(found)).scalar())


def ask_again(connection: Connection, job_id: int, destination: str | None, note: str) -> int:
    """Have everything that a job has for one destination, or for all, sent again.

    When a destination has acknowledged something before, that is not forgotten.

    Returns
    -------
    int
        How many objects that are; those whose files were cleared away do not count.
    """
    there = exists().where(
        results.c.sop_instance_uid == deliveries.c.result_uid, results.c.file_name != ""
    )
    wanted = deliveries.c.destination == destination if destination else true()
    return connection.execute(
        update(deliveries)
        .where(_of(job_id), wanted, there)
        .values(state=PENDING, status=None, note=note)
    ).rowcount


def jobs_by_destination(connection: Connection, state: str) -> dict[str, int]:
    """How many jobs have something in a state, for each destination."""
    rows = connection.execute(
        select(deliveries.c.destination, func.count(deliveries.c.job_id.distinct()))
        .where(deliveries.c.state == state)
        .group_by(deliveries.c.destination)
    )
    return {row[0]: row[1] for row in rows}


def newest_kept_back(connection: Connection, destination: str) -> list[int]:
    """The newest job of each study that keeps something back from a destination."""
    newest = (
        select(func.max(jobs.c.job_id))
        .join(deliveries, deliveries.c.job_id == jobs.c.job_id)
        .where(deliveries.c.destination == destination, deliveries.c.state != GIVEN_UP)
        .group_by(jobs.c.study_uid)
    )
    rows = connection.execute(
        select(deliveries.c.job_id)
        .where(
            deliveries.c.job_id.in_(newest),
            deliveries.c.destination == destination,
            deliveries.c.state == KEPT_BACK,
        )
        .distinct()
        .order_by(deliveries.c.job_id)
    )
    return list(rows.scalars())


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
            deliveries.c.state.not_in([GIVEN_UP, KEPT_BACK]),
        )
        .order_by(deliveries.c.job_id, is_result, results.c.kind, results.c.sop_instance_uid)
    )
    return tuple(
        tuple(result_from(row) for row in one)
        for _, one in groupby(rows, key=lambda row: (row[0], row.is_result))
    )


MOST_SCORES = 50
"""Of one patient, revisions included, that are looked at."""


def scores_of(connection: Connection, job: Job, patient: PatientIdentity) -> tuple[Result, ...]:
    """Reports of all scores of a patient's other studies that are still on the disk.

    What was never sent is no prior: who reads of it could not look at it.
    """
    theirs = select(instances.c.study_uid).where(
        instances.c.patient_id == patient.identifier,
        instances.c.issuer_of_patient_id == patient.issuer,
        instances.c.study_uid != job.study_uid,
    )
    query = (
        select(results)
        .join(jobs, jobs.c.job_id == results.c.job_id)
        .where(
            jobs.c.study_uid.in_(theirs),
            results.c.kind == "scores",
            results.c.file_name != "",
            exists().where(
                deliveries.c.result_uid == results.c.sop_instance_uid,
                deliveries.c.state.not_in([GIVEN_UP, KEPT_BACK]),
            ),
        )
    )
    if not patient.issuer:
        query = query.where(jobs.c.source_ae == job.source_ae)
    rows = connection.execute(query.order_by(results.c.job_id.desc()).limit(MOST_SCORES))
    return tuple(result_from(row) for row in rows)


def _of(job_id: int) -> ColumnElement[bool]:
    return deliveries.c.job_id == job_id
