"""Everything an administrator can ask of the node and do to it.

Page, API and command line are three renderings of `Admin`; none of them touches a table. Whoever
reveals, searches for, views or downloads something of a patient, or changes anything, is recorded
here in the change log and in the audit trail, so no way in can forget to.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydicom import Dataset

from models.findings import Position, Presence
from sij_node.audit.messages import (
    AuditedStudy,
    AuditMessage,
    EventAction,
    HumanUser,
    SecurityAlert,
    instances_accessed,
    patient_searched,
    security_alert,
)
from sij_node.config.profiles import Language
from sij_node.config.routing import profile_made_for, recipients_of
from sij_node.config.settings import AnyDestination, Config
from sij_node.domain.analysis_record import AnalysisRecord, SeriesUse
from sij_node.domain.job import (
    Delivery,
    DeliveryState,
    Hold,
    Job,
    JobAction,
    JobStep,
    Result,
    State,
    legal_actions,
    standstill,
)
from sij_node.domain.job_list import ChartEvent, JobFilter, JobPage, WeightsUse
from sij_node.domain.keyed_hash import keyed_hash
from sij_node.domain.peer_activity import PeerActivity
from sij_node.domain.research_table import ExportedStudies, research_rows
from sij_node.domain.study import CopySummary, Refusal, StudyAttributes
from sij_node.domain.users import AdminChange
from sij_node.domain.verdicts import JudgedSite, Verdict, new_verdicts
from sij_node.errors import (
    DestinationUnavailable,
    IllegalStep,
    ImagesCleared,
    LeaseLost,
    ResultUnknown,
    SpoolUnavailable,
    UnknownName,
)
from sij_node.operate.health_check import HealthReport, check_health
from sij_node.operate.judged_studies import JudgedStudy, images_of, judged_studies
from sij_node.operate.research_export import research_studies
from sij_node.queue.completeness import uses_in_study
from sij_node.results.conclusion import conclusion
from sij_node.results.language import ENGLISH, WORDINGS
from sij_node.results.report_text import ReportText, report_text
from sij_node.store import (
    change_log,
    destination_holds,
    job_queries,
    job_statistics,
    received_copies,
    refusals,
)
from sij_node.store.analysis_records import analysed_jobs, conclusions_of, record_of
from sij_node.store.database import Database
from sij_node.store.deliveries import deliveries_of, jobs_by_destination, withheld_jobs
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity_table import PeerActivityLog, PeerActivityTable
from sij_node.store.registration import received_instances
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_header, read_result
from sij_node.store.study_attributes_table import attributes_of
from sij_node.store.verdict_table import add_verdicts, judged_sites, verdicts_of

ALL_JOBS = JobFilter()
MOST_AT_ONCE = 500
"""Jobs that one bulk action touches at most, the newest first."""
_NOT_ANALYSED = (State.RECEIVING, State.QUEUED, State.ANALYSING)
_VIEWED_AGAIN_AFTER = timedelta(minutes=15)
"""Viewing the same key images within this time is one entry, however many of them there are."""


@dataclass(frozen=True)
class JobHistory:
    """One job with everything that happened to it.

    Parameters
    ----------
    conflicts
        Instances that arrived again with different content.
    actions
        The actions that its state allows now.
    standstill
        Why the job does not move on at the moment; empty while it does.
    copies
        Second copies of its images, corrections included, that await a decision.
    missing
        Results that the destination's profile lists and that were not made, because the profile
        was changed since; a redelivery makes them.
    """

    job: Job
    steps: tuple[JobStep, ...]
    deliveries: tuple[Delivery, ...]
    conflicts: tuple[Refusal, ...]
    actions: tuple[JobAction, ...] = ()
    standstill: str = ""
    copies: tuple[CopySummary, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyDetails:
    """A job with what is known of its study.

    Parameters
    ----------
    record
        What the last analysis found, without key images that are still being drawn; None if
        there was no analysis.
    is_drawing
        Whether key images are still being drawn.
    series
        The series received so far, of a study that has not been analysed yet.
    same_study
        All jobs of the study, the oldest first.
    pseudonym
        Of the patient; empty once the images were cleared.
    """

    history: JobHistory
    record: AnalysisRecord | None
    is_drawing: bool
    series: tuple[SeriesUse, ...]
    same_study: tuple[Job, ...]
    pseudonym: str
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class BulkOutcome:
    """What an action on all jobs of a list did.

    Parameters
    ----------
    done
        Numbers of the jobs it was carried out on.
    refused
        Why it was not carried out on others, by job number.
    left
        Matching jobs beyond `MOST_AT_ONCE`, untouched.
    """

    action: JobAction
    done: tuple[int, ...]
    refused: Mapping[int, str]
    left: int


@dataclass(frozen=True)
class DestinationStatus:
    """A destination of results.

    Parameters
    ----------
    is_configured
        Whether config.toml lists it; results for one that is not listed cannot be sent.
    shadow
        Whether it is in shadow mode and receives nothing.
    hold
        Who holds it and why, if it is held.
    waiting, withheld
        Jobs with results pending for it; with results withheld from it.
    """

    ae_title: str
    is_configured: bool
    shadow: bool
    hold: Hold | None
    waiting: int
    withheld: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why it receives nothing, if so."""
        said = {
            str(self.hold): self.hold is not None,
            "shadow mode: nothing is sent": self.shadow,
            "no longer in config.toml": not self.is_configured,
        }
        return tuple(remark for remark, applies in said.items() if applies)


