"""The job table: where every study stands, who works on it, and how it came there.

Each method is one transaction. What a step does is decided in `sij_node.domain.job`; here it is
written, together with its line of history, and only if nobody else has changed the job since
it was read.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from sij_node.domain.analysis_record import NOTHING_KEPT, AnalysisRecord
from sij_node.domain.job import (
    DELIVERABLE,
    FINISHED,
    Delivery,
    DeliveryState,
    Hold,
    Job,
    JobStep,
    Result,
    RetryPolicy,
    State,
    Step,
    advance,
    after_failure,
    family_of,
    step_after_failure,
)
from sij_node.domain.study import PatientIdentity, ReceivedInstance, Refusal, Registration
from sij_node.domain.users import AdminChange
from sij_node.errors import IllegalStep, NodeError, UnknownJob, WorkerLost
from sij_node.store import change_log as changed
from sij_node.store import deliveries as outbox
from sij_node.store import destination_holds as held
from sij_node.store import records
from sij_node.store import refusals as refused
from sij_node.store.database import Database, lock_openings
from sij_node.store.history import (
    last_job,
    lease_lost,
    note_step,
    open_job,
    waiting_job,
    write_step,
)
from sij_node.store.registration import GroupCommit, Offer
from sij_node.store.tables import (
    deliveries,
    instance_from,
    instances,
    job_from,
    job_steps,
    jobs,
    result_from,
    results,
    step_from,
)

SCHEDULE = "schedule"
"""Who is named in the history for what the clock brings about."""


class Removable(Protocol):
    """Files that can be removed by their names; one that is gone already is no error."""

    def remove(self, file_name: str) -> None:
        """Remove an instance."""

    def remove_from_quarantine(self, name: str) -> None:
        """Remove a copy."""

    def remove_result(self, name: str) -> None:
        """Remove a result or a picture."""


class JobTable:
    """Questions about jobs, and the steps they take.

    Every method may be called from any thread, and raises `DatabaseUnavailable` if the database
    does not answer. One that takes a `Job` writes only if it is still at that revision, and
    otherwise raises `LeaseLost`. One that makes a step raises `IllegalStep` if the job's state
    does not allow it.
    """

    def __init__(self, engine: Engine) -> None:
        self._database = Database(engine)
        self._commits = GroupCommit(self._database)

    @property
    def database(self) -> Database:
        """For the other tables of this process: writers take turns at it."""
        return self._database

    # ---- what comes in -------------------------------------------------------------------

    def register(self, instance: ReceivedInstance, priority: int, opens_job: bool) -> Registration:
        """Note a received instance and let it join, reopen or open its study's job.

        Durable when it returns. Calls of many threads share one transaction. If this raises
        `DatabaseUnavailable`, the row may be there nevertheless: keep the file.

        Parameters
        ----------
        priority
            0 to 9; a job has the highest of its instances.
        opens_job
            Whether this is an image to analyse; other objects are only noted.
        """
        return self._commits.register(Offer(instance, priority, opens_job))

    def instances(self, study_uid: str) -> tuple[ReceivedInstance, ...]:
        """All received instances of a study, from whatever source."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(instances)
                .where(instances.c.study_uid == study_uid)
                .order_by(instances.c.series_uid, instances.c.sop_instance_uid)
            )
            return tuple(instance_from(row) for row in rows)

    def refuse(self, refusal: Refusal) -> None:
        """Keep what was not accepted for the administrator."""
        with self._database.writing() as connection:
            refused.add_refusal(connection, refusal)

    def refusals(self, limit: int = 50) -> tuple[Refusal, ...]:
        """The newest refusals."""
        with self._database.reading() as connection:
            return refused.newest(connection, limit)

    def conflicts(self, study_uid: str) -> tuple[Refusal, ...]:
        """Instances of this study that came a second time with other content."""
        with self._database.reading() as connection:
            return refused.conflicts_of(connection, study_uid)

    # ---- questions -----------------------------------------------------------------------

    def get(self, job_id: int) -> Job:
        """One job; raises `UnknownJob` if there is none of that number."""
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).one_or_none()
        if row is None:
            raise UnknownJob(
                f"There is no job {job_id}. `sij-node jobs list` names those that are."
            )
        return job_from(row)

    def latest_for(self, study_uid: str, source_ae: str) -> Job | None:
        """The newest job of a study and source."""
        with self._database.reading() as connection:
            return last_job(connection, study_uid, source_ae)

    def jobs_of(self, study_uid: str) -> list[Job]:
        """A study's jobs, whoever sent it, the oldest first."""
        return self._jobs_where(jobs.c.study_uid == study_uid)

    def jobs(
        self, states: Sequence[State] = tuple(State), limit: int = 50, offset: int = 0
    ) -> list[Job]:
        """Jobs in some states, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(jobs)
                .where(_in(states))
                .order_by(jobs.c.job_id.desc())
                .limit(limit)
                .offset(offset)
            )
            return [job_from(row) for row in rows]

    def receiving(self) -> list[Job]:
        """Jobs whose study is still arriving, the oldest first."""
        return self._jobs_where(_in([State.RECEIVING]))

    def leased(self) -> list[Job]:
        """Jobs that somebody holds, the oldest first."""
        return self._jobs_where(jobs.c.leased_by != "")

    def waiting(self) -> list[Job]:
        """Jobs that wait before their next attempt, the oldest first."""
        return self._jobs_where(jobs.c.wait_s > 0)

    def steps(self, job_id: int) -> tuple[JobStep, ...]:
        """The history of a job, from its beginning."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(job_steps).where(job_steps.c.job_id == job_id).order_by(job_steps.c.step_id)
            )
            return tuple(step_from(row) for row in rows)

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state; every state is named."""
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
            found = {State(state): count for state, count in rows}
        return {state: found.get(state, 0) for state in State}

    def deliveries(self, job_id: int) -> tuple[Delivery, ...]:
        """What a job has sent or still has to send."""
        with self._database.reading() as connection:
            return outbox.deliveries_of(connection, job_id)

    def record(self, job_id: int) -> AnalysisRecord | None:
        """What a job's last analysis leaves for people to look at; None where it has none."""
        with self._database.reading() as connection:
            return records.record_of(connection, job_id)

    def earlier_results(self, job: Job) -> tuple[tuple[Result, ...], ...]:
        """What this job's source was given for the study up to now, the oldest first."""
        with self._database.reading() as connection:
            return outbox.given_before(connection, job)

    def earlier_scores(self, job: Job, patient: PatientIdentity) -> tuple[Result, ...]:
        """Reports of all scores that the patient's other studies have, the newest first.

        Without an issuer an identifier means something only where it came from, so then only
        what the job's own source was given counts.
        """
        with self._database.reading() as connection:
            return outbox.scores_of(connection, job, patient)

    def instance(self, sop_instance_uid: str) -> ReceivedInstance | None:
        """One received instance, if it is there."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(instances).where(instances.c.sop_instance_uid == sop_instance_uid)
            ).one_or_none()
        return None if row is None else instance_from(row)

    def result(self, sop_instance_uid: str) -> Result | None:
        """One result that the node has made, also after its file was cleared away."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(results).where(results.c.sop_instance_uid == sop_instance_uid)
            ).one_or_none()
        return None if row is None else result_from(row)

    # ---- claiming and holding ------------------------------------------------------------

    def claim(self, worker: str) -> Job | None:
        """Take the queued job of the highest priority, the oldest of these, or None."""
        due = and_(_in([State.QUEUED]), jobs.c.wait_s == 0)
        return self._claim(worker, Step.CLAIMED, due, jobs.c.job_id)

    def claim_delivery(self, worker: str, shadow: Collection[str] = ()) -> Job | None:
        """Take a job that has results to deliver, or None.

        Those tried least often come first, so that a dead destination keeps no other waiting. A
        delivering job with nothing left to send is given out too: it has yet to be closed. What
        is for a destination that is held waits.

        Parameters
        ----------
        shadow
            Destinations in shadow mode: what is for them waits too.
        """
        to_close = and_(_in([State.DELIVERING]), ~_something_pending())
        due = and_(
            or_(to_close, and_(_in(DELIVERABLE), _something_to_send(shadow))),
            jobs.c.wait_s == 0,
            jobs.c.leased_by == "",
        )
        return self._claim(
            worker, Step.DELIVERY_CLAIMED, due, jobs.c.delivery_attempts, jobs.c.job_id
        )

    def heartbeat(self, job: Job) -> bool:
        """Show that whoever holds the job lives; False if it is no longer theirs."""
        with self._database.writing() as connection:
            return _beat(connection, job)

    def hand_back(self, job: Job, who: str) -> Job:
        """Return a claimed job undone, as a worker that shuts down does; it is no failure."""
        with self._database.writing() as connection:
            lock_openings(connection)
            if _is_superseded(connection, job):
                return _supersede(connection, job, who)
            return write_step(
                connection, job, advance(job, Step.HANDED_BACK), Step.HANDED_BACK, who
            )

    # ---- the outcome of an analysis ------------------------------------------------------

    def store_results(
        self,
        job: Job,
        made: Sequence[Result],
        destination: str,
        who: str,
        weights: str = "",
        note: str = "",
        record: AnalysisRecord = NOTHING_KEPT,
        *,
        keep_back: bool = False,
    ) -> Job:
        """Note the results of an analysis and have them delivered.

        A result that the destination acknowledged before is not sent again; if that is so for
        all of them, the job is delivered at once.

        Parameters
        ----------
        keep_back
            Whether the destination is in shadow mode: nothing is sent until a person asks.
        """
        made_by, note = weights or job.weights, note or f"{len(made)} results"
        with self._database.writing() as connection:
            step = Step.KEPT_BACK if keep_back else Step.RESULTS_STORED
            after = advance(job, step, weights=made_by)
            after = write_step(connection, job, after, step, who, note=note)
            outbox.add_results(connection, job.job_id, made)
            outbox.add_deliveries(connection, job.job_id, made, destination, keep_back=keep_back)
            records.put_record(connection, job.job_id, record)
            if outbox.any_left(connection, job.job_id):
                return after
            done = advance(after, Step.ACKNOWLEDGED)
            return write_step(
                connection, after, done, Step.ACKNOWLEDGED, who, note="nothing new to deliver"
            )

    def reject(
        self,
        job: Job,
        error: NodeError,
        made: Sequence[Result],
        destination: str,
        who: str,
        record: AnalysisRecord = NOTHING_KEPT,
        *,
        keep_back: bool = False,
    ) -> Job:
        """Note that a study cannot be analysed, and have the notice that says so delivered.

        Parameters
        ----------
        keep_back
            Whether the destination is in shadow mode: nothing is sent until a person asks.
        """
        after = advance(job, Step.REJECT, reason=str(error), error_family=family_of(error))
        with self._database.writing() as connection:
            after = write_step(connection, job, after, Step.REJECT, who, note=str(error))
            outbox.add_results(connection, job.job_id, made)
            outbox.add_deliveries(connection, job.job_id, made, destination, keep_back=keep_back)
            records.put_record(connection, job.job_id, record)
            return after

    def fail(self, job: Job, error: NodeError, policy: RetryPolicy, who: str) -> Job:
        """Note a failed attempt to analyse or to deliver; what follows is `after_failure`."""
        with self._database.writing() as connection:
            lock_openings(connection)
            return _fail(connection, job, error, policy, who)

    # ---- the outcome of a delivery -------------------------------------------------------

    def record_delivery(
        self,
        job: Job,
        result_uid: str,
        destination: str,
        status: int | None,
        acknowledged: bool,
        note: str = "",
    ) -> None:
        """Note what a destination answered to one result.

        Parameters
        ----------
        status
            C-STORE status, or None where none came.
        acknowledged
            Whether that means that the destination keeps the object.
        """
        with self._database.writing() as connection:
            if not _beat(connection, job):
                raise lease_lost(job)
            outbox.record(
                connection,
                job.job_id,
                result_uid,
                destination,
                status=status,
                acknowledged=acknowledged,
                note=note,
            )

    def delivered(self, job: Job, who: str) -> Job:
        """Close a delivery of which everything was acknowledged.

        Raises
        ------
        IllegalStep
            If something is still pending.
        """
        after = advance(job, Step.ACKNOWLEDGED)
        with self._database.writing() as connection:
            if outbox.any_pending(connection, job.job_id):
                raise IllegalStep(
                    f"Job {job.job_id} still has results that {job.source_ae} has not "
                    "acknowledged; it can be closed only after these."
                )
            return write_step(connection, job, after, Step.ACKNOWLEDGED, who)

    # ---- what the clock brings about -----------------------------------------------------

    def settle(self, job: Job, note: str, priority: int | None = None, who: str = SCHEDULE) -> Job:
        """Queue a job whose study has arrived, with a priority of its own if one is given.

        A priority that a person has set stays.
        """
        urgency = job.priority if priority is None or job.priority_by else priority
        after = advance(job, Step.SETTLED, priority=urgency)
        with self._database.writing() as connection:
            return write_step(connection, job, after, Step.SETTLED, who, note=note)

    def release(self, job: Job, who: str = SCHEDULE) -> Job:
        """Let a job be tried again: its wait is over."""
        after = advance(job, Step.RELEASED)
        with self._database.writing() as connection:
            return write_step(connection, job, after, Step.RELEASED, who)

    def expire(self, job: Job, policy: RetryPolicy, who: str = SCHEDULE) -> Job:
        """Take a job from a holder that fell silent; that counts as a failed attempt."""
        with self._database.writing() as connection:
            lock_openings(connection)
            current = connection.execute(
                select(jobs.c.heartbeat).where(jobs.c.job_id == job.job_id).with_for_update()
            ).scalar()
            if not job.leased_by or current != job.heartbeat:
                raise lease_lost(job)
            lost = WorkerLost(f"{job.leased_by} gave no sign of life and lost the job")
            return _fail(connection, job, lost, policy, who)

    # ---- what a person asks for ----------------------------------------------------------

    def cancel(self, job: Job, who: str) -> Job:
        """Stop a job that is receiving, queued or delivering."""
        after = advance(job, Step.CANCELLED)
        with self._database.writing() as connection:
            after = write_step(connection, job, after, Step.CANCELLED, who)
            outbox.give_up(connection, job.job_id)
            return after

    def retry(self, job: Job, who: str) -> Job:
        """Queue a rejected or failed job again, with all its attempts.

        Raises
        ------
        IllegalStep
            Also if later images of the study have opened a job that is still waiting, or if its
            images have been cleared away.
        """
        after = advance(job, Step.RETRIED)
        with self._database.writing() as connection:
            lock_openings(connection)
            _check_that_it_can_queue(connection, job)
            after = write_step(connection, job, after, Step.RETRIED, who)
            outbox.give_up(connection, job.job_id)
            return after

    def set_priority(self, job: Job, priority: int, who: str) -> Job:
        """Let a job that is receiving or queued be analysed sooner or later, from 0 to 9."""
        after = advance(job, Step.PRIORITY_SET, priority=priority, priority_by=who)
        note = f"from {job.priority} to {priority}"
        with self._database.writing() as connection:
            return write_step(connection, job, after, Step.PRIORITY_SET, who, note=note)

    def redeliver(self, job: Job, who: str, destination: str | None = None) -> Job:
        """Have the results of a job sent again, to one destination or to all it has.

        Raises
        ------
        IllegalStep
            Also if it has none for that destination, if their files have been cleared away, or
            if something of it is being sent at this moment.
        """
        after = advance(job, Step.DELIVERY_ASKED)
        if job.leased_by:
            raise IllegalStep(
                f"Job {job.job_id} is being delivered at this moment; ask again when that is over."
            )
        with self._database.writing() as connection:
            note = f"to {destination or 'all'}"
            after = write_step(connection, job, after, Step.DELIVERY_ASKED, who, note=note)
            if not outbox.ask_again(connection, job.job_id, destination, f"asked for by {who}"):
                raise IllegalStep(
                    f"Job {job.job_id} has no stored results for {destination or 'anybody'}: none "
                    "were made, or they have been cleared from the spool. Analyse it again."
                )
            return after

    def reanalyse(self, job: Job, who: str, weights: str = "") -> Job:
        """Open a job that analyses a stored study again; it follows the one that is given.

        Parameters
        ----------
        weights
            The [[weights]] to use, by name; empty for those of [worker].

        Raises
        ------
        IllegalStep
            Also if another job of the study is waiting, or its images have been cleared away.
        """
        with_weights = f", with weights {weights}" if weights else ""
        with self._database.writing() as connection:
            lock_openings(connection)
            _check_that_it_can_queue(connection, job)
            opened = open_job(
                connection, job.study_uid, job.source_ae, job.priority, job.instances, who
            )
            note_step(connection, job, Step.REANALYSIS_ASKED, who, f"job {opened.job_id}")
            note = f"analysed again after job {job.job_id}{with_weights}"
            after = advance(opened, Step.SETTLED, weights_wanted=weights)
            return write_step(connection, opened, after, Step.SETTLED, who, note=note)

    # ---- destinations --------------------------------------------------------------------

    def hold(self, destination: str, reason: str, who: str) -> Hold:
        """Send nothing to a destination until it is released; what is for it waits.

        Raises
        ------
        IllegalStep
            If it is held already.
        """
        with self._database.writing() as connection:
            lock_openings(connection)
            began = held.hold(connection, destination, reason, who)
            changed.add_change(
                connection, AdminChange(began.held_at, who, "hold", f"peer {destination}", reason)
            )
            return began

    def release_hold(self, destination: str, who: str) -> Hold:
        """Send to a destination again; raises `IllegalStep` if it is not held."""
        with self._database.writing() as connection:
            over = held.release(connection, destination, who)
            moment = over.released_at or over.held_at
            changed.add_change(
                connection, AdminChange(moment, who, "release", f"peer {destination}")
            )
            return over

    def holds(self) -> tuple[Hold, ...]:
        """The holds that last."""
        with self._database.reading() as connection:
            return held.current(connection)

    def jobs_by_destination(self, state: DeliveryState) -> dict[str, int]:
        """How many jobs have a delivery in some state, for each destination that has any."""
        with self._database.reading() as connection:
            return outbox.jobs_by_destination(connection, state.value)

    def kept_back(self, destination: str) -> tuple[Job, ...]:
        """The newest job of each study that keeps results back from a destination."""
        with self._database.reading() as connection:
            numbers = outbox.newest_kept_back(connection, destination)
        return tuple(self.get(number) for number in numbers)

    # ---- what people changed -------------------------------------------------------------

    def note_change(self, change: AdminChange) -> None:
        """Note what a person did that is no step of a job."""
        with self._database.writing() as connection:
            changed.add_change(connection, change)

    def changes(self, limit: int = 50, who: str = "") -> tuple[AdminChange, ...]:
        """The newest changes, of everybody or of one person."""
        with self._database.reading() as connection:
            return changed.newest(connection, limit, who)

    # ---- clearing the spool --------------------------------------------------------------

    def finished_before(self, moment: datetime) -> tuple[str, ...]:
        """Studies that can be cleared: all their jobs ended, and nothing came, since a moment."""
        with self._database.reading() as connection:
            studies = connection.execute(
                select(instances.c.study_uid)
                .where(~_busy_since(moment))
                .group_by(instances.c.study_uid)
                .having(func.max(instances.c.received_at) < moment)
            )
            return (*studies.scalars(), *refused.quarantined_alone(connection, moment))

    def forget(
        self,
        study_uid: str,
        moment: datetime,
        files: Removable,
    ) -> bool:
        """Remove a finished study's files and the rows that name them; its jobs' history stays.

        No instance can be registered meanwhile.

        Parameters
        ----------
        moment
            As in `finished_before`; what has happened since then keeps the study.
        files
            The study's are removed.

        Returns
        -------
        bool
            False if the study is wanted again and was left as it is.
        """
        with self._database.writing() as connection:
            lock_openings(connection)
            if not _is_forgettable(connection, study_uid, moment):
                return False
            for file_name in _instance_files(connection, study_uid):
                files.remove(file_name)
            for file_name in refused.files_of(connection, study_uid):
                files.remove_from_quarantine(file_name)
            for file_name in _result_files(connection, study_uid):
                files.remove_result(file_name)
            for file_name in records.picture_files(connection, _jobs_of(study_uid)):
                files.remove_result(file_name)
            _remove_rows(connection, study_uid)
            return True

    # ---- within --------------------------------------------------------------------------

    def _jobs_where(self, condition: ColumnElement[bool]) -> list[Job]:
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs).where(condition).order_by(jobs.c.job_id))
            return [job_from(row) for row in rows]

    def _claim(
        self, worker: str, step: Step, due: ColumnElement[bool], *order: ColumnElement[int]
    ) -> Job | None:
        """Lock the first job that is due and that nobody else is claiming, and take it."""
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
            job = job_from(row)
            return write_step(connection, job, advance(job, step, leased_by=worker), step, worker)


