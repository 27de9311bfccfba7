"""Results of studies and their deliveries to destinations."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    exists,
    func,
    insert,
    select,
    true,
    update,
)

from sij_node.domain.job import Delivery, DeliveryState, Job, Result
from sij_node.domain.study import CopyState, InstanceReference, PatientIdentity
from sij_node.store.database import Database, insert_or_update
from sij_node.store.tables import (
    deliveries,
    delivery_from,
    instances,
    job_from,
    jobs,
    received_copies,
    result_from,
    results,
)

PENDING = DeliveryState.PENDING.value
WITHHELD = DeliveryState.WITHHELD.value
ACKNOWLEDGED = DeliveryState.ACKNOWLEDGED.value
GIVEN_UP = DeliveryState.GIVEN_UP.value


def add_results(connection: Connection, job_id: int, made: Sequence[Result]) -> None:
    """Store results by their SOP Instance UID.

    A UID that is already stored is the same result, whose file may have been cleared or rewritten.
    Rows are written in order of UID, so that two workers with results of the same images do not
    deadlock.
    """
    for result in sorted(made, key=lambda result: result.sop_instance_uid):
        row = {name: getattr(result, name) for name in Result.__dataclass_fields__}
        insert_or_update(connection, results, row, [results.c.sop_instance_uid], job_id=job_id)


def add_deliveries(
    connection: Connection,
    job_id: int,
    made: Iterable[Result],
    destination: str,
    *,
    withhold: bool = False,
) -> None:
    """Add deliveries, pending or withheld; results acknowledged before stay acknowledged."""
    for result in made:
        _add_delivery(
            connection,
            job_id,
            result.sop_instance_uid,
            destination,
            WITHHELD if withhold else PENDING,
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
    """Record the response of a destination; an acknowledged delivery stays acknowledged."""
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
    """Abandon the pending deliveries of a job; those acknowledged before are acknowledged again."""
    before = deliveries.c.acknowledged_at.is_not(None)
    connection.execute(
        update(deliveries)
        .where(_of(job_id), deliveries.c.state == PENDING)
        .values(state=case((before, ACKNOWLEDGED), else_=GIVEN_UP))
    )


def any_pending(connection: Connection, job_id: int) -> bool:
    """Whether a job has pending deliveries."""
    return _any_in(connection, job_id, PENDING)


def any_left(connection: Connection, job_id: int) -> bool:
    """Whether a job has pending or withheld deliveries."""
    return _any_in(connection, job_id, PENDING, WITHHELD)


def _any_in(connection: Connection, job_id: int, *states: str) -> bool:
    found = exists().where(_of(job_id), deliveries.c.state.in_(states))
    return bool(connection.execute(select(found)).scalar())


def is_result_pending(database: Database, result_uid: str) -> bool:
    """Whether any job has still to deliver a result, or withholds it."""
    found = exists().where(
        deliveries.c.result_uid == result_uid, deliveries.c.state.in_([PENDING, WITHHELD])
    )
    with database.reading() as connection:
        return bool(connection.execute(select(found)).scalar())


def forget_file(connection: Connection, result_uid: str) -> None:
    """Note that the file of a result was removed; the result stays on record."""
    is_it = results.c.sop_instance_uid == result_uid
    connection.execute(update(results).where(is_it).values(file_name=""))


def has_pending(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """SQL condition: the job of the outer row has a pending delivery that meets the conditions."""
    mine = deliveries.c.job_id == jobs.c.job_id
    return exists().where(mine, deliveries.c.state == PENDING, *conditions).correlate(jobs)


def redeliver(connection: Connection, job_id: int, destination: str | None, note: str) -> int:
    """Make the deliveries of a job to one destination, or to all, pending again.

    Earlier acknowledgements stay on record.

    Returns
    -------
    int
        Number of deliveries; results whose files were cleared do not count.
    """
    is_stored = exists().where(
        results.c.sop_instance_uid == deliveries.c.result_uid, results.c.file_name != ""
    )
    wanted = deliveries.c.destination == destination if destination else true()
    return connection.execute(
        update(deliveries)
        .where(_of(job_id), wanted, is_stored)
        .values(state=PENDING, status=None, note=note, committed_at=None)
    ).rowcount


def jobs_by_destination(database: Database, state: DeliveryState) -> dict[str, int]:
    """Number of jobs with deliveries in a state, by destination."""
    counts = (
        select(deliveries.c.destination, func.count(deliveries.c.job_id.distinct()).label("jobs"))
        .where(deliveries.c.state == state.value)
        .group_by(deliveries.c.destination)
    )
    return {row.destination: row.jobs for row in database.rows(counts)}


def withheld_jobs(database: Database, destination: str) -> tuple[Job, ...]:
    """The newest job of each study with results withheld from a destination."""
    newest = (
        select(func.max(jobs.c.job_id))
        .join(deliveries, deliveries.c.job_id == jobs.c.job_id)
        .where(deliveries.c.destination == destination, deliveries.c.state != GIVEN_UP)
        .group_by(jobs.c.study_uid)
    )
    withheld = select(deliveries.c.job_id).where(
        deliveries.c.destination == destination, deliveries.c.state == WITHHELD
    )
    wanted = select(jobs).where(jobs.c.job_id.in_(newest), jobs.c.job_id.in_(withheld))
    return tuple(job_from(row) for row in database.rows(wanted.order_by(jobs.c.job_id)))


def deliveries_of(database: Database, job_id: int) -> tuple[Delivery, ...]:
    """The deliveries of a job, by the kind of result."""
    wanted = (
        select(deliveries, results)
        .join(results, results.c.sop_instance_uid == deliveries.c.result_uid)
        .where(_of(job_id))
        .order_by(results.c.kind, deliveries.c.result_uid, deliveries.c.destination)
    )
    return tuple(delivery_from(row) for row in database.rows(wanted))


def stored_result(database: Database, sop_instance_uid: str) -> Result | None:
    """A result of the node by its SOP Instance UID, even if its file was cleared."""
    row = database.row(select(results).where(results.c.sop_instance_uid == sop_instance_uid))
    return None if row is None else result_from(row)


REJECTION_NOTE = "rejection note"
"""Kind of the object that marks earlier results as rejected; it has no revisions."""


def results_sent_before(database: Database, job: Job) -> tuple[tuple[Result, ...], ...]:
    """Results sent for a study that the source of a job has sent, so far, oldest first.

    The results of one job form a group; a rejection notice is a group of its own. Results under a
    Study Instance UID that was corrected later are among them.
    """
    is_result = results.c.kind.not_like("not analysed%").label("is_result")
    studies = (job.study_uid, *former_studies(database, job.study_uid))
    wanted = (
        select(deliveries.c.job_id, is_result, results)
        .distinct()
        .join(results, results.c.sop_instance_uid == deliveries.c.result_uid)
        .join(jobs, jobs.c.job_id == deliveries.c.job_id)
        .where(_sent(studies, job.source_ae, job.job_id))
        .order_by(deliveries.c.job_id, is_result, results.c.kind, results.c.sop_instance_uid)
    )
    return tuple(
        tuple(result_from(row) for row in one)
        for _, one in groupby(database.rows(wanted), key=lambda row: (row[0], row.is_result))
    )


def result_references(
    database: Database, studies: Sequence[str], source_ae: str, last_job_id: int
) -> tuple[InstanceReference, ...]:
    """References to the results of some studies of a sender that jobs up to a number sent."""
    columns = (results.c.series_uid, results.c.sop_class_uid, results.c.sop_instance_uid)
    wanted = (
        select(jobs.c.study_uid, *columns)
        .distinct()
        .join(results, results.c.sop_instance_uid == deliveries.c.result_uid)
        .join(jobs, jobs.c.job_id == deliveries.c.job_id)
        .where(_sent(studies, source_ae, last_job_id))
        .order_by(results.c.sop_instance_uid)
    )
    return tuple(
        (row.study_uid, row.series_uid, row.sop_class_uid, row.sop_instance_uid)
        for row in database.rows(wanted)
    )


def _sent(studies: Sequence[str], source_ae: str, last_job_id: int) -> ColumnElement[bool]:
    return and_(
        jobs.c.study_uid.in_(studies),
        jobs.c.job_id <= last_job_id,
        jobs.c.source_ae == source_ae,
        deliveries.c.state.not_in([GIVEN_UP, WITHHELD]),
        results.c.kind != REJECTION_NOTE,
    )


def former_studies(database: Database, study_uid: str) -> tuple[str, ...]:
    """Study Instance UIDs under which images of a study were received before a correction."""
    with database.reading() as connection:
        return former_studies_in(connection, study_uid)


def former_studies_in(connection: Connection, study_uid: str) -> tuple[str, ...]:
    """As `former_studies`, within a transaction."""
    found, wanted = set[str](), {study_uid}
    while wanted:
        found |= wanted
        moved = select(received_copies.c.stored_study_uid).where(
            received_copies.c.state == CopyState.ACCEPTED.value,
            received_copies.c.study_uid.in_(wanted),
        )
        wanted = set(connection.execute(moved.distinct()).scalars()) - found
    return tuple(sorted(found - {study_uid}))


MAX_PRIOR_SCORES = 50
"""Maximum number of score reports of one patient, revisions included."""


def prior_scores(database: Database, job: Job, patient: PatientIdentity) -> tuple[Result, ...]:
    """Score reports of the patient's other studies that are still on disk, newest first.

    A patient ID without issuer is unique only within its source, so only studies from the source
    of the job are used then. Results that were never sent are not priors: nobody could open them.
    """
    other_studies = select(instances.c.study_uid).where(
        instances.c.patient_id == patient.identifier,
        instances.c.issuer_of_patient_id == patient.issuer,
        instances.c.study_uid != job.study_uid,
    )
    query = (
        select(results)
        .join(jobs, jobs.c.job_id == results.c.job_id)
        .where(
            jobs.c.study_uid.in_(other_studies),
            results.c.kind == "scores",
            results.c.file_name != "",
            exists().where(
                deliveries.c.result_uid == results.c.sop_instance_uid,
                deliveries.c.state.not_in([GIVEN_UP, WITHHELD]),
            ),
        )
    )
    if not patient.issuer:
        query = query.where(jobs.c.source_ae == job.source_ae)
    newest = query.order_by(results.c.job_id.desc()).limit(MAX_PRIOR_SCORES)
    return tuple(result_from(row) for row in database.rows(newest))


def _of(job_id: int) -> ColumnElement[bool]:
    return deliveries.c.job_id == job_id
