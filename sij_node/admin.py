"""What an administrator can ask and do; the command line is one rendering of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sij_node.accounts import Change
from sij_node.errors import ImagesCleared
from sij_node.jobs import Delivery, Job, JobStep, State
from sij_node.store.job_table import JobTable
from sij_node.study import Refusal


@dataclass(frozen=True)
class JobHistory:
    """One job with everything that happened to it."""

    job: Job
    steps: tuple[JobStep, ...]
    deliveries: tuple[Delivery, ...]
    conflicts: tuple[Refusal, ...]


@dataclass(frozen=True)
class Admin:
    """Questions and actions on the job table, recorded under a person's name.

    Parameters
    ----------
    who
        Recorded with every change.
    """

    table: JobTable
    who: str

    def jobs(self, states: Sequence[State] = (), limit: int = 50) -> tuple[Job, ...]:
        """The newest jobs, all or those in some states."""
        return tuple(self.table.jobs(states or tuple(State), limit))

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        return self.table.counts()

    def history(self, job_id: int) -> JobHistory:
        """One job with its steps, deliveries and conflicting copies.

        Raises
        ------
        UnknownJob
            If there is no such job.
        """
        job = self.table.get(job_id)
        return JobHistory(
            job,
            tuple(self.table.steps(job_id)),
            self.table.deliveries(job_id),
            self.table.conflicts(job.study_uid),
        )

    def retry(self, job_id: int) -> Job:
        """Queue a rejected or failed job again.

        Raises
        ------
        UnknownJob, IllegalStep
        """
        return self.table.retry(self.table.get(job_id), self.who)

    def cancel(self, job_id: int) -> Job:
        """Cancel a job that is receiving, queued or delivering.

        Raises
        ------
        UnknownJob, IllegalStep
        """
        return self.table.cancel(self.table.get(job_id), self.who)

    def patient(self, job_id: int) -> str:
        """The identifier of a job's patient; that it was looked at is noted.

        Returns
        -------
        str
            With the issuer of the identifier, where the images name one.

        Raises
        ------
        UnknownJob
        ImagesCleared
            If the images, and with them the identifier, are no longer here.
        """
        images = self.table.instances(self.table.get(job_id).study_uid)
        if not images:
            raise ImagesCleared(
                f"The images of job {job_id} were cleared away, and whose they were with them. "
                "The archive knows the study by its UID."
            )
        self.note("reveal patient", f"job {job_id}")
        issuer = images[0].issuer_of_patient_id
        return f"{images[0].patient_id} ({issuer})" if issuer else images[0].patient_id

    def note(self, action: str, subject: str, note: str = "") -> None:
        """Note what was done in this person's name."""
        self.table.note_change(Change(datetime.now(UTC), self.who, action, subject, note))

    def changes(self, limit: int = 50, who: str = "") -> tuple[Change, ...]:
        """The newest changes that people made, of all or of one."""
        return self.table.changes(limit, who)

    def refusals(self, limit: int = 50) -> tuple[Refusal, ...]:
        """The newest objects and associations that were not accepted, and why."""
        return tuple(self.table.refusals(limit))
