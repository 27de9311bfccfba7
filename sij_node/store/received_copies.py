"""Second copies of stored instances: corrections of patient or study, and conflicts.

A copy waits in quarantine and changes nothing until it is accepted. Accepting it replaces the
stored instance in the database; the former file stays on disk until the study is cleared. The
study is then analysed again for everyone who received its results.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, or_, select, update

from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.domain.job import OPEN, Job, Result, Step
from sij_node.domain.study import (
    CopyKind,
    CopyState,
    IdentityCorrection,
    ReceivedCopy,
    ReceivedInstance,
    Refusal,
)
from sij_node.errors import IllegalStep
from sij_node.store import refusals, study_attributes_table
from sij_node.store.database import Database, lock_openings
from sij_node.store.deliveries import former_studies, result_references
from sij_node.store.history import last_job, open_job, record_step, waiting_job
from sij_node.store.spool import Spool
from sij_node.store.tables import copy_from, copy_row, instances, jobs
from sij_node.store.tables import received_copies as copies

_OPEN = (CopyState.PENDING.value, CopyState.HELD.value)
_is_open = copies.c.state.in_(_OPEN)
_is_accepted_correction = (copies.c.state == CopyState.ACCEPTED.value) & (
    copies.c.kind == CopyKind.CORRECTION.value
)


def add_copy(database: Database, copy: ReceivedCopy) -> None:
    """Record a second copy; a later one of the same instance takes its place.

    A correction that would undo an accepted one is held for an administrator: it may be an image
    that its sender never corrected.
    """
    with database.writing() as connection:
        if copy.kind is CopyKind.CONFLICT:
            refusals.note_conflict(connection, copy.instance, copy.stored)
        waiting = _of_instance(copy) & _is_open
        known = connection.execute(select(copies).where(waiting)).all()
        if any(row.quarantined_as == copy.quarantined_as for row in known):
            return
        connection.execute(update(copies).where(waiting).values(state=CopyState.REPLACED.value))
        row = copy_row(copy)
        if _was_corrected_before(connection, copy):
            row["state"] = CopyState.HELD.value
        connection.execute(insert(copies).values(**row))


def _of_instance(copy: ReceivedCopy) -> ColumnElement[bool]:
    return copies.c.sop_instance_uid == copy.instance.sop_instance_uid


def _was_corrected_before(connection: Connection, copy: ReceivedCopy) -> bool:
    former = select(copies.c.copy_id).where(
        _of_instance(copy), _is_accepted_correction, copies.c.stored_identity == copy.identity
    )
    return connection.execute(former.limit(1)).first() is not None


def files_of(connection: Connection, study_uid: str) -> tuple[Sequence[str], Sequence[str]]:
    """Files of a study's second copies: in quarantine, and instances that they have replaced."""
    rows = connection.execute(select(copies).where(_about(study_uid))).all()
    quarantined = [row.quarantined_as for row in rows]
    accepted = [row for row in rows if row.state == CopyState.ACCEPTED.value]
    return quarantined, [copy_from(row).stored.file_name for row in accepted]


def copies_alone(connection: Connection, moment: datetime) -> Sequence[str]:
    """Studies with nothing but second copies, all of them received before a moment.

    Such copies stay when all images of their study have been moved to another one.
    """
    is_stored = exists().where(
        instances.c.study_uid.in_((copies.c.stored_study_uid, copies.c.study_uid))
    )
    with_images = select(copies.c.stored_study_uid).where(is_stored)
    studies = (
        select(copies.c.stored_study_uid)
        .where(copies.c.stored_study_uid.not_in(with_images))
        .group_by(copies.c.stored_study_uid)
        .having(func.max(copies.c.received_at) < moment)
    )
    return connection.execute(studies).scalars().all()


def forget(connection: Connection, study_uid: str) -> None:
    """Remove the rows of a study's second copies."""
    connection.execute(delete(copies).where(_about(study_uid)))


def _about(study_uid: str) -> ColumnElement[bool]:
    """Copies of the study's images, and those whose images have been moved to it."""
    moved_here = (copies.c.state == CopyState.ACCEPTED.value) & (copies.c.study_uid == study_uid)
    return or_(copies.c.stored_study_uid == study_uid, moved_here)


