"""The alerts that each channel has reported, so that a restart sends nothing twice."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, func, insert, select

from sij_node.domain.alerts import FailedJob, ReportedAlert
from sij_node.domain.health import HealthStatus
from sij_node.domain.job import Step
from sij_node.store.database import Database
from sij_node.store.tables import Utc, alarms, instances, job_steps, jobs


class AlertTable:
    """The alerts that each channel has reported.

    Every method raises `DatabaseUnavailable` if the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, channel: str) -> Mapping[str, ReportedAlert]:
        """What a channel has reported, by key."""
        with self._database.reading() as connection:
            rows = connection.execute(select(alarms).where(alarms.c.channel == channel))
            return {
                row.key: ReportedAlert(
                    row.key, HealthStatus(row.verdict), row.words, row.since, row.told_at, row.mark
                )
                for row in rows
            }

    def remember(self, channel: str, known: Mapping[str, ReportedAlert]) -> None:
        """Replace what a channel has reported."""
        with self._database.writing() as connection:
            connection.execute(delete(alarms).where(alarms.c.channel == channel))
            rows = [
                {
                    "channel": channel,
                    "key": one.key,
                    "verdict": one.status.value,
                    "words": one.message,
                    "since": one.since,
                    "told_at": one.sent_at,
                    "mark": one.last_step_id,
                }
                for one in known.values()
            ]
            if rows:
                connection.execute(insert(alarms), rows)

    def last_step(self) -> int:
        """The newest step of all jobs; 0 if there is none."""
        with self._database.reading() as connection:
            return connection.execute(select(func.max(job_steps.c.step_id))).scalar() or 0

    def failed_since(self, step_id: int) -> tuple[FailedJob, ...]:
        """Jobs that failed after a step, oldest first."""
        patient = (
            select(func.max(instances.c.patient_id))
            .where(instances.c.study_uid == jobs.c.study_uid)
            .scalar_subquery()
        )
        with self._database.reading() as connection:
            rows = connection.execute(
                select(
                    job_steps.c.step_id,
                    jobs.c.job_id,
                    jobs.c.source_ae,
                    job_steps.c.note,
                    jobs.c.study_uid,
                    patient.label("patient_id"),
                )
                .join(jobs, jobs.c.job_id == job_steps.c.job_id)
                .where(job_steps.c.step_id > step_id, job_steps.c.step == Step.GIVE_UP.value)
                .order_by(job_steps.c.step_id)
            )
            return tuple(
                FailedJob(
                    row.step_id,
                    row.job_id,
                    row.source_ae,
                    row.note,
                    row.study_uid,
                    row.patient_id or "",
                )
                for row in rows
            )

    def last_studies(self) -> Mapping[str, datetime]:
        """When each sender began to send its newest study."""
        newest = func.max(jobs.c.created_at, type_=Utc)
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs.c.source_ae, newest).group_by(jobs.c.source_ae))
            return {row[0]: row[1] for row in rows}