@dataclass(frozen=True)
class PeerStatus:
    """A peer as sender and as destination.

    Parameters
    ----------
    config
        A [[peer]] or a [[destination]]; None if config.toml no longer lists it.
    acknowledged_at
        When it last acknowledged a result.
    """

    destination: DestinationStatus
    config: AnyDestination | None
    activity: PeerActivity
    acknowledged_at: datetime | None


@dataclass(frozen=True)
class Admin:
    """Questions and actions in the name of one user.

    Parameters
    ----------
    who
        Recorded with everything that is changed or looked up.
    record
        Takes messages of the audit trail.
    check
        Tests the connection to a destination; raises `DestinationUnavailable`.
    key
        The node's secret key, for pseudonyms.
    """

    config: Config
    _table: JobTable = field(repr=False)
    _spool: Spool = field(repr=False)
    _record: Callable[[AuditMessage], None] = field(repr=False)
    _check: Callable[[AnyDestination], None] = field(repr=False)
    _key: bytes = field(repr=False)
    who: HumanUser

    # ---- jobs ----------------------------------------------------------------------------

    def jobs(
        self,
        wanted: JobFilter = ALL_JOBS,
        limit: int = 50,
        offset: int = 0,
        before: int | None = None,
    ) -> JobPage:
        """Matching jobs, the newest first; with `before`, only those with lower numbers."""
        return job_queries.find_jobs(self._database, wanted, limit, offset, before)

    def jobs_of_patient(self, identifier: str, limit: int = 500) -> JobPage:
        """Jobs with a patient ID or accession number, while their images are stored.

        The search is recorded.
        """
        found = job_queries.jobs_of_patient(self._database, identifier, limit)
        self._record(patient_searched(self.who, identifier, f"{found.total} jobs found"))
        self.note("search patient", f"{found.total} jobs")
        return found

    def pseudonyms(self, jobs: Iterable[Job]) -> Mapping[str, str]:
        """Pseudonyms by Study Instance UID, without studies whose images were cleared.

        The same patient always has the same pseudonym on this node.
        """
        patients = job_queries.patients_of(self._database, (job.study_uid for job in jobs))
        return {
            study_uid: keyed_hash(self._key, "patient", one.patient_id, one.issuer)[:12]
            for study_uid, one in patients.items()
        }

    def study_attributes(self, jobs: Iterable[Job]) -> Mapping[str, StudyAttributes]:
        """Date, description and accession number by Study Instance UID, as `pseudonyms`."""
        return attributes_of(self._database, (job.study_uid for job in jobs))

    def conclusions(self, jobs: Iterable[Job]) -> Mapping[int, tuple[str, ...]]:
        """The conclusions of the analysed jobs among some, in English, by job number."""
        found = conclusions_of(self._database, (job.job_id for job in jobs))
        return {
            job_id: conclusion(findings, asas_met, ENGLISH)
            for job_id, (findings, asas_met) in found.items()
        }

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        return job_statistics.job_counts(self._database)

    def senders(self) -> tuple[str, ...]:
        """AE titles from which there are jobs."""
        return job_queries.sources(self._database)

    def queue_order(self) -> tuple[int, ...]:
        """Numbers of the queued jobs, in the order in which they will be analysed."""
        return job_queries.queue_order(self._database)

    def analysis_seconds(self) -> tuple[float, ...]:
        """How long the most recent analyses took."""
        return job_statistics.analysis_seconds(self._database)

    def chart_events(self, since: datetime) -> tuple[ChartEvent, ...]:
        """The steps of all jobs since a moment, as far as charts count them."""
        return job_statistics.chart_events(self._database, since)

    def weights_used(self) -> tuple[WeightsUse, ...]:
        """The weights that analysed stored jobs, and since when; those in use last first."""
        return job_statistics.weights_used(self._database)

    def oldest_unfinished(self) -> Job | None:
        """The oldest job that is still in progress."""
        return job_queries.oldest_unfinished(self._database)

    # ---- one job -------------------------------------------------------------------------

    def history(self, job_id: int) -> JobHistory:
        """One job with its steps, deliveries, conflicting copies and available actions.

        Raises
        ------
        UnknownJob
        """
        job = self._table.get(job_id)
        deliveries = deliveries_of(self._database, job_id)
        return JobHistory(
            job,
            job_queries.steps_of(self._database, job_id),
            deliveries,
            refusals.conflicts_of(self._database, job.study_uid),
            legal_actions(job),
            standstill(
                job, deliveries, destination_holds.current_holds(self._database), self._shadow
            ),
            self._copies_of(job.study_uid),
            self._missing(job, deliveries),
        )

    def study(self, job_id: int, *, shows_key_images: bool = False) -> StudyDetails:
        """One job with its findings, series and key images.

        Parameters
        ----------
        shows_key_images
            Whether the user gets to see them; that is recorded.

        Raises
        ------
        UnknownJob
        """
        history = self.history(job_id)
        job, record = history.job, record_of(self._database, job_id)
        drawn = record and self._drawn(record)
        if shows_key_images and drawn and drawn.pictures:
            self._note_viewed(job)
        return StudyDetails(
            history,
            drawn,
            record != drawn,
            self._series_so_far(job),
            tuple(job_queries.jobs_of_study(self._database, job.study_uid)),
            self.pseudonyms([job]).get(job.study_uid, ""),
            verdicts_of(self._database, job_id),
        )

    def key_image(self, job_id: int, name: str) -> Path:
        """The file of a key image. Viewing key images is recorded.

        Raises
        ------
        UnknownJob
        ResultUnknown
            If the job has no such image, or it is not drawn yet.
        """
        job, record = self._table.get(job_id), record_of(self._database, job_id)
        if record is None or name not in {one.file_name for one in self._drawn(record).pictures}:
            raise ResultUnknown(f"Job {job_id} has no such key image. Reload its page.")
        self._note_viewed(job)
        return self._spool.path_of_result(name)

    def patient(self, job_id: int) -> str:
        """The patient ID of a job, with its issuer if the images name one. It is recorded.

        Raises
        ------
        UnknownJob
        ImagesCleared
            If the images, and with them the patient ID, were cleared.
        """
        job = self._table.get(job_id)
        found = job_queries.patients_of(self._database, [job.study_uid]).get(job.study_uid)
        if found is None:
            raise ImagesCleared(
                f"The images of job {job_id} were cleared from the spool, and the patient ID with "
                "them. Look the study up in the archive by its Study Instance UID."
            )
        self._note_access(job, "reveal patient", "patient revealed")
        return f"{found.patient_id} ({found.issuer})" if found.issuer else found.patient_id

    def results(self, job_id: int) -> tuple[Result, ...]:
        """The objects that a job has produced."""
        self._table.get(job_id)
        return tuple(self._results(job_id).values())

    def result_file(self, job_id: int, sop_instance_uid: str) -> tuple[Result, bytes]:
        """A result and its DICOM file. The download is recorded.

        Raises
        ------
        UnknownJob, ResultUnknown, ImagesCleared, StoredCopyDamaged, SpoolUnavailable
        """
        job, found = self._table.get(job_id), self._results(job_id)
        if sop_instance_uid not in found:
            raise ResultUnknown(
                f"Job {job_id} has no result {sop_instance_uid}. Its results are listed at "
                f"/api/v1/jobs/{job_id}/results."
            )
        result = found[sop_instance_uid]
        content = read_result(self._spool, result)
        self._note_access(job, "download result", f"{result.kind} downloaded", result.kind)
        return result, content

    def report_text(self, job_id: int, language: Language | None = None) -> ReportText:
        """The text of a study's findings, to be pasted into a report.

        Parameters
        ----------
        language
            That of the sender's output profile by default.

        Raises
        ------
        UnknownJob
        ResultUnknown
            If the study was not analysed.
        """
        job, record = self._table.get(job_id), record_of(self._database, job_id)
        if record is None or not record.findings:
            raise ResultUnknown(f"Job {job_id} is {job.state} and has no findings.")
        chosen = language or self.config.profile_for(job.source_ae).language
        return report_text(record, WORDINGS[chosen])

    def judge(self, job_id: int, stated: Mapping[Position, Presence]) -> tuple[Verdict, ...]:
        """Add this user's verdicts on findings; they change nothing that was sent.

        Parameters
        ----------
        stated
            Present or absent; undetermined withdraws an earlier verdict.

        Returns
        -------
        tuple of Verdict
            Those that differ from what this user stated before.

        Raises
        ------
        UnknownJob
        IllegalStep
            If the study was not analysed.
        """
        job, record = self._table.get(job_id), record_of(self._database, job_id)
        findings = record.findings if record else ()
        earlier = verdicts_of(self._database, job_id)
        new = new_verdicts(findings, stated, earlier, self.who.user, datetime.now(UTC))
        add_verdicts(self._database, job_id, new)
        if new:
            decisions = Counter(one.decision for one in new)
            said = ", ".join(f"{count} {decision}" for decision, count in decisions.items())
            self._audit_study(job.study_uid, f"verdicts, job {job_id}", EventAction.UPDATE)
            self.note("give verdicts", f"job {job_id}", said)
        return new

    def accept_all(self, job_id: int) -> tuple[Verdict, ...]:
        """Accept every call on which this user has given no verdict yet.

        Raises
        ------
        UnknownJob
        IllegalStep
            If the study was not analysed.
        """
        record, earlier = record_of(self._database, job_id), verdicts_of(self._database, job_id)
        judged = {one.position for one in earlier if one.reader == self.who.user}
        if record is None or not record.findings:
            raise IllegalStep(f"Job {job_id} has no findings to accept: it was not analysed.")
        open_calls = {
            one.position: one.presence
            for one in record.findings
            if one.position not in judged and one.presence is not Presence.UNDETERMINED
        }
        return self.judge(job_id, open_calls)

    def judged_sites(self, since: datetime | None = None) -> tuple[JudgedSite, ...]:
        """All verdicts, or those given since a moment."""
        return judged_sites(self._database, since)

    def judged_studies(self) -> Iterator[tuple[JudgedStudy, Callable[[], list[Dataset]]]]:
        """Studies with verdicts, each with a function that reads its images.

        Each study is recorded when it is handed out.
        """
        for study in judged_studies(self._database, self._key):
            self._audit_study(study.study_uid, "exported as training case", EventAction.READ)
            yield study, partial(images_of, self._database, self._spool, study.study_uid)

    def export_scores(self, wanted: ExportedStudies) -> Iterator[Sequence[str]]:
        """The research table of analysed studies: its head, then a row for each.

        The export is recorded, with every study in it.
        """
        jobs = analysed_jobs(self._database, wanted.since, wanted.until, wanted.source_ae)
        for job in jobs:
            self._audit_study(job.study_uid, "scores exported for research", EventAction.READ)
        self.note("export scores", f"{len(jobs)} studies", f"dates: {wanted.dates}")
        return research_rows(
            research_studies(self._database, self._spool, self._key, jobs, wanted.dates)
        )

    def note_results_written(self, study_uid: str, profile: str) -> None:
        """Record that a study's results are written to a folder."""
        self._audit_study(study_uid, "results written to a folder", EventAction.READ)
        self.note("write results", f"study {study_uid}", profile)

    # ---- the node ------------------------------------------------------------------------

    def check_ready(self) -> None:
        """Raise `DatabaseUnavailable` or `SpoolUnavailable` unless both answer."""
        self.counts()
        self._spool.free_mb()

    def health(self) -> HealthReport:
        """The status of every component, with recommended actions."""
        return check_health(self.config, self._database, self._spool)

    def refusals(self, limit: int = 50) -> tuple[Refusal, ...]:
        """The most recently rejected objects and associations, and why."""
        return refusals.newest_refusals(self._database, limit)

    def changes(self, limit: int = 50, who: str = "") -> tuple[AdminChange, ...]:
        """The most recent entries of the change log, of all users or of one."""
        return change_log.newest_changes(self._database, limit, who)

    def note(self, action: str, subject: str, note: str = "") -> None:
        """Enter something into the change log under this user's name."""
        change_log.note_change(
            self._database, AdminChange(datetime.now(UTC), self.who.user, action, subject, note)
        )

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the [[weights]] that a study can be reanalysed with."""
        return tuple(one.name for one in self.config.weights)

    # ---- actions on a job ----------------------------------------------------------------

    def retry(self, job_id: int) -> Job:
        """Queue a rejected or failed job again, with all its attempts.

        Raises
        ------
        UnknownJob, IllegalStep
        """
        job = self._table.retry(self._table.get(job_id), self.who.user)
        return self._audited(job, JobAction.RETRY)

    def cancel(self, job_id: int) -> Job:
        """Cancel a job that is receiving, queued or delivering.

        Raises
        ------
        UnknownJob, IllegalStep
        """
        job = self._table.cancel(self._table.get(job_id), self.who.user)
        return self._audited(job, JobAction.CANCEL)

    def set_priority(self, job_id: int, priority: int) -> Job:
        """Set the priority of a job that is receiving or queued; 9 is analysed first.

        Raises
        ------
        UnknownJob, IllegalStep
        """
        job = self._table.set_priority(self._table.get(job_id), priority, self.who.user)
        return self._audited(job, JobAction.SET_PRIORITY)

    def try_now(self, job_id: int) -> Job:
        """End the wait before a job's next attempt.

        Raises
        ------
        UnknownJob, IllegalStep
        """
        job = self._table.get(job_id)
        if JobAction.TRY_NOW not in legal_actions(job):
            raise IllegalStep(
                f"Job {job_id} is {job.state.value} and is not waiting for another attempt."
            )
        released = self._table.release(job, self.who.user)
        self.note(JobAction.TRY_NOW.value, f"job {job_id}")
        return self._audited(released, JobAction.TRY_NOW)

    def redeliver(self, job_id: int, destination: str | None = None) -> Job:
        """Send the results of a job again, to one destination or to all that it has.

        Results that the destination's profile lists by now and that were not made are made from
        the stored images by a further job; the history says which.

        Raises
        ------
        UnknownJob
        IllegalStep
            Also if the destination is in shadow mode.
        """
        job, deliveries = self._table.get(job_id), deliveries_of(self._database, job_id)
        self._check_not_in_shadow(destination, deliveries)
        made_by = self._make_missing(job, destination, deliveries)
        wanted = (d for d in deliveries if destination in (None, d.destination))
        note = f"{', '.join(sorted({one.result.kind for one in wanted}))}{made_by}"
        job = self._table.redeliver(self._table.get(job_id), self.who.user, destination, note)
        return self._audited(job, JobAction.REDELIVER)

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
            If config.toml has no such weights.
        """
        if weights and weights not in self.weights:
            there_are = ", ".join(self.weights) or "none"
            raise UnknownName(
                f"config.toml has no [[weights]] named {weights}; available: {there_are}."
            )
        job = self._table.reanalyse(self._table.get(job_id), self.who.user, weights)
        return self._audited(job, JobAction.REANALYSE)

    def act_on_all(self, action: JobAction, wanted: JobFilter) -> BulkOutcome:
        """Retry, cancel or redeliver every matching job; one that refuses stops no other.

        Raises
        ------
        IllegalStep
            If the action is not one of these.
        """
        acts = {
            JobAction.RETRY: self.retry,
            JobAction.CANCEL: self.cancel,
            JobAction.REDELIVER: self.redeliver,
        }
        if action not in acts:
            there_are = ", ".join(acts)
            raise IllegalStep(f"{action} cannot be asked for many jobs; available: {there_are}.")
        found = self.jobs(wanted, MOST_AT_ONCE)
        refused: dict[int, str] = {}
        for job in found.jobs:
            try:
                acts[action](job.job_id)
            except (IllegalStep, LeaseLost) as error:
                refused[job.job_id] = str(error)
        done = tuple(job.job_id for job in found.jobs if job.job_id not in refused)
        return BulkOutcome(action, done, refused, found.total - len(found.jobs))

    # ---- second copies of a study's images -------------------------------------------------

    def studies_with_copies(self) -> tuple[tuple[CopySummary, ...], ...]:
        """Corrections and conflicts that await a decision, by study, oldest first."""
        studies = received_copies.studies_with_copies(self._database)
        return tuple(map(self._copies_of, studies))

    def job_of_study(self, study_uid: str) -> Job | None:
        """The latest job of a study; None if it has none."""
        found = job_queries.jobs_of_study(self._database, study_uid)
        return found[-1] if found else None

    def accept_copies(self, job_id: int) -> Job:
        """Put corrected or conflicting copies in the place of the stored images.

        Returns
        -------
        Job
            The job that analyses the study again, or the given one if no image was replaced.

        Raises
        ------
        UnknownJob, SpoolUnavailable
        IllegalStep
            If no copy awaits a decision.
        """
        job = self._table.get(job_id)
        opened = received_copies.accept_copies(
            self._database, self._spool, job.study_uid, self.who.user
        )
        self.note("accept copies", f"job {job_id}", f"study {job.study_uid}")
        self._audit_study(job.study_uid, f"accept copies, job {job_id}", EventAction.UPDATE)
        return next((one for one in opened if one.source_ae == job.source_ae), job)

    def discard_copies(self, job_id: int) -> Job:
        """Keep the stored images of a job's study, and decide no more about the copies.

        Raises
        ------
        UnknownJob
        IllegalStep
            If no copy awaits a decision.
        """
        job = self._table.get(job_id)
        received_copies.discard_copies(self._database, job.study_uid, self.who.user)
        self.note("discard copies", f"job {job_id}", f"study {job.study_uid}")
        self._audit_study(job.study_uid, f"discard copies, job {job_id}", EventAction.UPDATE)
        return job

    # ---- peers ---------------------------------------------------------------------------

    def destinations(self) -> tuple[DestinationStatus, ...]:
        """Every peer and destination, also a former one with pending or withheld results."""
        holds = {hold.destination: hold for hold in destination_holds.current_holds(self._database)}
        waiting = jobs_by_destination(self._database, DeliveryState.PENDING)
        withheld = jobs_by_destination(self._database, DeliveryState.WITHHELD)
        configured = self.config.titles
        return tuple(
            DestinationStatus(
                title,
                title in configured,
                title in self._shadow,
                holds.get(title),
                waiting.get(title, 0),
                withheld.get(title, 0),
            )
            for title in sorted({*configured, *holds, *waiting, *withheld})
        )

    def peers(self) -> tuple[PeerStatus, ...]:
        """The destinations with their configuration and activity, by AE title."""
        activity = {one.peer: one for one in self._activity.contacts()}
        acknowledged = job_statistics.last_deliveries(self._database)
        return tuple(
            PeerStatus(
                one,
                self.config.destination_titled(one.ae_title),
                activity.get(one.ae_title, PeerActivity(one.ae_title)),
                acknowledged.get(one.ae_title),
            )
            for one in self.destinations()
        )

    def echo(self, ae_title: str) -> str:
        """Test the connection to a peer, by C-ECHO, or to a destination.

        Returns
        -------
        str
            Why it did not answer, and what to do; empty if it answered.

        Raises
        ------
        UnknownName
        """
        to, error = self._configured(ae_title), ""
        try:
            self._check(to)
        except DestinationUnavailable as unavailable:
            error = str(unavailable)
        log = PeerActivityLog(self._activity)
        log.echo_sent(ae_title, error)
        log.write()
        return error

    def hold(self, ae_title: str, reason: str) -> Hold:
        """Send nothing to a destination until it is released; its results stay pending.

        Raises
        ------
        UnknownName
            If config.toml has no such [[peer]] or [[destination]].
        IllegalStep
            If it is held already.
        """
        held = destination_holds.hold(
            self._database, self._configured(ae_title).title, reason, self.who.user
        )
        self._audit_peer(ae_title, f"hold {ae_title}: {reason}")
        return held

    def release_hold(self, ae_title: str) -> Hold:
        """Send to a destination again; raises `IllegalStep` if it is not held."""
        released = destination_holds.release(self._database, ae_title, self.who.user)
        self._audit_peer(ae_title, f"release {ae_title}")
        return released

    def send_withheld(self, ae_title: str) -> tuple[Job, ...]:
        """Send what was withheld in shadow mode: the newest results of each study.

        Raises
        ------
        IllegalStep
            If the destination still is in shadow mode.
        """
        return tuple(
            self.redeliver(job.job_id, ae_title) for job in withheld_jobs(self._database, ae_title)
        )

    # ---- within --------------------------------------------------------------------------

    @property
    def _database(self) -> Database:
        return self._table.database

    @property
    def _activity(self) -> PeerActivityTable:
        return PeerActivityTable(self._database)

    @property
    def _shadow(self) -> frozenset[str]:
        return self.config.shadow_titles

    def _configured(self, title: str) -> AnyDestination:
        found = self.config.destination_titled(title)
        if found is None:
            raise UnknownName(
                f"config.toml has no [[peer]] or [[destination]] {title}; available: "
                f"{', '.join(self.config.titles)}."
            )
        return found

    def _copies_of(self, study_uid: str) -> tuple[CopySummary, ...]:
        found = received_copies.copies_of(self._database, study_uid)
        return tuple(one.summary for one in found)

    def _check_not_in_shadow(self, destination: str | None, deliveries: Sequence[Delivery]) -> None:
        wanted = {destination} if destination else {one.destination for one in deliveries}
        for title in sorted(wanted & self._shadow):
            raise IllegalStep(
                f"{title} is in shadow mode and receives nothing. Set shadow = false for it in "
                "config.toml and restart the node."
            )

    def _missing(self, job: Job, deliveries: Sequence[Delivery]) -> tuple[str, ...]:
        """Results that recipients get by now and no job of the study has made or is to make."""
        later = self.job_of_study(job.study_uid)
        is_last = later is not None and later.job_id == job.job_id
        if not is_last or self.config.peer_titled(job.source_ae) is None:
            return ()
        made = {one.result.kind for one in deliveries}
        return profile_made_for(self.config, job.source_ae).missing_from(made)

    def _make_missing(
        self, job: Job, destination: str | None, deliveries: Sequence[Delivery]
    ) -> str:
        """Have missing results made by a further job; returns a note about it."""
        recipients = recipients_of(self.config, job.source_ae)
        takers = [one for one in recipients if destination in (None, one.title)]
        found = self._missing(job, deliveries)
        missing = [name for name in found if any(one.takes(name) for one in takers)]
        can_make = {JobAction.REDELIVER, JobAction.REANALYSE} <= {*legal_actions(job)}
        if not missing or not can_make:
            return ""
        try:
            opened = self.reanalyse(job.job_id, job.weights_wanted)
        except IllegalStep as error:
            return f"; not made: {', '.join(missing)} ({error})"
        return f"; job {opened.job_id} makes and sends {', '.join(missing)}"

    def _results(self, job_id: int) -> dict[str, Result]:
        """By SOP Instance UID."""
        deliveries = deliveries_of(self._database, job_id)
        return {one.result.sop_instance_uid: one.result for one in deliveries}

    def _drawn(self, record: AnalysisRecord) -> AnalysisRecord:
        """Without key images that are still being drawn: that takes some seconds."""
        there = (
            one for one in record.pictures if self._spool.path_of_result(one.file_name).is_file()
        )
        return replace(record, pictures=tuple(there))

    def _series_so_far(self, job: Job) -> tuple[SeriesUse, ...]:
        if job.state not in _NOT_ANALYSED:
            return ()
        received = received_instances(self._database, job.study_uid)
        try:
            return uses_in_study(received, partial(read_header, self._spool))
        except SpoolUnavailable:  # reported by the health check; the rest can still be shown
            return ()

    # ---- the audit trail -----------------------------------------------------------------

    def _audited(self, job: Job, action: JobAction) -> Job:
        self._audit_study(job.study_uid, f"{action.value}, job {job.job_id}", EventAction.UPDATE)
        return job

    def _note_access(self, job: Job, action: str, what: str, note: str = "") -> None:
        self._audit_study(job.study_uid, what, EventAction.READ)
        self.note(action, f"job {job.job_id}", note)

    def _note_viewed(self, job: Job) -> None:
        action, since = "view key images", datetime.now(UTC) - _VIEWED_AGAIN_AFTER
        last = change_log.last_change(self._database, self.who.user, action, f"job {job.job_id}")
        if last is None or last.at <= since:
            self._note_access(job, action, "key images viewed")

    def _audit_study(self, study_uid: str, what: str, action: EventAction) -> None:
        study = AuditedStudy(study_uid, job_queries.patient_id_of(self._database, study_uid))
        self._record(instances_accessed(self.who, study, what, action))

    def _audit_peer(self, ae_title: str, what: str) -> None:
        kind = SecurityAlert.NETWORK_CONFIGURATION
        self._record(security_alert(kind, what, self.who, subject=ae_title))