def copies_of(database: Database, study_uid: str) -> tuple[ReceivedCopy, ...]:
    """The second copies that await a decision about a study, oldest first."""
    wanted = select(copies).where(_is_open, copies.c.stored_study_uid == study_uid)
    return tuple(copy_from(row) for row in database.rows(wanted.order_by(copies.c.copy_id)))


def studies_with_copies(database: Database) -> tuple[str, ...]:
    """Studies with second copies that await a decision, oldest first."""
    studies = (
        select(copies.c.stored_study_uid)
        .where(_is_open)
        .group_by(copies.c.stored_study_uid)
        .order_by(func.min(copies.c.copy_id))
    )
    return tuple(row.stored_study_uid for row in database.rows(studies))


def is_complete_correction(database: Database, found: Sequence[ReceivedCopy]) -> bool:
    """Whether copies give every image of their study one and the same new identity."""
    if any(
        one.kind is not CopyKind.CORRECTION or one.state is not CopyState.PENDING for one in found
    ):
        return False
    if len({one.identity for one in found}) != 1:
        return False
    images = select(instances.c.sop_instance_uid).where(
        instances.c.study_uid == found[0].stored.study_uid,
        instances.c.sop_class_uid.in_(IMAGE_CLASSES),
    )
    corrected = {one.instance.sop_instance_uid for one in found}
    return {row.sop_instance_uid for row in database.rows(images)} <= corrected


def accept_copies(database: Database, spool: Spool, study_uid: str, who: str) -> tuple[Job, ...]:
    """Put the second copies of a study in the place of the stored instances.

    Returns
    -------
    tuple[Job, ...]
        The jobs that analyse the study again; none if no image was replaced.

    Raises
    ------
    IllegalStep
        If no copy awaits a decision.
    """
    with database.writing() as connection:
        lock_openings(connection)
        found = _undecided(connection, study_uid)
        for copy in found:
            _replace_stored(connection, spool, copy)
        study_attributes_table.forget(connection, study_uid)  # until the new images are read
        _decide(connection, study_uid, CopyState.ACCEPTED, who)
        opened = _reopen(connection, study_uid, found, who)
    for copy in found:
        spool.remove_from_quarantine(copy.quarantined_as)
    return opened


def discard_copies(database: Database, study_uid: str, who: str) -> int:
    """Keep the stored instances; the second copies stay in quarantine until the study is cleared.

    Raises
    ------
    IllegalStep
        If no copy awaits a decision.
    """
    with database.writing() as connection:
        found = _undecided(connection, study_uid)
        _decide(connection, study_uid, CopyState.DISCARDED, who)
    return len(found)


def _undecided(connection: Connection, study_uid: str) -> list[ReceivedCopy]:
    wanted = select(copies).where(_is_open, copies.c.stored_study_uid == study_uid)
    rows = connection.execute(wanted.order_by(copies.c.copy_id).with_for_update())
    found = [copy_from(row) for row in rows]
    if not found:
        raise IllegalStep(
            f"No image of study {study_uid} was received again with other content, or that was "
            "decided already. Reload the job."
        )
    return found


def _replace_stored(connection: Connection, spool: Spool, copy: ReceivedCopy) -> None:
    offered = copy.instance
    file_name = _file_name(offered)
    spool.keep_from_quarantine(copy.quarantined_as, file_name)
    row = {**vars(offered), "file_name": file_name, "source_ae": copy.stored.source_ae}
    connection.execute(
        update(instances)
        .where(instances.c.sop_instance_uid == offered.sop_instance_uid)
        .values(**row)
    )


def _file_name(instance: ReceivedInstance) -> str:
    """Unlike the first copy's, so that database and disk agree at any moment."""
    return sha256(f"{instance.file_name} {instance.sha256}".encode()).hexdigest() + ".dcm"


