"""Registration of received instances, with group commit across associations.

Every instance must be durable before it is acknowledged, and each commit waits for the disk. One
thread commits all instances that are waiting at that moment in one transaction; the other threads
find theirs done. No dedicated thread is needed.
"""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, or_, select

from sij_node.domain.job import Job, State, Step, advance
from sij_node.domain.study import ReceivedInstance, Registration
from sij_node.errors import DatabaseUnavailable, NodeError
from sij_node.store.database import Database, lock_openings
from sij_node.store.history import last_job, open_job, waiting_job, write_job, write_step
from sij_node.store.refusals import note_conflict
from sij_node.store.tables import instance_from, instances, results

# Built once: composing a statement costs more than running it, and these run for every image.
_STORED = select(instances).where(
    instances.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)
_OWN = select(results).where(
    results.c.sop_instance_uid.in_(bindparam("uids", expanding=True)),
    or_(results.c.file_name != "", results.c.kind != "scores"),
)
"""Own results, which are not stored again. A score report whose file was cleared is accepted, since
it may return as a prior; like every report it opens no job."""
_NEW = insert(instances)


OwnResult = tuple[str, str]
"""UIDs of SOP class and series of a result of the node."""


@dataclass(frozen=True)
class Offer:
    """An instance to register."""

    instance: ReceivedInstance
    priority: int
    opens_job: bool


@dataclass
class _Waiting:
    offer: Offer
    answer: Registration | NodeError | None = None
    is_over: bool = False


def received_instances(database: Database, study_uid: str) -> tuple[ReceivedInstance, ...]:
    """All received instances of a study, from all sources, by series."""
    of_study = (
        select(instances)
        .where(instances.c.study_uid == study_uid)
        .order_by(instances.c.series_uid, instances.c.sop_instance_uid)
    )
    return tuple(instance_from(row) for row in database.rows(of_study))


def received_instance(database: Database, sop_instance_uid: str) -> ReceivedInstance | None:
    """A received instance by its SOP Instance UID."""
    row = database.row(select(instances).where(instances.c.sop_instance_uid == sop_instance_uid))
    return None if row is None else instance_from(row)


class GroupCommit:
    """Registers instances of many threads in shared transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: list[_Waiting] = []
        self._is_writing = False
        self._changed = threading.Condition()

    def register(self, offer: Offer) -> Registration:
        """Register an instance; it is durable when this returns.

        Raises
        ------
        DatabaseUnavailable
            If the commit failed or its outcome is unknown.
        InternalFault
            If the database rejects this instance.
        """
        mine = _Waiting(offer)
        batch = self._batch_to_write(mine)
        if batch:
            try:
                self._answer_all(batch)
            finally:
                self._finish_batch(batch)
        if isinstance(mine.answer, NodeError):  # shared by many threads: each raises its own
            raise type(mine.answer)(str(mine.answer)) from mine.answer
        if mine.answer is None:
            raise DatabaseUnavailable("The registration was interrupted; send the instance again.")
        return mine.answer

    def _batch_to_write(self, mine: _Waiting) -> list[_Waiting]:
        """All waiting instances if this thread is to commit; none if `mine` is committed."""
        with self._changed:
            self._queue.append(mine)
            self._changed.wait_for(lambda: not self._is_writing or mine.is_over)
            if mine.is_over:
                return []
            batch, self._queue = self._queue, []
            self._is_writing = True
            return batch

    def _finish_batch(self, batch: Sequence[_Waiting]) -> None:
        with self._changed:
            for waiting in batch:
                waiting.is_over = True
            self._is_writing = False
            self._changed.notify_all()

    def _answer_all(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._write([waiting.offer for waiting in batch])
        except DatabaseUnavailable as error:
            for waiting in batch:
                waiting.answer = error
        except NodeError as error:
            self._answer_each(batch, error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.answer = answer

    def _answer_each(self, batch: Sequence[_Waiting], error: NodeError) -> None:
        """After an error, register one by one, so that only the faulty instance fails."""
        if len(batch) == 1:
            batch[0].answer = error
        else:
            for waiting in batch:
                self._answer_all([waiting])

    def _write(self, offers: Sequence[Offer]) -> list[Registration]:
        with self._database.writing() as connection:
            lock_openings(connection)
            return _register(connection, offers)


def registration_of(
    offered: ReceivedInstance, stored: ReceivedInstance | None, own: OwnResult | None
) -> Registration:
    """Compare an offered instance with the stored one of the same SOP Instance UID.

    The same image in another transfer syntax has different bytes, but the same patient, study,
    series and SOP class; it is a duplicate. Under the UID of a result of the node, an object of
    another SOP class or series is a conflict.
    """
    if own is not None:
        is_own = own == (offered.sop_class_uid, offered.series_uid)
        return Registration.OWN_RESULT if is_own else Registration.CONFLICT
    if stored is None:
        return Registration.NEW
    if offered.sha256 == stored.sha256:
        return Registration.DUPLICATE
    recoded = offered.transfer_syntax_uid != stored.transfer_syntax_uid
    if recoded and _place(offered) == _place(stored):
        return Registration.DUPLICATE
    return Registration.CONFLICT


def _place(instance: ReceivedInstance) -> tuple[str, ...]:
    return (
        instance.patient_id,
        instance.issuer_of_patient_id,
        instance.study_uid,
        instance.series_uid,
        instance.sop_class_uid,
    )


def _register(connection: Connection, offers: Sequence[Offer]) -> list[Registration]:
    uids = {offer.instance.sop_instance_uid for offer in offers}
    stored = _stored(connection, uids)
    own = _own_results(connection, uids)
    answers: list[Registration] = []
    for offer in offers:
        uid = offer.instance.sop_instance_uid
        answer = registration_of(offer.instance, stored.get(uid), own.get(uid))
        answers.append(answer)
        if answer is Registration.NEW:
            stored[uid] = offer.instance
        elif answer is Registration.CONFLICT and uid in stored:
            note_conflict(connection, offer.instance, stored[uid])
    _insert_new(connection, offers, answers)
    _touch_jobs(connection, offers, answers)
    return answers


def _stored(connection: Connection, uids: Collection[str]) -> dict[str, ReceivedInstance]:
    rows = connection.execute(_STORED, {"uids": list(uids)})
    return {row.sop_instance_uid: instance_from(row) for row in rows}


def _own_results(connection: Connection, uids: Collection[str]) -> dict[str, OwnResult]:
    """The node's results by SOP Instance UID."""
    rows = connection.execute(_OWN, {"uids": list(uids)})
    return {row.sop_instance_uid: (row.sop_class_uid, row.series_uid) for row in rows}


