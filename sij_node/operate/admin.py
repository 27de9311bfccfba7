"""What an administrator can ask and do; command line, page and API are renderings of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from sij_node.config.settings import Config, PeerConfig
from sij_node.domain.job import (
    Delivery,
    DeliveryState,
    Hold,
    Job,
    JobAction,
    JobStep,
    State,
    legal_actions,
    standstill,
)
from sij_node.domain.study import Refusal
from sij_node.domain.users import AdminChange
from sij_node.errors import IllegalStep, ImagesCleared, UnknownName
from sij_node.store.job_table import JobTable


@dataclass(frozen=True)
class JobHistory:
    """One job with everything that happened to it.

    Parameters
    ----------
    actions
        What can be asked of it now.
    standstill
        Why nothing happens to it at the moment; empty when it goes on by itself.
    """

    job: Job
    steps: tuple[JobStep, ...]
    deliveries: tuple[Delivery, ...]
    conflicts: tuple[Refusal, ...]
    actions: tuple[JobAction, ...] = ()
    standstill: str = ""


@dataclass(frozen=True)
class DestinationStatus:
    """Somebody who gets results.

    Parameters
    ----------
    is_peer
        Whether config.toml names it; what waits for one that it does not cannot be sent.
    shadow
        Whether it is in shadow mode and gets nothing.
    hold
        Who holds it and why, if anybody does.
    waiting, kept_back
        Jobs with something for it that is still to be sent; that is kept until asked for.
    """

    ae_title: str
    is_peer: bool
    shadow: bool
    hold: Hold | None
    waiting: int
    kept_back: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why it gets nothing, if it does not."""
        said = {
            str(self.hold): self.hold is not None,
            "shadow mode: nothing is sent": self.shadow,
            "not a [[peer]] of config.toml any more": not self.is_peer,
        }
        return tuple(remark for remark, applies in said.items() if applies)