def _decide(connection: Connection, study_uid: str, state: CopyState, who: str) -> None:
    settled = jobs.c.state.not_in([one.value for one in OPEN])
    last = select(func.coalesce(func.max(jobs.c.job_id), 0)).where(settled).scalar_subquery()
    connection.execute(
        update(copies)
        .where(_is_open, copies.c.stored_study_uid == study_uid)
        .values(state=state.value, decided_by=who, decided_at=datetime.now(UTC), jobs_before=last)
    )
    refusals.settle_conflicts(connection, study_uid)


# ---- the jobs that follow ------------------------------------------------------------------------


def _reopen(
    connection: Connection, study_uid: str, found: Sequence[ReceivedCopy], who: str
) -> tuple[Job, ...]:
    """Open a job for each affected study and each source of its images."""
    images = [one for one in found if one.instance.sop_class_uid in IMAGE_CLASSES]
    if not images:
        return ()
    targets = {one.instance.study_uid for one in images}
    sources = _sources(connection, {study_uid, *targets}) | {
        one.instance.source_ae for one in images
    }
    kind = "corrected" if images[0].kind is CopyKind.CORRECTION else "replaced"
    note = f"{len(images)} images {kind}"
    before = {source: _withdrawn(connection, study_uid, source, who, note) for source in sources}
    if _images_of(connection, study_uid):
        targets.add(study_uid)
    return tuple(
        _opened(connection, target, source, who, f"{note}{before[source]}")
        for target in sorted(targets)
        for source in sorted(sources)
    )


def _sources(connection: Connection, studies: Iterable[str]) -> set[str]:
    wanted = select(jobs.c.source_ae).where(jobs.c.study_uid.in_(studies)).distinct()
    return set(connection.execute(wanted).scalars())


def _withdrawn(connection: Connection, study_uid: str, source_ae: str, who: str, note: str) -> str:
    """Cancel the open job of a study and source; returns the number of its last job, in words."""
    waiting = waiting_job(connection, study_uid, source_ae)
    if waiting is not None:
        record_step(connection, waiting, Step.CANCELLED, who, note)
    last = last_job(connection, study_uid, source_ae)
    return f"; previous job {last.job_id}" if last else ""


def _images_of(connection: Connection, study_uid: str) -> int:
    counted = select(func.count()).where(
        instances.c.study_uid == study_uid, instances.c.sop_class_uid.in_(IMAGE_CLASSES)
    )
    return int(connection.execute(counted).scalar_one())


def _opened(connection: Connection, study_uid: str, source_ae: str, who: str, note: str) -> Job:
    waiting = waiting_job(connection, study_uid, source_ae)
    if waiting is not None:
        return waiting
    last = last_job(connection, study_uid, source_ae)
    priority = last.priority if last else 5
    count = _images_of(connection, study_uid)
    job = open_job(connection, study_uid, source_ae, priority, count, who)
    return record_step(connection, job, Step.SETTLED, who, note)


# ---- what the results say ------------------------------------------------------------------------


def unsettled_conflicts(
    database: Database, study_uid: str, history: Sequence[Sequence[Result]]
) -> tuple[Refusal, ...]:
    """Conflicting copies that keep a study from being analysed.

    Once results of the stored images have been sent, a copy that arrives later does not make them
    doubtful: it awaits a decision, and the stored images remain valid.
    """
    was_analysed = any(
        not one.kind.startswith("not analysed") for results in history for one in results
    )
    return () if was_analysed else refusals.conflicts_of(database, study_uid)


def correction_of(database: Database, job: Job) -> IdentityCorrection | None:
    """The correction of a job's study after results were sent to its source, if there was one."""
    wanted = select(copies).where(_is_accepted_correction, copies.c.study_uid == job.study_uid)
    rows = database.rows(wanted.order_by(copies.c.decided_at, copies.c.sop_instance_uid))
    if not rows:
        return None
    last = [row for row in rows if row.decided_at == rows[-1].decided_at]
    found = [copy_from(row) for row in last]
    differs = sorted({keyword for one in found for keyword in one.differs})
    earlier = result_references(
        database,
        [job.study_uid, *former_studies(database, job.study_uid)],
        job.source_ae,
        max(row.jobs_before for row in last),
    )
    return IdentityCorrection(rows[-1].decided_at, tuple(differs), found[0].stored, earlier)