def _insert_new(
    connection: Connection, offers: Sequence[Offer], answers: Sequence[Registration]
) -> None:
    new = [
        vars(offer.instance)
        for offer, answer in zip(offers, answers, strict=True)
        if answer is Registration.NEW
    ]
    if new:
        connection.execute(_NEW, new)


StudyAndSource = tuple[str, str]


def _touch_jobs(
    connection: Connection, offers: Sequence[Offer], answers: Sequence[Registration]
) -> None:
    arrived = _by_study(offers, answers, Registration.NEW)
    for (study_uid, source_ae), new in arrived.items():
        _join_or_open(connection, study_uid, source_ae, new)
    known = _by_study(offers, answers, Registration.DUPLICATE)
    for (study_uid, source_ae), again in known.items():
        if last_job(connection, study_uid, source_ae) is None:
            open_job(connection, study_uid, source_ae, _priority(again), len(again))


def _by_study(
    offers: Sequence[Offer], answers: Sequence[Registration], wanted: Registration
) -> Mapping[StudyAndSource, list[Offer]]:
    found: dict[StudyAndSource, list[Offer]] = {}
    for offer, answer in zip(offers, answers, strict=True):
        if answer is wanted and offer.opens_job:
            instance = offer.instance
            found.setdefault((instance.study_uid, instance.source_ae), []).append(offer)
    return found


def _join_or_open(
    connection: Connection, study_uid: str, source_ae: str, new: Sequence[Offer]
) -> None:
    job = waiting_job(connection, study_uid, source_ae)
    if job is None:
        open_job(connection, study_uid, source_ae, _priority(new), len(new))
        return
    after = _joined(job, new)
    if job.state is State.RECEIVING:  # the first instance alone has a history entry
        write_job(connection, job, after)
    else:
        write_step(connection, job, after, Step.INSTANCE_ARRIVED, source_ae)


def _joined(job: Job, new: Sequence[Offer]) -> Job:
    urgency = job.priority if job.priority_by else max(job.priority, _priority(new))
    return advance(job, Step.INSTANCE_ARRIVED, instances=job.instances + len(new), priority=urgency)


def _priority(offers: Iterable[Offer]) -> int:
    return max(offer.priority for offer in offers)