@dataclass(frozen=True)
class Admin:
    """Questions and actions on the job table, recorded under a person's name.

    Parameters
    ----------
    who
        Recorded with every change.
    peers
        Of the configuration: who can be held, and who is in shadow mode.
    weights
        Names of the [[weights]] that a study can be analysed with again.
    """

    table: JobTable
    who: str
    peers: tuple[PeerConfig, ...] = ()
    weights: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config, table: JobTable, who: str) -> Self:
        """Somebody who administers the node of a configuration."""
        return cls(table, who, config.peer, tuple(one.name for one in config.weights))

    # ---- questions -----------------------------------------------------------------------

    def jobs(self, states: Sequence[State] = (), limit: int = 50) -> tuple[Job, ...]:
        """The newest jobs, all or those in some states."""
        return tuple(self.table.jobs(states or tuple(State), limit))

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        return self.table.counts()

    def history(self, job_id: int) -> JobHistory:
        """One job with its steps, deliveries and conflicting copies, and what can be asked of it.

        Raises
        ------
        UnknownJob
            If there is no such job.
        """
        job = self.table.get(job_id)
        deliveries = self.table.deliveries(job_id)
        return JobHistory(
            job,
            tuple(self.table.steps(job_id)),
            deliveries,
            self.table.conflicts(job.study_uid),
            legal_actions(job),
            standstill(job, deliveries, self.table.holds(), self._shadow),
        )

    def destinations(self) -> tuple[DestinationStatus, ...]:
        """Everybody who gets results, or for whom some wait, by AE title."""
        holds = {hold.destination: hold for hold in self.table.holds()}
        waiting = self.table.jobs_by_destination(DeliveryState.PENDING)
        kept_back = self.table.jobs_by_destination(DeliveryState.KEPT_BACK)
        peers = {peer.ae_title for peer in self.peers}
        return tuple(
            DestinationStatus(
                title,
                title in peers,
                title in self._shadow,
                holds.get(title),
                waiting.get(title, 0),
                kept_back.get(title, 0),
            )
            for title in sorted(peers | holds.keys() | waiting.keys() | kept_back.keys())
        )

    def refusals(self, limit: int = 50) -> tuple[Refusal, ...]:
        """The newest objects and associations that were not accepted, and why."""
        return tuple(self.table.refusals(limit))

    # ---- one job -------------------------------------------------------------------------

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
        self.table.note_change(AdminChange(datetime.now(UTC), self.who, action, subject, note))

    def changes(self, limit: int = 50, who: str = "") -> tuple[AdminChange, ...]:
        """The newest changes that people made, of all or of one."""
        return self.table.changes(limit, who)

    def set_priority(self, job_id: int, priority: int) -> Job:
        """Have a job that is receiving or queued analysed sooner (9) or later (0).

        Raises
        ------
        UnknownJob, IllegalStep
        """
        return self.table.set_priority(self.table.get(job_id), priority, self.who)

    def try_now(self, job_id: int) -> Job:
        """End the wait before a job's next attempt.

        Raises
        ------
        UnknownJob, IllegalStep
        """
        job = self.table.get(job_id)
        if JobAction.TRY_NOW not in legal_actions(job):
            raise IllegalStep(f"Job {job_id} is {job.state.value} and waits for no attempt.")
        released = self.table.release(job, self.who)
        self.note(JobAction.TRY_NOW.value, f"job {job_id}")
        return released

    def redeliver(self, job_id: int, destination: str | None = None) -> Job:
        """Have the results of a job sent again, to one destination or to all that it has.

        Raises
        ------
        UnknownJob
        IllegalStep
            Also if the destination is in shadow mode.
        """
        self._check_that_it_gets_results(destination, self.table.deliveries(job_id))
        return self.table.redeliver(self.table.get(job_id), self.who, destination)

    def reanalyse(self, job_id: int, weights: str = "") -> Job:
        """Open a job that analyses a stored study again; its results are a revision.

        Parameters
        ----------
        weights
            The [[weights]] to use, by name; empty for those of [worker].

        Raises
        ------
        UnknownJob, IllegalStep
        UnknownName
            If config.toml names no such weights.
        """
        if weights and weights not in self.weights:
            there_are = ", ".join(self.weights) or "none"
            raise UnknownName(
                f"config.toml names no [[weights]] {weights}; there are: {there_are}."
            )
        return self.table.reanalyse(self.table.get(job_id), self.who, weights)

    # ---- one destination -----------------------------------------------------------------

    def hold(self, destination: str, reason: str) -> Hold:
        """Send nothing to a destination until it is released; what is for it waits.

        Raises
        ------
        UnknownName
            If it is no [[peer]].
        IllegalStep
            If it is held already.
        """
        titles = [peer.ae_title for peer in self.peers]
        if destination not in titles:
            raise UnknownName(
                f"config.toml names no [[peer]] {destination}; there are: {', '.join(titles)}."
            )
        return self.table.hold(destination, reason, self.who)

    def release_hold(self, destination: str) -> Hold:
        """Send to a destination again; raises `IllegalStep` if it is not held."""
        return self.table.release_hold(destination, self.who)

    def send_kept_back(self, destination: str) -> tuple[Job, ...]:
        """Send what was kept back in shadow mode: the newest results of each study.

        Raises
        ------
        IllegalStep
            If the destination still is in shadow mode.
        """
        return tuple(
            self.redeliver(job.job_id, destination) for job in self.table.kept_back(destination)
        )

    @property
    def _shadow(self) -> frozenset[str]:
        return frozenset(peer.ae_title for peer in self.peers if peer.shadow)

    def _check_that_it_gets_results(
        self, destination: str | None, deliveries: Sequence[Delivery]
    ) -> None:
        wanted = {destination} if destination else {one.destination for one in deliveries}
        for title in sorted(wanted & self._shadow):
            raise IllegalStep(
                f"{title} is in shadow mode, it gets nothing. Set shadow = false for this "
                "[[peer]] of config.toml and start the node again."
            )
