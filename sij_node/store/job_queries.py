"""Queries for jobs: lists with filters, the jobs of a patient or study, and their history.

Each is a short read transaction of its own, so that a page never blocks the listener.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select, true, union

from sij_node.domain.job import FINISHED, Job, JobStep, State
from sij_node.domain.job_list import JobFilter, JobOrder, JobPage, JobPatient
from sij_node.store.database import Database
from sij_node.store.tables import instances, job_from, job_steps, jobs, step_from, study_attributes


def find_jobs(
    database: Database,
    wanted: JobFilter,
    limit: int,
    offset: int = 0,
    before: int | None = None,
) -> JobPage:
    """Jobs that match a filter, in its order.

    Parameters
    ----------
    before
        Only jobs with lower numbers than this.
    """
    fits = _fits(wanted)
    listed = fits if before is None else and_(fits, jobs.c.job_id < before)
    total = select(func.count()).select_from(jobs).where(fits)
    with database.reading() as connection:
        count = connection.execute(total).scalar()
        rows = connection.execute(_ordered(wanted.order, listed, limit, offset))
        return JobPage(tuple(job_from(row) for row in rows), count or 0)


def newest_jobs(
    database: Database, states: Iterable[State] = (), limit: int = 50, offset: int = 0
) -> list[Job]:
    """Jobs in some states, or in any, newest first."""
    return _jobs(database, _newest(_fits(JobFilter(tuple(states))), limit, offset))


def jobs_of_patient(database: Database, identifier: str, limit: int) -> JobPage:
    """Jobs with a patient ID or accession number whose images are stored, newest first."""
    studies = union(
        select(instances.c.study_uid).where(instances.c.patient_id == identifier),
        select(study_attributes.c.study_uid).where(
            study_attributes.c.accession_number == identifier
        ),
    )
    found = _jobs(database, _newest(jobs.c.study_uid.in_(studies), limit))
    return JobPage(tuple(found), len(found))


def jobs_of_study(database: Database, study_uid: str) -> list[Job]:
    """All jobs of a study, from all sources, oldest first."""
    return _oldest_first(database, jobs.c.study_uid == study_uid)


def receiving_jobs(database: Database) -> list[Job]:
    """Jobs whose study is still arriving, oldest first."""
    return _oldest_first(database, jobs.c.state == State.RECEIVING.value)


def leased_jobs(database: Database) -> list[Job]:
    """Jobs leased by a worker, oldest first."""
    return _oldest_first(database, jobs.c.leased_by != "")


def waiting_jobs(database: Database) -> list[Job]:
    """Jobs that wait before their next attempt, oldest first."""
    return _oldest_first(database, jobs.c.wait_s > 0)


def oldest_unfinished(database: Database) -> Job | None:
    """The job opened first among those that are not finished."""
    unfinished = jobs.c.state.not_in([state.value for state in FINISHED])
    row = database.row(select(jobs).where(unfinished).order_by(jobs.c.job_id).limit(1))
    return None if row is None else job_from(row)


def queue_order(database: Database) -> tuple[int, ...]:
    """Numbers of the queued jobs, in the order in which they will be claimed."""
    queued = (
        select(jobs.c.job_id)
        .where(jobs.c.state == State.QUEUED.value)
        .order_by(jobs.c.priority.desc(), jobs.c.job_id)
    )
    return tuple(row.job_id for row in database.rows(queued))


def steps_of(database: Database, job_id: int) -> tuple[JobStep, ...]:
    """The history of a job, from its opening."""
    steps = select(job_steps).where(job_steps.c.job_id == job_id).order_by(job_steps.c.step_id)
    return tuple(step_from(row) for row in database.rows(steps))


def patients_of(database: Database, study_uids: Iterable[str]) -> Mapping[str, JobPatient]:
    """The patients of studies; cleared studies are missing."""
    wanted = (
        select(
            instances.c.study_uid,
            func.min(instances.c.patient_id).label("patient_id"),
            func.min(instances.c.issuer_of_patient_id).label("issuer"),
        )
        .where(instances.c.study_uid.in_(set(study_uids)))
        .group_by(instances.c.study_uid)
    )
    return {row.study_uid: JobPatient(row.patient_id, row.issuer) for row in database.rows(wanted)}


def patient_id_of(database: Database, study_uid: str) -> str:
    """The patient ID of a study, for the audit trail; empty once its images were cleared."""
    patient = patients_of(database, [study_uid]).get(study_uid)
    return patient.patient_id if patient else ""


def sources(database: Database) -> tuple[str, ...]:
    """AE titles that jobs came from."""
    wanted = select(jobs.c.source_ae).distinct().order_by(jobs.c.source_ae)
    return tuple(row.source_ae for row in database.rows(wanted))


def _newest(fits: ColumnElement[bool], limit: int, offset: int = 0) -> Select[Any]:
    return select(jobs).where(fits).order_by(jobs.c.job_id.desc()).limit(limit).offset(offset)


_ORDERS: Mapping[JobOrder, tuple[ColumnElement[Any], ...]] = MappingProxyType(
    {
        JobOrder.NEWEST: (),
        JobOrder.STUDY_DATE: (func.coalesce(study_attributes.c.study_date, "").desc(),),
        JobOrder.DESCRIPTION: (
            func.coalesce(study_attributes.c.description, "") == "",
            func.lower(study_attributes.c.description),
        ),
        JobOrder.SENDER: (jobs.c.source_ae,),
        JobOrder.STATE: (jobs.c.state,),
        JobOrder.REASON: (jobs.c.reason == "", jobs.c.reason),
    }
)


def _ordered(order: JobOrder, fits: ColumnElement[bool], limit: int, offset: int) -> Select[Any]:
    joined = jobs.outerjoin(study_attributes, jobs.c.study_uid == study_attributes.c.study_uid)
    wanted = select(jobs).select_from(joined).where(fits)
    return wanted.order_by(*_ORDERS[order], jobs.c.job_id.desc()).limit(limit).offset(offset)


def _oldest_first(database: Database, fits: ColumnElement[bool]) -> list[Job]:
    return _jobs(database, select(jobs).where(fits).order_by(jobs.c.job_id))


def _jobs(database: Database, wanted: Select[Any]) -> list[Job]:
    return [job_from(row) for row in database.rows(wanted)]


def _fits(wanted: JobFilter) -> ColumnElement[bool]:
    source, words = _storable(wanted.source_ae), _storable(wanted.words.strip())
    return and_(
        jobs.c.state.in_([state.value for state in wanted.states]) if wanted.states else true(),
        jobs.c.source_ae == source if source else true(),
        _mentions(words) if words else true(),
    )


def _storable(text: str) -> str:
    """Text from a request without the characters that databases refuse."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _iso_date(words: str) -> str:
    """A date as 2026-11-29, 20261129 or 29.11.2026, in ISO 8601; otherwise the words."""
    for form in ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y"):
        with suppress(ValueError):
            return datetime.strptime(words, form).date().isoformat()
    return words


def _mentions(words: str) -> ColumnElement[bool]:
    is_number = words.isascii() and words.isdigit() and len(words) < 10
    described = select(study_attributes.c.study_uid).where(
        or_(
            study_attributes.c.study_date == _iso_date(words),
            study_attributes.c.description.icontains(words, autoescape=True),
        )
    )
    return or_(
        jobs.c.job_id == int(words) if is_number else false(),
        jobs.c.study_uid.in_(described),
        jobs.c.reason.icontains(words, autoescape=True),
        jobs.c.study_uid.contains(words, autoescape=True) if not is_number else false(),
        jobs.c.source_ae.icontains(words, autoescape=True),
    )
