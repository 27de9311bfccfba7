"""Checks the stored files against the database, and repairs what can be repaired.

=====================================  ===========================================================
found                                  repair
=====================================  ===========================================================
file of an instance without a row      received again from its sender: registered, or a second copy
result or key image without a row      removed after a day; an analysis makes it again
damaged or missing result, key image   reanalysis, if the job is the newest of its study and its
                                       weights are in use; removed if a later job replaced it
=====================================  ===========================================================

Everything else is listed with what to do about it, first of all damaged and missing images: their
sender has to send them again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from sij_node.audit.messages import (
    AuditedStudy,
    AuditMessage,
    EventAction,
    HumanUser,
    instances_accessed,
)
from sij_node.domain.job import Job, State
from sij_node.domain.storage_check import (
    PARTS,
    CheckedFiles,
    StorageFault,
    StorageProblem,
    StorageRepair,
)
from sij_node.domain.users import AdminChange
from sij_node.errors import (
    DatasetUnreadable,
    IllegalStep,
    LeaseLost,
    SpoolUnavailable,
    StoredResultDamaged,
)
from sij_node.network.dimse import Status
from sij_node.receive.c_store import StorageService
from sij_node.receive.take_in import take_in
from sij_node.store import change_log
from sij_node.store.analysis_records import forget_picture
from sij_node.store.deliveries import forget_file, is_result_pending
from sij_node.store.job_queries import jobs_of_study, patient_id_of
from sij_node.store.job_table import JobTable
from sij_node.store.referenced_files import is_referenced, remove_unreferenced
from sij_node.store.spool import Spool, SpoolFolder, file_meta_of
from sij_node.store.storage_check_table import DATABASE, next_part, record_part, record_progress
from sij_node.store.stored_files import (
    Faulty,
    FaultyCopy,
    FaultyInstance,
    FaultyResult,
    Pace,
    StoredFiles,
    UnregisteredFile,
    database_damage,
)

log = structlog.get_logger()

_WORDS = {StorageFault.MISSING: "is missing", StorageFault.DAMAGED: "has changed on disk"}


@dataclass(frozen=True)
class StorageCheck:
    """One user's check of the stored files.

    Parameters
    ----------
    service
        Receives unregistered instances again.
    senders
        AE titles of the configured peers.
    weights_in_use
        Names and versions of the networks of the running workers.
    record
        Takes messages of the audit trail.
    retention
        After this time, files that cannot be registered are removed.
    """

    table: JobTable
    spool: Spool
    service: StorageService
    senders: frozenset[str]
    weights_in_use: Callable[[], frozenset[str]]
    record: Callable[[AuditMessage], None]
    retention: timedelta
    who: HumanUser

    def check_part(
        self, part: str, now: datetime, pace: Pace = lambda size: None, *, repairs: bool = True
    ) -> CheckedFiles:
        """Check the files whose names begin with `part`.

        Parameters
        ----------
        pace
            Called with the size of each file that was read; may wait.
        repairs
            Whether to repair, and to remember what was found.

        Raises
        ------
        DatabaseUnavailable, SpoolUnavailable
        """
        files = StoredFiles(self.table.database, self.spool, pace)
        outcomes = [
            (self._repaired(one) if repairs else None) or self._problem(one)
            for one in files.faults(part, now)
        ]
        if part == PARTS[0]:
            outcomes += self._database_problems()
        checked = CheckedFiles(
            files.files,
            files.size_bytes,
            tuple(one for one in outcomes if isinstance(one, StorageRepair)),
            tuple(one for one in outcomes if isinstance(one, StorageProblem)),
        )
        if repairs:
            record_part(self.table.database, part, checked)
            self._note(checked)
        return checked

    def _database_problems(self) -> Iterator[StorageProblem]:
        if found := database_damage(self.table.database):
            yield StorageProblem(
                DATABASE,
                DATABASE,
                StorageFault.DATABASE,
                f"The database file is damaged: {found}",
                "Stop the node, check the disk, and restore the newest backup; then run "
                "`sij-node verify`, which registers the images received since.",
            )

    def _note(self, checked: CheckedFiles) -> None:
        """Record repairs in change log and audit trail."""
        for one in checked.repairs:
            log.info("stored file repaired", reason=one.message)
            change = AdminChange(
                _now(), self.who.user, "repair stored file", one.file_name[:64], one.message
            )
            change_log.note_change(self.table.database, change)
            if one.study_uid:
                patient = patient_id_of(self.table.database, one.study_uid)
                study = AuditedStudy(one.study_uid, patient)
                self.record(instances_accessed(self.who, study, one.message, EventAction.UPDATE))
        for problem in checked.problems:
            log.warning("stored file needs attention", reason=problem.message)

    # ---- repairs -------------------------------------------------------------------------

    def _repaired(self, one: Faulty) -> StorageRepair | None:
        if isinstance(one, UnregisteredFile):
            is_result = one.folder is SpoolFolder.RESULTS
            return self._removed(one) if is_result else self._registered(one)
        return self._remade(one) if isinstance(one, FaultyResult) else None

    def _removed(self, one: UnregisteredFile) -> StorageRepair | None:
        if remove_unreferenced(self.table.database, self.spool, one.folder, one.file):
            return StorageRepair(one.file.name, "A result that belonged to no job was removed.")
        return None

    def _registered(self, one: UnregisteredFile) -> StorageRepair | None:
        name, path = one.file.name, self.spool.path_in(one.folder, one.file.name)
        try:
            meta = file_meta_of(path)
            if not self._may_take_in(one, meta.source_ae, meta.sop_instance_uid):
                return None
            outcome = take_in(self.service, path, meta)
        except (DatasetUnreadable, SpoolUnavailable):
            return None
        if outcome.status not in (Status.SUCCESS, Status.CONFLICTING_COPY):
            return None
        remove_unreferenced(self.table.database, self.spool, one.folder, one.file)
        what = "registered" if self._is_referenced(one) else "recognised"
        study_uid = outcome.instance.study_uid if outcome.instance else ""
        message = (
            f"Instance {meta.sop_instance_uid} from {meta.source_ae} had no row and was {what}."
        )
        return StorageRepair(name, message, study_uid)

    def _may_take_in(self, one: UnregisteredFile, source_ae: str, uid: str) -> bool:
        """A second copy alone, without the instance that it differs from, is not one to analyse."""
        is_copy = one.folder is SpoolFolder.QUARANTINE
        return source_ae in self.senders and not (is_copy and self.service.stored(uid) is None)

    def _is_referenced(self, one: UnregisteredFile) -> bool:
        return is_referenced(self.table.database, one.folder, one.file.name)

    def _remade(self, one: FaultyResult) -> StorageRepair | None:
        """Have an analysis make it again, unless a later job replaces it or has done so."""
        if not one.job_ids:
            return None
        job = self.table.get(one.job_ids[-1])
        last = self._last_job(job)
        what = f"The {one.what} of job {job.job_id} {_WORDS[one.fault]}; job {last.job_id} "
        if last.state in _TO_ANALYSE:
            return StorageRepair(one.file_name, f"{what}makes it again.", job.study_uid)
        if last.job_id == job.job_id:
            return self._analysed_again(one, job)
        if last.state not in _ANALYSED or is_result_pending(self.table.database, one.result_uid):
            return None
        self._forget(one)
        return StorageRepair(
            one.file_name, f"{what}has replaced it, so it was removed.", job.study_uid
        )

    def _last_job(self, job: Job) -> Job:
        of_study = jobs_of_study(self.table.database, job.study_uid)
        alike = (one for one in reversed(of_study) if one.source_ae == job.source_ae)
        return next((one for one in alike if one.state is not State.CANCELLED), job)

    def _forget(self, one: FaultyResult) -> None:
        with self.table.database.writing() as connection:
            if one.result_uid:
                forget_file(connection, one.result_uid)
            else:
                forget_picture(connection, one.file_name)
        self.spool.remove_result(one.file_name)

    def _analysed_again(self, one: FaultyResult, job: Job) -> StorageRepair | None:
        if not job.weights or job.weights not in self.weights_in_use():
            return None  # other weights would lead to other results
        what = f"The {one.what} of job {job.job_id} {_WORDS[one.fault]}"
        with suppress(IllegalStep, LeaseLost):
            if job.state is State.DELIVERING and not job.leased_by:
                error = StoredResultDamaged(f"{what}; it is made again.")
                self.table.analyse_again(job, error, self.who.user)
                return StorageRepair(one.file_name, str(error), job.study_uid)
            if job.state in _ANALYSED:
                opened = self.table.reanalyse(job, self.who.user, job.weights_wanted)
                message = f"{what}; job {opened.job_id} makes it again."
                return StorageRepair(one.file_name, message, job.study_uid)
        return None

    # ---- what is left to do --------------------------------------------------------------

    def _problem(self, one: Faulty) -> StorageProblem:
        if isinstance(one, FaultyInstance):
            return _instance_problem(one)
        if isinstance(one, FaultyResult):
            return self._result_problem(one)
        return _copy_problem(one) if isinstance(one, FaultyCopy) else self._unregistered(one)

    def _result_problem(self, one: FaultyResult) -> StorageProblem:
        job = self.table.get(one.job_ids[-1]) if one.job_ids else None
        named = f"job {job.job_id}" if job else "no job"
        action = (
            f"Check the disk. To have it made again: `sij-node jobs reanalyse {job.job_id}`; with "
            "other weights or priors than before, the results are a revision."
            if job
            else "Check the disk. No job needs it."
        )
        return StorageProblem(
            SpoolFolder.RESULTS,
            one.file_name,
            one.fault,
            f"The {one.what} of {named} {_WORDS[one.fault]}.",
            action,
            job.study_uid if job else "",
        )

    def _unregistered(self, one: UnregisteredFile) -> StorageProblem:
        removed_on = one.file.written_at + self.retention
        return StorageProblem(
            one.folder,
            one.file.name,
            StorageFault.UNREGISTERED,
            f"The file {one.file.name[:16]} in {one.folder}/ has no row in the database and cannot "
            "be registered: it is damaged, its sender is not a [[peer]], or it is a copy of an "
            "instance that is not stored.",
            f"It is removed on {removed_on:%Y-%m-%d}. To have it registered, add the [[peer]], "
            "then run `sij-node verify`.",
        )


_TO_ANALYSE = (State.RECEIVING, State.QUEUED, State.ANALYSING)
_ANALYSED = (State.DELIVERING, State.DELIVERED, State.CONFIRMED, State.NOT_SENT)


def _instance_problem(one: FaultyInstance) -> StorageProblem:
    instance = one.instance
    return StorageProblem(
        SpoolFolder.INSTANCES,
        instance.file_name,
        one.fault,
        f"Instance {instance.sop_instance_uid} of study {instance.study_uid} {_WORDS[one.fault]}.",
        f"Check the disk, then send the study again from {instance.source_ae}: the file is "
        "replaced, and the study is not analysed twice.",
        instance.study_uid,
    )


def _copy_problem(one: FaultyCopy) -> StorageProblem:
    return StorageProblem(
        SpoolFolder.QUARANTINE,
        one.file_name,
        one.fault,
        f"A second copy of an image of study {one.study_uid} {_WORDS[one.fault]}.",
        "Check the disk, then send the study again; do not accept the copies before.",
        one.study_uid,
    )


class StorageCheckInBackground:
    """Checks one part after the other, slowly, round after round.

    Parameters
    ----------
    every
        From the end of a round to the beginning of the next.
    bytes_per_s
        Files are read no faster than this.
    stop
        Ends the check in the middle of a part, which is checked again after the next start.
    """

    def __init__(
        self, check: StorageCheck, every: timedelta, bytes_per_s: float, stop: threading.Event
    ) -> None:
        self._check = check
        self._every = every
        self._bytes_per_s = bytes_per_s
        self._stop = stop

    def check_next(self) -> None:
        """Check the next part, if a round is due."""
        number, verified_at = next_part(self._check.table.database)
        now = _now()
        if number == 0 and verified_at and timedelta() <= now - verified_at < self._every:
            return
        with suppress(_StoppedError):
            checked = self._check.check_part(PARTS[number], now, self._wait)
            record_progress(self._check.table.database, number, len(PARTS), checked)

    def _wait(self, size: int) -> None:
        if self._stop.wait(size / self._bytes_per_s):
            raise _StoppedError


class _StoppedError(Exception):
    """The process is shutting down."""


def _now() -> datetime:
    return datetime.now(UTC)