def _in(states: Sequence[State]) -> ColumnElement[bool]:
    return jobs.c.state.in_([state.value for state in states])


def _beat(connection: Connection, job: Job) -> bool:
    beaten = connection.execute(
        update(jobs)
        .where(jobs.c.job_id == job.job_id, jobs.c.revision == job.revision)
        .values(heartbeat=jobs.c.heartbeat + 1)
    )
    return beaten.rowcount == 1


def _fail(connection: Connection, job: Job, error: NodeError, policy: RetryPolicy, who: str) -> Job:
    step = step_after_failure(job, error, policy)
    if step is Step.TRY_AGAIN and _is_superseded(connection, job):
        return _supersede(connection, job, who)
    after = after_failure(job, error, policy)
    after = write_step(connection, job, after, step, who, note=str(error))
    if step is Step.GIVE_UP:
        outbox.give_up(connection, job.job_id)
    return after


def _check_that_it_can_queue(connection: Connection, job: Job) -> None:
    other = waiting_job(connection, job.study_uid, job.source_ae)
    if other is not None:
        raise IllegalStep(
            f"Job {job.job_id} cannot be queued again, because job {other.job_id} of the "
            f"same study is {other.state.value}. Wait for that one, or cancel it first."
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
    after = advance(job, Step.SUPERSEDED, reason=note)
    return write_step(connection, job, after, Step.SUPERSEDED, who, note=note)


def _busy_since(moment: datetime) -> ColumnElement[bool]:
    """Whether a study, of the row around it, has a job that is not over or was so recently."""
    over = and_(_in(FINISHED), jobs.c.changed_at < moment, ~_something_pending())
    return exists().where(jobs.c.study_uid == instances.c.study_uid, ~over).correlate(instances)


def _something_pending() -> ColumnElement[bool]:
    """Whether the job of the row around it has something to send."""
    mine = deliveries.c.job_id == jobs.c.job_id
    return exists().where(mine, deliveries.c.state == outbox.PENDING).correlate(jobs)


def _something_to_send(shadow: Collection[str]) -> ColumnElement[bool]:
    """Whether the job of the row around it has something for a destination that takes it now."""
    return (
        exists()
        .where(
            deliveries.c.job_id == jobs.c.job_id,
            deliveries.c.state == outbox.PENDING,
            deliveries.c.destination.not_in(held.held_titles()),
            deliveries.c.destination.not_in(shadow),
        )
        .correlate(jobs)
    )


def _is_forgettable(connection: Connection, study_uid: str, moment: datetime) -> bool:
    wanted = exists().where(
        instances.c.study_uid == study_uid,
        or_(instances.c.received_at >= moment, _busy_since(moment)),
    )
    return not connection.execute(select(wanted)).scalar()


def _instance_files(connection: Connection, study_uid: str) -> Sequence[str]:
    names = select(instances.c.file_name).where(instances.c.study_uid == study_uid)
    return connection.execute(names).scalars().all()


def _result_files(connection: Connection, study_uid: str) -> Sequence[str]:
    names = select(results.c.file_name).where(
        results.c.job_id.in_(_jobs_of(study_uid)), results.c.file_name != ""
    )
    return connection.execute(names).scalars().all()


def _remove_rows(connection: Connection, study_uid: str) -> None:
    connection.execute(delete(instances).where(instances.c.study_uid == study_uid))
    refused.forget(connection, study_uid)
    connection.execute(
        update(results).where(results.c.job_id.in_(_jobs_of(study_uid))).values(file_name="")
    )
    records.forget_pictures(connection, _jobs_of(study_uid))


def _jobs_of(study_uid: str) -> Select[int]:
    return select(jobs.c.job_id).where(jobs.c.study_uid == study_uid)
