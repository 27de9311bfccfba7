"""Compares the files of the spool with the database; nothing is changed.

The spool is checked in 256 parts, by the first two characters of the file names, which are hashes.
A row may disappear and a file may appear while a part is read, so every fault is looked at twice.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, select, text

from sij_node.dicom.part10 import FileMeta
from sij_node.domain.job import Result
from sij_node.domain.storage_check import StorageFault
from sij_node.domain.study import CopyState, ReceivedInstance
from sij_node.errors import DatasetUnreadable
from sij_node.store.database import Database
from sij_node.store.referenced_files import unreferenced
from sij_node.store.spool import Spool, SpoolFile, SpoolFolder, read_digest
from sij_node.store.tables import (
    analyses,
    analysis_pictures,
    deliveries,
    instance_from,
    instances,
    jobs,
    received_copies,
    refusals,
    result_from,
    results,
)

UNREGISTERED_AFTER = {
    SpoolFolder.INSTANCES: timedelta(hours=1),
    SpoolFolder.QUARANTINE: timedelta(hours=1),
    SpoolFolder.RESULTS: timedelta(days=1),
}
"""A younger file may get its row yet: its sender tries again, or its analysis is running."""
DRAWN_AFTER = timedelta(hours=1)
"""Key images of a job that ended more recently may still be being drawn."""
_PNG = b"\x89PNG\r\n\x1a\n"

Pace = Callable[[int], None]
"""Called with the bytes of each file that was read; may wait."""


@dataclass(frozen=True)
class FaultyInstance:
    """A received instance whose file is missing or damaged."""

    instance: ReceivedInstance
    fault: StorageFault


@dataclass(frozen=True)
class FaultyResult:
    """A result or key image whose file is missing or damaged.

    Parameters
    ----------
    what
        Result with its kind, or key image.
    result_uid
        Empty for a key image.
    job_ids
        The jobs that it belongs to, the newest last.
    """

    file_name: str
    what: str
    result_uid: str
    job_ids: tuple[int, ...]
    fault: StorageFault


@dataclass(frozen=True)
class FaultyCopy:
    """A second copy in quarantine whose file is missing or damaged."""

    file_name: str
    study_uid: str
    fault: StorageFault


@dataclass(frozen=True)
class UnregisteredFile:
    """A file of the spool that no row names."""

    folder: SpoolFolder
    file: SpoolFile


Faulty = FaultyInstance | FaultyResult | FaultyCopy | UnregisteredFile


class StoredFiles:
    """The files of the spool beside the rows of the database.

    Parameters
    ----------
    pace
        Limits how fast files are read.
    """

    def __init__(self, database: Database, spool: Spool, pace: Pace = lambda size: None) -> None:
        self._database = database
        self._spool = spool
        self._pace = pace
        self.files = 0
        self.size_bytes = 0

    def faults(self, part: str, now: datetime) -> Iterator[Faulty]:
        """Everything in which disk and database disagree within a part."""
        self._spool.check_writable()  # an unmounted disk is not a spool without files
        yield from self._instances(part)
        yield from self._results(part, now)
        yield from self._copies(part)
        yield from self._unregistered(part, now)

    def _instances(self, part: str) -> Iterator[FaultyInstance]:
        for row in _instance_rows(self._database, part):
            fault = self._instance_fault(row)
            if fault and row in _instance_rows(self._database, row.file_name):
                yield FaultyInstance(row, fault)

    def _instance_fault(self, row: ReceivedInstance) -> StorageFault | None:
        read = self._dataset(self._spool.path_of(row.file_name))
        if isinstance(read, StorageFault):
            return read
        meta, digest = read
        wanted = (row.sop_class_uid, row.sop_instance_uid, row.transfer_syntax_uid)
        found = (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)
        return None if (digest, found) == (row.sha256, wanted) else StorageFault.DAMAGED

    def _dataset(self, path: Path) -> tuple[FileMeta, str] | StorageFault:
        """Meta information and digest of a Part 10 file."""
        try:
            read = read_digest(path)
            size = path.stat().st_size
        except FileNotFoundError:
            return StorageFault.MISSING
        except (DatasetUnreadable, OSError):
            return StorageFault.DAMAGED
        self._read(size)
        return read

    def _results(self, part: str, now: datetime) -> Iterator[FaultyResult]:
        for result in _result_rows(self._database, part):
            fault = self._content_fault(result.file_name, result.sha256)
            if fault and result in _result_rows(self._database, result.file_name):
                belongs_to = _jobs_of_result(self._database, result.sop_instance_uid)
                yield FaultyResult(
                    result.file_name,
                    f"result ({result.kind})",
                    result.sop_instance_uid,
                    belongs_to,
                    fault,
                )
        before = now - DRAWN_AFTER
        for name, job_ids in _pictures(self._database, part, before).items():
            fault = self._picture_fault(name)
            if fault and name in _pictures(self._database, name, before):
                yield FaultyResult(name, "key image", "", job_ids, fault)

    def _content_fault(self, file_name: str, sha256: str) -> StorageFault | None:
        content = self._content(file_name)
        if isinstance(content, StorageFault):
            return content
        return None if hashlib.sha256(content).hexdigest() == sha256 else StorageFault.DAMAGED

    def _picture_fault(self, file_name: str) -> StorageFault | None:
        content = self._content(file_name)
        if isinstance(content, StorageFault):
            return content
        return None if is_whole_png(content) else StorageFault.DAMAGED

    def _content(self, file_name: str) -> bytes | StorageFault:
        path = self._spool.path_of_result(file_name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return StorageFault.MISSING
        except OSError:
            return StorageFault.DAMAGED
        self._read(len(content))
        return content

    def _copies(self, part: str) -> Iterator[FaultyCopy]:
        for name, study_uid in _copy_rows(self._database, part).items():
            fault = self._copy_fault(name)
            if fault and name in _copy_rows(self._database, name):
                yield FaultyCopy(name, study_uid, fault)

    def _copy_fault(self, name: str) -> StorageFault | None:
        """A copy's name ends with the beginning of its dataset's digest."""
        path = self._spool.path_in_quarantine(name)
        read = self._dataset(path)
        if isinstance(read, StorageFault):
            return read
        is_whole = read[1].startswith(path.stem.partition("-")[2])
        return None if is_whole else StorageFault.DAMAGED

    def _unregistered(self, part: str, now: datetime) -> Iterator[UnregisteredFile]:
        for folder, age in UNREGISTERED_AFTER.items():
            for file in unreferenced(self._database, self._spool, folder, part):
                if file.written_at < now - age:
                    yield UnregisteredFile(folder, file)

    def _read(self, size: int) -> None:
        self.files += 1
        self.size_bytes += size
        self._pace(size)


def database_damage(database: Database) -> str:
    """What SQLite's own check finds wrong with the database file; empty if nothing.

    PostgreSQL checks its pages itself, if they were created with checksums.
    """
    with database.reading() as connection:
        if connection.dialect.name != "sqlite":
            return ""
        found = connection.execute(text("PRAGMA integrity_check(5)")).scalars().all()
    return "" if found == ["ok"] else "; ".join(found)


def is_whole_png(content: bytes) -> bool:
    """Whether a PNG file is complete and all its checksums are right (PNG 5.3)."""
    position = len(_PNG)
    if content[:position] != _PNG:
        return False
    while position + 12 <= len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4])
        kind = content[position + 4 : position + 8]
        if zlib.crc32(content[position + 4 : end]) != int.from_bytes(content[end : end + 4]):
            return False
        if kind == b"IEND":
            return True
        position = end + 4
    return False


# ---- rows ----------------------------------------------------------------------------------------


def _instance_rows(database: Database, beginning: str) -> Sequence[ReceivedInstance]:
    """Instances by the beginning of their file names, those replaced by a correction included."""
    named = select(instances).where(instances.c.file_name.startswith(beginning))
    accepted = select(received_copies.c.stored).where(
        received_copies.c.state == CopyState.ACCEPTED.value
    )
    with database.reading() as connection:
        stored = [instance_from(row) for row in connection.execute(named)]
        replaced = [
            ReceivedInstance(**{**one, "received_at": datetime.fromisoformat(one["received_at"])})
            for one in connection.execute(accepted).scalars()
            if one["file_name"].startswith(beginning)
        ]
    known = {one.file_name for one in stored}
    return [*stored, *(one for one in replaced if one.file_name not in known)]


def _result_rows(database: Database, beginning: str) -> Sequence[Result]:
    named = select(results).where(
        results.c.file_name.startswith(beginning), results.c.file_name != ""
    )
    return [result_from(row) for row in database.rows(named)]


def _jobs_of_result(database: Database, result_uid: str) -> tuple[int, ...]:
    wanted = select(deliveries.c.job_id).where(deliveries.c.result_uid == result_uid).distinct()
    return tuple(row.job_id for row in database.rows(wanted.order_by(deliveries.c.job_id)))


def _pictures(database: Database, beginning: str, before: datetime) -> dict[str, tuple[int, ...]]:
    """Key images of jobs that have not changed since a moment, with their jobs."""
    named = (
        select(analysis_pictures.c.file_name, jobs.c.job_id)
        .join(analyses, analyses.c.job_id == analysis_pictures.c.job_id)
        .join(jobs, jobs.c.job_id == analyses.c.job_id)
        .where(analysis_pictures.c.file_name.startswith(beginning), jobs.c.changed_at < before)
        .order_by(jobs.c.job_id)
    )
    found: dict[str, tuple[int, ...]] = {}
    for row in database.rows(named):
        found[row.file_name] = (*found.get(row.file_name, ()), row.job_id)
    return found


def _copy_rows(database: Database, beginning: str) -> dict[str, str]:
    """Copies that must be in quarantine, with their studies; accepted ones have left it."""
    with database.reading() as connection:
        refused = _refused_copies(connection, beginning)
        kept = select(received_copies).where(received_copies.c.quarantined_as.startswith(beginning))
        rows = connection.execute(kept.order_by(received_copies.c.copy_id)).all()
    accepted = {one.quarantined_as for one in rows if one.state == CopyState.ACCEPTED.value}
    waiting = {one.quarantined_as: one.stored_study_uid for one in rows}
    return {name: study for name, study in {**refused, **waiting}.items() if name not in accepted}


def _refused_copies(connection: Connection, beginning: str) -> dict[str, str]:
    named = select(refusals.c.quarantined_as, refusals.c.study_uid).where(
        refusals.c.quarantined_as.startswith(beginning), refusals.c.quarantined_as != ""
    )
    return {row.quarantined_as: row.study_uid for row in connection.execute(named)}
