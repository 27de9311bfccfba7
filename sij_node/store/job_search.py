"""Questions across all jobs: lists with filters, who they are about, how long things take.

Each is one short reading transaction, so that a page never holds up a sender.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, false, func, or_, select, true

from sij_node.domain.job import FINISHED, Job, State, Step
from sij_node.domain.job_list import ChartEvent, JobFilter, JobPage, JobPatient
from sij_node.store.database import Database
from sij_node.store.tables import deliveries, instances, job_from, job_steps, jobs

RECENT = 50
"""Analyses from which it is judged how long one takes."""
_ENDS = (Step.RESULTS_STORED, Step.KEPT_BACK, Step.REJECT)
_STEPS = {step.value: step for step in Step}
_STATES = {state.value: state for state in State}
"""Looked up here, for a month has tens of thousands of steps."""
_OUTCOMES = (
    Step.CLAIMED,
    *_ENDS,
    Step.ACKNOWLEDGED,
    Step.GIVE_UP,
    Step.TRY_AGAIN,
    Step.DELIVERY_FAILED,
)


class JobSearch:
    """Questions across all jobs.

    Every method raises `DatabaseUnavailable` if the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(
        self, wanted: JobFilter, limit: int, offset: int = 0, before: int | None = None
    ) -> JobPage:
        """Jobs that fit, the newest first.

        Parameters
        ----------
        before
            Only jobs with lower numbers than this.
        """
        fits = _fits(wanted)
        listed = fits if before is None else and_(fits, jobs.c.job_id < before)
        with self._database.reading() as connection:
            total = connection.execute(select(func.count()).select_from(jobs).where(fits)).scalar()
            rows = connection.execute(
                select(jobs)
                .where(listed)
                .order_by(jobs.c.job_id.desc())
                .limit(limit)
                .offset(offset)
            )
            return JobPage(tuple(job_from(row) for row in rows), total or 0)

    def jobs_of_patient(self, patient_id: str, limit: int) -> JobPage:
        """Jobs of a patient whose images are still here, the newest first."""
        studies = select(instances.c.study_uid).where(instances.c.patient_id == patient_id)
        with self._database.reading() as connection:
            rows = connection.execute(
                select(jobs)
                .where(jobs.c.study_uid.in_(studies))
                .order_by(jobs.c.job_id.desc())
                .limit(limit)
            )
            found = tuple(job_from(row) for row in rows)
        return JobPage(found, len(found))

    def same_study(self, study_uid: str) -> tuple[Job, ...]:
        """All jobs of a study, from whatever source, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(jobs).where(jobs.c.study_uid == study_uid).order_by(jobs.c.job_id)
            )
            return tuple(job_from(row) for row in rows)

    def patients(self, study_uids: Iterable[str]) -> Mapping[str, JobPatient]:
        """Whose studies these are; those that have been cleared away are missing."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(
                    instances.c.study_uid,
                    func.min(instances.c.patient_id).label("patient_id"),
                    func.min(instances.c.issuer_of_patient_id).label("issuer"),
                )
                .where(instances.c.study_uid.in_(set(study_uids)))
                .group_by(instances.c.study_uid)
            )
            return {row.study_uid: JobPatient(row.patient_id, row.issuer) for row in rows}

    def queue_order(self) -> tuple[int, ...]:
        """Numbers of the queued jobs, in the order in which they will be claimed."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(jobs.c.job_id)
                .where(jobs.c.state == State.QUEUED.value)
                .order_by(jobs.c.priority.desc(), jobs.c.job_id)
            )
            return tuple(rows.scalars())

    def analysis_seconds(self) -> tuple[float, ...]:
        """How long the last analyses took, from claim to result."""
        ends = [step.value for step in _ENDS]
        with self._database.reading() as connection:
            ended = connection.execute(
                select(job_steps.c.job_id, job_steps.c.step_id, job_steps.c.at)
                .where(job_steps.c.step.in_(ends))
                .order_by(job_steps.c.step_id.desc())
                .limit(RECENT)
            ).all()
            begun = _claims(connection, [row.job_id for row in ended])
        spans = (
            (row.at - max(before)).total_seconds()
            for row in ended
            if (before := [at for at in begun.get(row.job_id, ()) if at <= row.at])
        )
        return tuple(spans)

    def happenings(self, since: datetime) -> tuple[ChartEvent, ...]:
        """What has happened to jobs since a moment, as far as charts count it."""
        with self._database.reading() as connection:
            rows = connection.execute(
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
                    job_steps.c.step.in_([step.value for step in _OUTCOMES]),
                )
                .order_by(job_steps.c.step_id)
            )
            return tuple(
                ChartEvent(job_id, _STEPS[step], _STATES[state], at, opened_at)
                for job_id, step, state, at, opened_at in rows
            )

    def sources(self) -> tuple[str, ...]:
        """AE titles from which there are jobs."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(jobs.c.source_ae).distinct().order_by(jobs.c.source_ae)
            )
            return tuple(rows.scalars())

    def oldest_unfinished(self) -> Job | None:
        """The job that was opened first of those that are not over."""
        under_way = [state.value for state in State if state not in FINISHED]
        with self._database.reading() as connection:
            row = connection.execute(
                select(jobs).where(jobs.c.state.in_(under_way)).order_by(jobs.c.job_id).limit(1)
            ).one_or_none()
            return None if row is None else job_from(row)

    def last_acknowledged(self) -> Mapping[str, datetime]:
        """When each destination last took a result."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(deliveries.c.destination, func.max(deliveries.c.acknowledged_at))
                .where(deliveries.c.acknowledged_at.is_not(None))
                .group_by(deliveries.c.destination)
            )
            return {row[0]: row[1] for row in rows}


def _fits(wanted: JobFilter) -> ColumnElement[bool]:
    source, words = _storable(wanted.source_ae), _storable(wanted.words.strip())
    return and_(
        jobs.c.state.in_([state.value for state in wanted.states]) if wanted.states else true(),
        jobs.c.source_ae == source if source else true(),
        _mentions(words) if words else true(),
    )


def _storable(text: str) -> str:
    """Text from elsewhere without what no database takes."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _mentions(words: str) -> ColumnElement[bool]:
    is_number = words.isascii() and words.isdigit() and len(words) < 10
    return or_(
        jobs.c.job_id == int(words) if is_number else false(),
        jobs.c.study_uid.contains(words, autoescape=True) if not is_number else false(),
        jobs.c.source_ae.icontains(words, autoescape=True),
    )


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
