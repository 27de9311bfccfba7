"""Requests for storage commitment: the node's to its destinations, and those of its peers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydicom.uid import generate_uid
from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, insert, select, update

from sij_node.domain.job import DeliveryState, Job, State, Step
from sij_node.domain.storage_commitment import (
    CLASS_CONFLICT,
    NO_SUCH_INSTANCE,
    CommitmentReport,
    CommitmentRequest,
    ObjectReference,
    failure_reason,
)
from sij_node.domain.study import InstanceReference
from sij_node.store.database import Database, insert_or_update, lock_openings
from sij_node.store.history import record_step
from sij_node.store.tables import (
    commitments,
    committed_studies,
    deliveries,
    instances,
    job_from,
    jobs,
    peer_commitments,
    results,
)

MAX_REQUESTS = 5
"""Requests for one job and destination; afterwards it stays delivered, or fails if results are
missing at the destination."""
_AT_ONCE = 50


class CommitmentState(StrEnum):
    """State of a request of the node."""

    NEW = "new"
    """To be sent, also again after the destination could not be reached."""
    REQUESTED = "requested"
    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    """Neither reported nor found out by C-FIND; a late report still counts."""
    SUPERSEDED = "superseded"
    """A user has asked for another delivery since."""


@dataclass(frozen=True)
class OpenCommitment:
    """A request of the node that has no answer yet.

    Parameters
    ----------
    objects
        The results, with study and series.
    attempts
        How often it was sent.
    """

    transaction_uid: str
    job_id: int
    state: CommitmentState
    attempts: int
    objects: tuple[InstanceReference, ...]

    @property
    def request(self) -> CommitmentRequest:
        """As it is sent."""
        return CommitmentRequest(self.transaction_uid, tuple(one[2:] for one in self.objects))


def open_commitments(database: Database, destination: str) -> tuple[OpenCommitment, ...]:
    """The requests to a destination without an answer, oldest first."""
    wanted = (
        select(commitments)
        .where(commitments.c.destination == destination, _is_open())
        .order_by(commitments.c.commitment_id)
        .limit(_AT_ONCE)
    )
    return tuple(_open_from(row) for row in database.rows(wanted))


def _is_open() -> ColumnElement[bool]:
    states = (CommitmentState.NEW.value, CommitmentState.REQUESTED.value)
    return commitments.c.state.in_(states)


def _open_from(row: Row[Any]) -> OpenCommitment:
    objects = tuple((study, series, sop, uid) for study, series, sop, uid in row.objects)
    return OpenCommitment(
        row.transaction_uid, row.job_id, CommitmentState(row.state), row.attempts, objects
    )


def unconfirmed_jobs(database: Database, destination: str) -> Mapping[int, int]:
    """Jobs whose results a destination has acknowledged, but not committed to.

    Returns
    -------
    Mapping[int, int]
        Number of requests by job; jobs with `MAX_REQUESTS` are not among them.
    """
    mine = and_(commitments.c.job_id == jobs.c.job_id, commitments.c.destination == destination)
    counted = commitments.c.state.in_(
        [CommitmentState.ANSWERED.value, CommitmentState.UNANSWERED.value]
    )
    asked = select(func.count()).where(mine, counted).correlate(jobs).scalar_subquery()
    wanted = (
        select(jobs.c.job_id, asked.label("asked"))
        .where(
            jobs.c.state.in_([State.DELIVERED.value, State.REJECTED.value]),
            exists().where(_uncommitted(destination), deliveries.c.job_id == jobs.c.job_id),
            ~exists().where(mine, _is_open()).correlate(jobs),
            asked < MAX_REQUESTS,
        )
        .order_by(jobs.c.job_id)
        .limit(_AT_ONCE)
    )
    return {row.job_id: row.asked for row in database.rows(wanted)}


def _uncommitted(destination: str) -> ColumnElement[bool]:
    is_stored = exists().where(
        results.c.sop_instance_uid == deliveries.c.result_uid, results.c.file_name != ""
    )
    return and_(
        deliveries.c.destination == destination,
        deliveries.c.state == DeliveryState.ACKNOWLEDGED.value,
        deliveries.c.committed_at.is_(None),
        is_stored.correlate(deliveries),
    )


def add_commitment(database: Database, job_id: int, destination: str) -> None:
    """Note that a destination is to be asked about the results of a job."""
    wanted = (
        select(jobs.c.study_uid, results.c.series_uid, results.c.sop_class_uid)
        .add_columns(results.c.sop_instance_uid)
        .join(deliveries, deliveries.c.job_id == jobs.c.job_id)
        .join(results, results.c.sop_instance_uid == deliveries.c.result_uid)
        .where(jobs.c.job_id == job_id, _uncommitted(destination))
        .order_by(results.c.sop_instance_uid)
    )
    with database.writing() as connection:
        objects = [list(row) for row in connection.execute(wanted)]
        connection.execute(
            insert(commitments).values(
                transaction_uid=str(generate_uid(prefix=None)),
                job_id=job_id,
                destination=destination,
                state=CommitmentState.NEW.value,
                attempts=0,
                objects=objects,
                note="",
                changed_at=datetime.now(UTC),
            )
        )


def set_commitment(
    database: Database, one: OpenCommitment, state: CommitmentState, note: str = ""
) -> None:
    """Change the state of a request, unless it has been answered meanwhile."""
    sent = int(one.state is CommitmentState.NEW)
    with database.writing() as connection:
        connection.execute(
            update(commitments)
            .where(commitments.c.transaction_uid == one.transaction_uid, _is_open())
            .values(
                state=state.value,
                attempts=commitments.c.attempts + sent,
                note=note,
                changed_at=datetime.now(UTC),
            )
        )


def supersede_commitments(connection: Connection, job_id: int) -> None:
    """Forget what was asked about a job whose results a user has sent again."""
    connection.execute(
        update(commitments)
        .where(commitments.c.job_id == job_id)
        .values(state=CommitmentState.SUPERSEDED.value)
    )


# ---- answers of destinations ---------------------------------------------------------------------


def apply_report(
    database: Database,
    destination: str,
    report: CommitmentReport,
    who: str,
    confirming: Collection[str],
) -> bool:
    """Apply a report to the deliveries of its job; a second one changes nothing.

    When everything is committed the job is confirmed. What has failed is sent again.

    Parameters
    ----------
    confirming
        Destinations that confirm deliveries; a job does not wait for the others.

    Returns
    -------
    bool
        False if the destination was never asked in this transaction.
    """
    known = and_(
        commitments.c.transaction_uid == report.transaction_uid,
        commitments.c.destination == destination,
    )
    with database.writing() as connection:
        row = connection.execute(select(commitments).where(known).with_for_update()).one_or_none()
        if row is None:
            return False
        if row.state in (CommitmentState.ANSWERED.value, CommitmentState.SUPERSEDED.value):
            return True
        said = f"{len(report.committed)} committed, {len(report.failed)} failed"
        connection.execute(
            update(commitments)
            .where(known)
            .values(state=CommitmentState.ANSWERED.value, note=said, changed_at=datetime.now(UTC))
        )
        asked = {reference[3] for reference in row.objects}
        _mark_committed(connection, row, asked & report.committed)
        failed = _mark_failed(connection, row, asked, report)
        job = _unmoved(connection, row)
        if job is not None and failed:
            _send_again(connection, job, row.destination, report, who, failed)
        elif job is not None and not _any_uncommitted(connection, job, confirming):
            said = f"{row.destination} has all results"
            record_step(connection, job, Step.COMMITTED, who, said)
    return True


def _mark_committed(connection: Connection, row: Row[Any], uids: set[str]) -> None:
    connection.execute(
        update(deliveries)
        .where(_of(row), deliveries.c.result_uid.in_(uids))
        .values(committed_at=datetime.now(UTC))
    )


def _mark_failed(
    connection: Connection, row: Row[Any], asked: set[str], report: CommitmentReport
) -> list[str]:
    """Note the failure beside each result; returns their kinds."""
    failed = sorted(asked & report.failed.keys())
    for uid in failed:
        note = f"not stored by {row.destination}: {failure_reason(report.failed[uid])}"
        connection.execute(
            update(deliveries).where(_of(row), deliveries.c.result_uid == uid).values(note=note)
        )
    kinds = select(results.c.kind).where(results.c.sop_instance_uid.in_(failed))
    return sorted(connection.execute(kinds).scalars())


def _of(row: Row[Any]) -> ColumnElement[bool]:
    return and_(deliveries.c.job_id == row.job_id, deliveries.c.destination == row.destination)


def _unmoved(connection: Connection, row: Row[Any]) -> Job | None:
    """The job of a request; None if it has moved on since its results were acknowledged."""
    locked = select(jobs).where(jobs.c.job_id == row.job_id).with_for_update()
    job = job_from(connection.execute(locked).one())
    return job if job.state in (State.DELIVERED, State.REJECTED) else None


def _any_uncommitted(connection: Connection, job: Job, confirming: Collection[str]) -> bool:
    left = exists().where(
        deliveries.c.job_id == job.job_id,
        deliveries.c.destination.in_(confirming),
        deliveries.c.committed_at.is_(None),
        deliveries.c.state != DeliveryState.GIVEN_UP.value,
    )
    return bool(connection.execute(select(left)).scalar())


def _send_again(
    connection: Connection,
    job: Job,
    destination: str,
    report: CommitmentReport,
    who: str,
    failed: Sequence[str],
) -> None:
    missing = f"{destination} has not stored {', '.join(failed)}: {report.reasons()}"
    if _requests(connection, job.job_id, destination) >= MAX_REQUESTS:
        reason = job.reason if job.state is State.REJECTED else missing
        record_step(connection, job, Step.COMMITMENT_ABANDONED, who, missing, reason=reason)
        return
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.job_id == job.job_id,
            deliveries.c.destination == destination,
            deliveries.c.result_uid.in_(report.failed),
        )
        .values(state=DeliveryState.PENDING.value, committed_at=None)
    )
    record_step(connection, job, Step.COMMITMENT_FAILED, who, missing, delivery_attempts=0)


def _requests(connection: Connection, job_id: int, destination: str) -> int:
    counted = select(func.count()).where(
        commitments.c.job_id == job_id,
        commitments.c.destination == destination,
        commitments.c.state != CommitmentState.SUPERSEDED.value,
    )
    return int(connection.execute(counted).scalar_one())


def commitment_counts(database: Database) -> Mapping[tuple[str, str], int]:
    """Number of requests by destination and state."""
    wanted = select(
        commitments.c.destination, commitments.c.state, func.count().label("requests")
    ).group_by(commitments.c.destination, commitments.c.state)
    return {(row.destination, row.state): row.requests for row in database.rows(wanted)}


# ---- requests of peers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class PeerCommitment:
    """A request of a peer that has not been answered."""

    request_id: int
    peer: str
    request: CommitmentRequest
    attempts: int


def add_peer_request(database: Database, peer: str, request: CommitmentRequest) -> None:
    """Store a request of a peer; the same transaction a second time is answered again."""
    row = {
        "peer": peer,
        "transaction_uid": request.transaction_uid,
        "objects": [list(one) for one in request.objects],
        "received_at": datetime.now(UTC),
        "attempts": 0,
        "answered_at": None,
        "note": "",
    }
    keys = [peer_commitments.c.peer, peer_commitments.c.transaction_uid]
    with database.writing() as connection:
        insert_or_update(connection, peer_commitments, row, keys)


def peer_requests(database: Database, peer: str, max_attempts: int) -> tuple[PeerCommitment, ...]:
    """The requests of a peer without an answer, oldest first."""
    wanted = (
        select(peer_commitments)
        .where(
            peer_commitments.c.peer == peer,
            peer_commitments.c.answered_at.is_(None),
            peer_commitments.c.attempts < max_attempts,
        )
        .order_by(peer_commitments.c.request_id)
        .limit(_AT_ONCE)
    )
    return tuple(
        PeerCommitment(
            row.request_id,
            row.peer,
            CommitmentRequest(row.transaction_uid, tuple((a, b) for a, b in row.objects)),
            row.attempts,
        )
        for row in database.rows(wanted)
    )


def commit(
    database: Database, request: CommitmentRequest, kept_until: datetime, present: Collection[str]
) -> CommitmentReport:
    """Commit to storing what is stored of a request, until a moment.

    Parameters
    ----------
    present
        SOP Instance UIDs of those whose files exist.
    """
    with database.writing() as connection:
        lock_openings(connection)  # nothing is cleared meanwhile
        found = _classes(connection, request.objects)
        stored = {uid: one for uid, one in found.items() if uid in present}
        classes = {uid: sop_class for uid, (sop_class, _) in stored.items()}
        failed = {
            uid: CLASS_CONFLICT if uid in stored else NO_SUCH_INSTANCE
            for sop_class, uid in request.objects
            if classes.get(uid) != sop_class
        }
        for study_uid in sorted({study for uid, (_, study) in stored.items() if uid not in failed}):
            row = {"study_uid": study_uid, "kept_until": kept_until}
            insert_or_update(connection, committed_studies, row, [committed_studies.c.study_uid])
    return CommitmentReport(
        request.transaction_uid, frozenset(stored.keys() - failed.keys()), failed
    )


def stored_of(database: Database, objects: Sequence[ObjectReference]) -> Mapping[str, str]:
    """File name by SOP Instance UID of those of some instances that are registered."""
    uid = instances.c.sop_instance_uid
    wanted = select(uid, instances.c.file_name).where(uid.in_([one[1] for one in objects]))
    return {row.sop_instance_uid: row.file_name for row in database.rows(wanted)}


def _classes(
    connection: Connection, objects: Sequence[ObjectReference]
) -> Mapping[str, tuple[str, str]]:
    """SOP class and study by SOP Instance UID."""
    uid = instances.c.sop_instance_uid
    wanted = select(uid, instances.c.sop_class_uid, instances.c.study_uid).where(
        uid.in_([one[1] for one in objects])
    )
    return {
        row.sop_instance_uid: (row.sop_class_uid, row.study_uid)
        for row in connection.execute(wanted)
    }


def set_answered(database: Database, request_id: int, note: str, *, answered: bool) -> None:
    """Note that a request of a peer was answered, or that its answer could not be delivered."""
    with database.writing() as connection:
        connection.execute(
            update(peer_commitments)
            .where(peer_commitments.c.request_id == request_id)
            .values(
                attempts=peer_commitments.c.attempts + 1,
                answered_at=datetime.now(UTC) if answered else None,
                note=note,
            )
        )
