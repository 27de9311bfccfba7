"""The job table: every step of a job, each in one transaction.

What a step changes is decided in `sij_node.domain.job`. Here it is written together with its
history entry, and only if the job has not changed since it was read.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, or_, select, update

from sij_node.config.routing import Recipient
from sij_node.domain.analysis_record import NOTHING_KEPT, AnalysisRecord
from sij_node.domain.job import (
    DELIVERABLE,
    Job,
    Result,
    RetryPolicy,
    State,
    Step,
    advance,
    after_failure,
    family_of,
    step_after_failure,
)
from sij_node.domain.study import ReceivedInstance, Registration, StudyAttributes
from sij_node.errors import IllegalStep, NodeError, StoredResultDamaged, UnknownJob, WorkerLost
from sij_node.store import deliveries
from sij_node.store.analysis_records import put_record
from sij_node.store.commitments import supersede_commitments
from sij_node.store.database import Database, lock_openings
from sij_node.store.destination_holds import held_titles
from sij_node.store.history import (
    lease_lost,
    note_step,
    open_job,
    record_step,
    waiting_job,
    write_step,
)
from sij_node.store.registration import GroupCommit, Offer
from sij_node.store.study_attributes_table import put_attributes
from sij_node.store.tables import deliveries as delivery_rows
from sij_node.store.tables import instances, job_from, jobs

MAX_ANALYSES = 5
"""After so many analyses of a job, damaged results are not made again: the disk is failing."""
Recipients = str | Sequence[Recipient]
"""Destinations of results; a title alone is one that receives all of them."""
SCHEDULER = "scheduler"
"""Recorded in the history of a job for steps that the scheduler takes."""


class JobTable:
    """The steps of jobs.

    All methods are thread-safe and raise `DatabaseUnavailable` if the database does not answer.
    A method that takes a `Job` writes only if the job is still at that revision, and raises
    `LeaseLost` otherwise. A step that the job's state does not allow raises `IllegalStep`.
    """

    def __init__(self, engine: Engine) -> None:
        self._database = Database(engine)
        self._commits = GroupCommit(self._database)

    @property
    def database(self) -> Database:
        """The database, to be shared by all tables of this process: its writers take turns."""
        return self._database

    def get(self, job_id: int) -> Job:
        """One job; raises `UnknownJob` if there is none with this number."""
        row = self._database.row(select(jobs).where(jobs.c.job_id == job_id))
        if row is None:
            raise UnknownJob(f"There is no job {job_id}. `sij-node jobs list` lists existing jobs.")
        return job_from(row)

    def register(self, instance: ReceivedInstance, priority: int, opens_job: bool) -> Registration:
        """Register a received instance, and open or update the job of its study.

        Durable when it returns. Calls from several threads share one transaction. If this raises
        `DatabaseUnavailable`, the row may have been written nevertheless: keep the file.

        Parameters
        ----------
        priority
            0 to 9; a job has the highest priority of its instances.
        opens_job
            Whether this is an image to analyse; other objects are only registered.
        """
        return self._commits.register(Offer(instance, priority, opens_job))

    # ---- leases --------------------------------------------------------------------------

    def claim(self, worker: str) -> Job | None:
        """Claim the queued job with the highest priority, the oldest of these, or None."""
        due = and_(_in([State.QUEUED]), jobs.c.wait_s == 0)
        return self._claim(worker, Step.CLAIMED, due, jobs.c.job_id)

    def claim_delivery(self, worker: str, shadow: Collection[str] = ()) -> Job | None:
        """Claim a job with pending deliveries, or None.

        Jobs with the fewest attempts come first, so that an unreachable destination delays no
        other. A delivering job with nothing left to send is claimed too, so that it is closed.
        Deliveries to a destination on hold stay pending.

        Parameters
        ----------
        shadow
            Destinations in shadow mode; deliveries to them stay pending too.
        """
        destination = delivery_rows.c.destination
        sendable = deliveries.has_pending(
            destination.not_in(held_titles()), destination.not_in(shadow)
        )
        to_close = and_(_in([State.DELIVERING]), ~deliveries.has_pending())
        due = and_(
            or_(to_close, and_(_in(DELIVERABLE), sendable)),
            jobs.c.wait_s == 0,
            jobs.c.leased_by == "",
        )
        return self._claim(
            worker, Step.DELIVERY_CLAIMED, due, jobs.c.delivery_attempts, jobs.c.job_id
        )

    def heartbeat(self, job: Job) -> bool:
        """Renew a lease; False if the job has been taken over."""
        with self._database.writing() as connection:
            return _renew_lease(connection, job)

    def release_claim(self, job: Job, who: str) -> Job:
        """Return a claimed job when its worker shuts down; this counts as no attempt."""
        with self._database.writing() as connection:
            lock_openings(connection)
            if _is_superseded(connection, job):
                return _supersede(connection, job, who)
            return record_step(connection, job, Step.HANDED_BACK, who)

    # ---- analysis ------------------------------------------------------------------------

    def store_results(
        self,
        job: Job,
        made: Sequence[Result],
        recipients: Recipients,
        who: str,
        weights: str = "",
        note: str = "",
        record: AnalysisRecord = NOTHING_KEPT,
    ) -> Job:
        """Store the results of an analysis and queue their deliveries.

        A result that a destination has acknowledged before is not sent again; if that applies
        to all of them, the job is delivered at once.
        """
        made_by, note = weights or job.weights, note or f"{len(made)} results"
        withheld = all(one.withheld for one in _listed(recipients))
        step = Step.WITHHELD if withheld else Step.RESULTS_STORED
        with self._database.writing() as connection:
            after = record_step(connection, job, step, who, note, weights=made_by)
            _store(connection, job, made, recipients, record)
            if deliveries.any_left(connection, job.job_id):
                return after
            return record_step(connection, after, Step.ACKNOWLEDGED, who, "nothing new to deliver")

    def reject(
        self,
        job: Job,
        error: NodeError,
        made: Sequence[Result],
        recipients: Recipients,
        who: str,
        record: AnalysisRecord = NOTHING_KEPT,
    ) -> Job:
        """Reject a study that cannot be analysed, and queue the delivery of the notice."""
        reason, family = str(error), family_of(error)
        with self._database.writing() as connection:
            after = record_step(
                connection, job, Step.REJECT, who, reason, reason=reason, error_family=family
            )
            _store(connection, job, made, recipients, record)
            return after

    def supersede(self, job: Job, who: str) -> Job:
        """End an analysis whose images were corrected meanwhile; another job analyses them."""
        note = "images corrected during the analysis; a later job analyses them"
        with self._database.writing() as connection:
            return record_step(connection, job, Step.SUPERSEDED, who, note, reason=note)

    def fail(self, job: Job, error: NodeError, policy: RetryPolicy, who: str) -> Job:
        """Record a failed attempt to analyse or to deliver; see `after_failure`."""
        with self._database.writing() as connection:
            lock_openings(connection)
            return _fail(connection, job, error, policy, who)

    # ---- delivery ------------------------------------------------------------------------

    def record_delivery(
        self,
        job: Job,
        result_uid: str,
        destination: str,
        status: int | None,
        acknowledged: bool,
        note: str = "",
    ) -> None:
        """Record a destination's response for one result.

        Parameters
        ----------
        status
            C-STORE status, or None if no response came.
        acknowledged
            Whether the destination has stored the object, according to this status.
        """
        with self._database.writing() as connection:
            if not _renew_lease(connection, job):
                raise lease_lost(job)
            deliveries.record(
                connection,
                job.job_id,
                result_uid,
                destination,
                status=status,
                acknowledged=acknowledged,
                note=note,
            )

    def delivered(self, job: Job, who: str) -> Job:
        """Close a job whose results have all been acknowledged.

        Raises
        ------
        IllegalStep
            Also if a delivery is still pending.
        """
        with self._database.writing() as connection:
            if deliveries.any_pending(connection, job.job_id):
                raise IllegalStep(
                    f"Job {job.job_id} has results that are not acknowledged yet; it cannot be "
                    "closed before that."
                )
            return record_step(connection, job, Step.ACKNOWLEDGED, who)

    def analyse_again(self, job: Job, error: StoredResultDamaged, who: str) -> Job:
        """Queue a job whose stored results are damaged, so that an analysis makes them again.

        Raises
        ------
        IllegalStep
            Also after `MAX_ANALYSES` analyses, if later images have opened a job that is not
            analysed yet, or if the images have been cleared from the spool.
        """
        if job.analysis_attempts >= MAX_ANALYSES:
            raise IllegalStep(f"Job {job.job_id} has been analysed {MAX_ANALYSES} times already.")
        with self._database.writing() as connection:
            lock_openings(connection)
            _check_that_it_can_queue(connection, job)
            deliveries.give_up(connection, job.job_id)
            reason = str(error)
            return record_step(connection, job, Step.RESULTS_DAMAGED, who, reason, reason=reason)

    # ---- the scheduler -------------------------------------------------------------------

    def settle(
        self,
        job: Job,
        note: str,
        priority: int | None = None,
        who: str = SCHEDULER,
        attributes: StudyAttributes | None = None,
    ) -> Job:
        """Queue a job whose study has arrived, with a new priority if one is given.

        A priority set by a user is kept.
        """
        urgency = job.priority if priority is None or job.priority_by else priority
        with self._database.writing() as connection:
            put_attributes(connection, job.study_uid, attributes)
            return record_step(connection, job, Step.SETTLED, who, note, priority=urgency)

    def release(self, job: Job, who: str = SCHEDULER) -> Job:
        """End the wait before the next attempt."""
        with self._database.writing() as connection:
            return record_step(connection, job, Step.RELEASED, who)

    def expire(self, job: Job, policy: RetryPolicy, who: str = SCHEDULER) -> Job:
        """End the lease of a worker without heartbeat; that counts as a failed attempt."""
        with self._database.writing() as connection:
            lock_openings(connection)
            current = connection.execute(
                select(jobs.c.heartbeat).where(jobs.c.job_id == job.job_id).with_for_update()
            ).scalar()
            if not job.leased_by or current != job.heartbeat:
                raise lease_lost(job)
            lost = WorkerLost(f"No heartbeat from {job.leased_by}; its lease has expired")
            return _fail(connection, job, lost, policy, who)

    # ---- users ---------------------------------------------------------------------------

    def cancel(self, job: Job, who: str) -> Job:
        """Cancel a job that is receiving, queued or delivering."""
        with self._database.writing() as connection:
            after = record_step(connection, job, Step.CANCELLED, who)
            deliveries.give_up(connection, job.job_id)
            return after

    def retry(self, job: Job, who: str) -> Job:
        """Queue a rejected or failed job again, with all its attempts.

        Raises
        ------
        IllegalStep
            Also if later images of the study have opened a job that is not analysed yet, or if
            the images have been cleared from the spool.
        """
        after = advance(job, Step.RETRIED)
        with self._database.writing() as connection:
            lock_openings(connection)
            _check_that_it_can_queue(connection, job)
            after = write_step(connection, job, after, Step.RETRIED, who)
            deliveries.give_up(connection, job.job_id)
            return after

    def set_priority(self, job: Job, priority: int, who: str) -> Job:
        """Set the priority, 0 to 9, of a job that is receiving or queued."""
        note = f"from {job.priority} to {priority}"
        with self._database.writing() as connection:
            return record_step(
                connection, job, Step.PRIORITY_SET, who, note, priority=priority, priority_by=who
            )

    def redeliver(self, job: Job, who: str, destination: str | None = None, note: str = "") -> Job:
        """Queue the results of a job for delivery again, to one or all of its destinations.

        Parameters
        ----------
        note
            Which results, for the history.

        Raises
        ------
        IllegalStep
            Also if there are no results for that destination, if their files have been cleared,
            or if a delivery of the job is in progress.
        """
        with self._database.writing() as connection:
            note = f"to {destination or 'all'}{note and f': {note}'}"
            after = record_step(connection, job, Step.DELIVERY_ASKED, who, note)
            if job.leased_by:
                raise IllegalStep(f"Job {job.job_id} is being delivered; try again afterwards.")
            if not deliveries.redeliver(connection, job.job_id, destination, f"requested by {who}"):
                for_it = f" for {destination}" if destination else ""
                raise IllegalStep(
                    f"Job {job.job_id} has no stored results{for_it}: none were made, or they have "
                    "been cleared from the spool. Reanalyse the study."
                )
            supersede_commitments(connection, job.job_id)
            return after

    def reanalyse(self, job: Job, who: str, weights: str = "") -> Job:
        """Open a job that analyses the stored study again, as the successor of this one.

        Parameters
        ----------
        weights
            Name of the [[weights]] to use; empty for those of [worker].

        Raises
        ------
        IllegalStep
            Also if another job of the study is not analysed yet, or if the images have been
            cleared from the spool.
        """
        with_weights = f", with weights {weights}" if weights else ""
        with self._database.writing() as connection:
            lock_openings(connection)
            _check_that_it_can_queue(connection, job)
            opened = open_job(
                connection, job.study_uid, job.source_ae, job.priority, job.instances, who
            )
            note_step(connection, job, Step.REANALYSIS_ASKED, who, f"job {opened.job_id}")
            note = f"reanalysis of job {job.job_id}{with_weights}"
            return record_step(connection, opened, Step.SETTLED, who, note, weights_wanted=weights)

    def _claim(
        self, worker: str, step: Step, due: ColumnElement[bool], *order: ColumnElement[int]
    ) -> Job | None:
        """Lock the first job that is due and that no other worker is claiming, and lease it."""
        first_due = (
            select(jobs)
            .where(due)
            .order_by(jobs.c.priority.desc(), *order)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._database.writing() as connection:
            row = connection.execute(first_due).one_or_none()
            if row is None:
                return None
            return record_step(connection, job_from(row), step, worker, leased_by=worker)


def _listed(recipients: Recipients) -> Sequence[Recipient]:
    return (Recipient(recipients),) if isinstance(recipients, str) else recipients


def _in(states: Sequence[State]) -> ColumnElement[bool]:
    return jobs.c.state.in_([state.value for state in states])


def _renew_lease(connection: Connection, job: Job) -> bool:
    beaten = connection.execute(
        update(jobs)
        .where(jobs.c.job_id == job.job_id, jobs.c.revision == job.revision)
        .values(heartbeat=jobs.c.heartbeat + 1)
    )
    return beaten.rowcount == 1


def _store(
    connection: Connection,
    job: Job,
    made: Sequence[Result],
    recipients: Recipients,
    record: AnalysisRecord,
) -> None:
    deliveries.add_results(connection, job.job_id, made)
    for one in _listed(recipients):
        taken = [result for result in made if one.takes(result.kind)]
        deliveries.add_deliveries(connection, job.job_id, taken, one.title, withhold=one.withheld)
    put_record(connection, job.job_id, record)
    put_attributes(connection, job.study_uid, record.study)


def _fail(connection: Connection, job: Job, error: NodeError, policy: RetryPolicy, who: str) -> Job:
    step = step_after_failure(job, error, policy)
    if step is Step.TRY_AGAIN and _is_superseded(connection, job):
        return _supersede(connection, job, who)
    after = after_failure(job, error, policy)
    after = write_step(connection, job, after, step, who, note=str(error))
    if step is Step.GIVE_UP:
        deliveries.give_up(connection, job.job_id)
    return after


def _check_that_it_can_queue(connection: Connection, job: Job) -> None:
    other = waiting_job(connection, job.study_uid, job.source_ae)
    if other is not None:
        raise IllegalStep(
            f"Job {job.job_id} cannot be queued again, because job {other.job_id} of the "
            f"same study is {other.state.value}. Wait for that job, or cancel it first."
        )
    image = exists().where(instances.c.study_uid == job.study_uid)
    if not connection.execute(select(image)).scalar():
        raise IllegalStep(
            f"Job {job.job_id} cannot be queued again, because its images have been cleared "
            f"from the spool. Send the study again from {job.source_ae}."
        )


def _is_superseded(connection: Connection, job: Job) -> bool:
    """Whether later images have opened another job, so that this one must not queue again."""
    if job.state is not State.ANALYSING:
        return False
    return waiting_job(connection, job.study_uid, job.source_ae) is not None


def _supersede(connection: Connection, job: Job, who: str) -> Job:
    note = "later images have opened a job that analyses the whole study"
    return record_step(connection, job, Step.SUPERSEDED, who, note, reason=note)
