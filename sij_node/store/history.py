"""Job history: each step is written with its history entry, if the job's revision is unchanged."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Unpack

from sqlalchemy import Connection, bindparam, insert, select, update

from sij_node.domain.job import ASKED_FOR, OPEN, Job, JobChanges, State, Step, advance, next_state
from sij_node.domain.users import AdminChange
from sij_node.errors import LeaseLost
from sij_node.store.change_log import add_change
from sij_node.store.tables import job_from, job_row, job_steps, jobs

# Built once: composing a statement costs more than running it, and these run for every image.
_WAITING = (
    select(jobs)
    .where(
        jobs.c.study_uid == bindparam("study_uid"),
        jobs.c.source_ae == bindparam("source_ae"),
        jobs.c.state.in_(bindparam("states", expanding=True)),
    )
    .with_for_update()
)
_CHANGE = (
    update(jobs)
    .where(
        jobs.c.job_id == bindparam("of_job"),
        jobs.c.revision == bindparam("since_revision"),
    )
    .returning(jobs)
)


def record_step(
    connection: Connection,
    job: Job,
    step: Step,
    who: str,
    note: str = "",
    **changes: Unpack[JobChanges],
) -> Job:
    """Take a step and store it with its history entry.

    Raises
    ------
    IllegalStep
        If the job's state does not allow the step.
    LeaseLost
        If the job has changed since it was read.
    """
    return write_step(connection, job, advance(job, step, **changes), step, who, note=note)


def write_step(
    connection: Connection, before: Job, after: Job, step: Step, who: str, *, note: str = ""
) -> Job:
    """Store the job after a step with its history entry.

    Raises
    ------
    LeaseLost
        If the job has changed since `before` was read.
    """
    written = write_job(connection, before, after)
    _add_entry(connection, written, step, before.state, who=who, note=note)
    return written


def write_job(connection: Connection, before: Job, after: Job) -> Job:
    """Store a changed job without history entry; raises `LeaseLost` as `write_step` does."""
    changed = {**job_row(after), "changed_at": datetime.now(UTC)}
    which = {"of_job": before.job_id, "since_revision": before.revision}
    stored = connection.execute(_CHANGE, {**changed, **which}).one_or_none()
    if stored is None:
        raise lease_lost(before)
    return job_from(stored)


def lease_lost(job: Job) -> LeaseLost:
    """The error for a job that another process has changed."""
    return LeaseLost(
        f"Job {job.job_id} has changed since revision {job.revision}; "
        "nothing was written. Read the job again."
    )


def note_step(connection: Connection, job: Job, step: Step, who: str, note: str) -> None:
    """Add a history entry without changing the job or its revision.

    Raises
    ------
    IllegalStep
        If the job's state does not allow the step.
    """
    next_state(job.state, step)
    now = replace(job, changed_at=datetime.now(UTC))
    _add_entry(connection, now, step, job.state, who=who, note=note)


def open_job(
    connection: Connection,
    study_uid: str,
    source_ae: str,
    priority: int,
    count: int,
    who: str = "",
) -> Job:
    """Open a job for a study and source without an open one; `who` defaults to the source."""
    last = last_job(connection, study_uid, source_ae)
    now = datetime.now(UTC)
    row = connection.execute(
        insert(jobs)
        .values(
            study_uid=study_uid,
            source_ae=source_ae,
            state=State.RECEIVING.value,
            revision=1,
            priority=priority,
            analysis_attempts=0,
            delivery_attempts=0,
            leased_by="",
            heartbeat=0,
            wait_s=0.0,
            reason="",
            error_family="",
            weights="",
            predecessor_id=last and last.job_id,
            created_at=now,
            changed_at=now,
            instances=count,
        )
        .returning(jobs)
    ).one()
    job = job_from(row)
    note = f"follows job {last.job_id}" if last else ""
    _add_entry(connection, job, Step.OPENED, None, who=who or source_ae, note=note)
    return job


def last_job(connection: Connection, study_uid: str, source_ae: str) -> Job | None:
    """The latest job of a study and source."""
    row = connection.execute(
        select(jobs)
        .where(jobs.c.study_uid == study_uid, jobs.c.source_ae == source_ae)
        .order_by(jobs.c.job_id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else job_from(row)


def waiting_job(
    connection: Connection, study_uid: str, source_ae: str, states: Sequence[State] = OPEN
) -> Job | None:
    """The receiving or queued job of a study and source, locked; there is at most one."""
    wanted = {
        "study_uid": study_uid,
        "source_ae": source_ae,
        "states": [state.value for state in states],
    }
    row = connection.execute(_WAITING, wanted).one_or_none()
    return None if row is None else job_from(row)


def _add_entry(
    connection: Connection, job: Job, step: Step, origin: State | None, *, who: str, note: str
) -> None:
    connection.execute(
        insert(job_steps).values(
            job_id=job.job_id,
            step=step.value,
            from_state=origin and origin.value,
            to_state=job.state.value,
            who=who,
            note=note,
            at=job.changed_at,
        )
    )
    if step in ASKED_FOR:
        subject = f"job {job.job_id}"
        add_change(connection, AdminChange(job.changed_at, who, step.value, subject, note))
