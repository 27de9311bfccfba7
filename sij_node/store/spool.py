"""The spool: files of received instances and of results, until they are cleared.

::

    incoming/             being received; emptied when the listener starts
    instances/ab/ab….dcm  acknowledged: complete, on disk, never changed
    quarantine/           different content under a SOP Instance UID that is already stored
    results/              results and key images

An instance is linked to its final name atomically, after its bytes are on disk and only if the name
is free. Every name is a hash, so no text from an object becomes part of a path.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import re
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from time import time
from typing import BinaryIO

from sij_node.dicom.part10 import FILE_META_BYTES, FileMeta, read_file_meta
from sij_node.errors import InternalFault, RequestMalformed, SpoolUnavailable

_INSTANCE_NAME = re.compile(r"[0-9a-f]{64}\.dcm")
_SAFE_NAME = re.compile(r"[0-9a-f]{16,64}(-[0-9a-f]{1,64})?\.[a-z]{2,8}")
_READ_AT_ONCE = 1 << 20
_RECEIVED = ".part"
_RESULT = ".result"
_LOCK = ".lock"
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of Linux; see fcntl(2), open file description locks."""
_DAY_S = 86400


class SpoolFolder(StrEnum):
    """A folder of the spool."""

    INCOMING = "incoming"
    INSTANCES = "instances"
    QUARANTINE = "quarantine"
    RESULTS = "results"


@dataclass(frozen=True)
class SpoolFile:
    """A file of the spool.

    Parameters
    ----------
    written_at
        UTC, by the file system's clock.
    """

    name: str
    size_bytes: int
    written_at: datetime


def instance_file_name(sop_instance_uid: str) -> str:
    """File name of an instance in the spool."""
    return hashlib.sha256(sop_instance_uid.encode("utf-8", "surrogateescape")).hexdigest() + ".dcm"


class Spool:
    """The folders of the spool; created if missing.

    Parameters
    ----------
    folder
        On a single file system with hard links, such as any local Linux file system.

    Raises
    ------
    SpoolUnavailable
        From the constructor and every method, if the disk is full, read-only or missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / SpoolFolder.INCOMING
        self._instances = folder / SpoolFolder.INSTANCES
        self._quarantine = folder / SpoolFolder.QUARANTINE
        self._results = folder / SpoolFolder.RESULTS
        with _spool_errors():
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (folder, *(folder / name for name in SpoolFolder)):
                each.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(folder)

    @contextmanager
    def locked(self, stripe: int) -> Iterator[None]:
        """Exclude all other threads and processes of this machine that hold the same stripe."""
        with _spool_errors():
            descriptor = os.open(
                self._folder.with_suffix(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        try:
            with _spool_errors():
                wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, stripe, 1, 0)
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, wanted)
            yield
        finally:
            os.close(descriptor)

    def stage(self) -> "StagedFile":
        """An empty file in incoming/, to be written and then kept, quarantined or discarded."""
        return self._staged(_RECEIVED)

    def path_of(self, file_name: str) -> Path:
        """Path of an instance, whether it exists or not."""
        return self._instances / _checked(file_name, _INSTANCE_NAME)[:2] / file_name

    def path_of_result(self, name: str) -> Path:
        """Path of a result, whether it exists or not."""
        return self._results / _checked(name, _SAFE_NAME)

    def path_in_quarantine(self, name: str) -> Path:
        """Path of a quarantined copy, whether it exists or not."""
        return self._quarantine / _checked(name, _SAFE_NAME)

    def open(self, file_name: str) -> BinaryIO:
        """Open an instance for reading, as a Part 10 file."""
        with _spool_errors():
            return self.path_of(file_name).open("rb")

    def digest_of(self, file_name: str) -> str:
        """SHA-256 of an instance's dataset as it is on disk, without file meta information.

        Raises
        ------
        DatasetUnreadable
            If the beginning of the file is damaged.
        """
        with _spool_errors():
            return read_digest(self.path_of(file_name))[1]

    def remove(self, file_name: str) -> None:
        """Remove an instance, if it exists."""
        with _spool_errors():
            self.path_of(file_name).unlink(missing_ok=True)

    def remove_from_quarantine(self, name: str) -> None:
        """Remove a quarantined copy, if it exists."""
        with _spool_errors():
            self.path_in_quarantine(name).unlink(missing_ok=True)

    def keep_from_quarantine(self, name: str, file_name: str) -> None:
        """Link a quarantined copy to the name of an instance; durable when this returns."""
        path = self.path_of(file_name)
        with _spool_errors():
            _make_subfolder(path.parent)
            with suppress(FileExistsError):  # linked before a crash
                os.link(self.path_in_quarantine(name), path)
            _sync_folder(path.parent)

    def keep_result(self, content: bytes, name: str) -> str:
        """Store a result; an existing file of that name is replaced atomically.

        Returns
        -------
        str
            The name.
        """
        path = self.path_of_result(name)
        with self._staged(_RESULT) as staged:
            staged.write(content)
            staged.sync()
            staged.move_to(path)
        return name

    def read_result(self, name: str) -> bytes:
        """Content of a result."""
        with _spool_errors():
            return self.path_of_result(name).read_bytes()

    def remove_result(self, name: str) -> None:
        """Remove a result, if it exists."""
        with _spool_errors():
            self.path_of_result(name).unlink(missing_ok=True)

    def files_in(self, folder: SpoolFolder, beginning: str = "") -> Iterator[SpoolFile]:
        """The files of a folder whose names begin with a text, in no particular order."""
        is_divided = folder is SpoolFolder.INSTANCES
        pattern = f"{beginning[:2]:?<2}/{beginning}*" if is_divided else f"{beginning}*"
        with _spool_errors():
            for path in (self._folder / folder).glob(pattern):
                with suppress(FileNotFoundError):  # removed meanwhile
                    found = path.stat()
                    written_at = datetime.fromtimestamp(found.st_mtime, UTC)
                    yield SpoolFile(path.name, found.st_size, written_at)

    def path_in(self, folder: SpoolFolder, name: str) -> Path:
        """Path of a file that `files_in` named."""
        place = self._folder / folder
        return place / name[:2] / name if folder is SpoolFolder.INSTANCES else place / name

    def remove_from(self, folder: SpoolFolder, name: str) -> None:
        """Remove a file that `files_in` named, if it still exists."""
        with _spool_errors():
            self.path_in(folder, name).unlink(missing_ok=True)

    def clear_incoming(self) -> int:
        """Remove incomplete files after a crash; returns their number.

        Called by the listener before it receives. Results that workers are writing stay, unless
        they are more than a day old.
        """
        with _spool_errors():
            leftovers = [
                path
                for path in self._incoming.iterdir()
                if path.suffix != _RESULT or time() - path.stat().st_mtime > _DAY_S
            ]
            for path in leftovers:
                path.unlink(missing_ok=True)
        return len(leftovers)

    def check_writable(self) -> None:
        """Raise `SpoolUnavailable` if a folder is missing, read-only or owned by another user."""
        with _spool_errors():
            for folder in (self._incoming, self._instances, self._results):
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, f"{folder.name}/ cannot be written")

    def free_mb(self) -> float:
        """Free disk space of the spool for this user, in MB (10^6 bytes)."""
        with _spool_errors():
            disk = os.statvfs(self._instances)
        return disk.f_bavail * disk.f_frsize / 1e6

    def _staged(self, suffix: str) -> "StagedFile":
        with _spool_errors():
            return StagedFile(self, self._incoming / f"{secrets.token_hex(16)}{suffix}")


class StagedFile:
    """A file in incoming/. Leaving its ``with`` block removes it, unless it was moved."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self._spool = spool
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> "StagedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Append bytes; after an error the file must be discarded."""
        left = [memoryview(piece) for piece in pieces]
        with _spool_errors():
            while left:
                written = os.writev(self._descriptor, left)
                left = _not_yet_written(left, written)

    def sync(self) -> None:
        """Return when the bytes are on disk."""
        with _spool_errors():
            os.fdatasync(self._descriptor)

    def mapped(self, offset: int) -> memoryview:
        """The content from `offset` on, mapped and not read into memory.

        The file stays mapped as long as the view or a slice of it exists.
        """
        with _spool_errors():
            mapping = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        return memoryview(mapping)[offset:]

    def whole(self) -> mmap.mmap:
        """The content, mapped and not read into memory; to be closed by the caller.

        Raises
        ------
        RequestMalformed
            If it is empty.
        """
        try:
            with _spool_errors():
                return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise RequestMalformed("The body of the request is empty.") from error

    def keep(self, file_name: str) -> bool:
        """Link the instance to its final name, if that is free; durable when this returns.

        Returns
        -------
        bool
            False if a file of that name exists; it is left unchanged.
        """
        path = self._spool.path_of(file_name)
        with _spool_errors():
            _make_subfolder(path.parent)
            try:
                os.link(self._path, path)
            except FileExistsError:
                return False
            try:
                _sync_folder(path.parent)
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return True

    def replace_instance(self, file_name: str) -> None:
        """Replace an instance that was never acknowledged."""
        self.move_to(self._spool.path_of(file_name))

    def quarantine(self, name: str) -> None:
        """Move the file to quarantine."""
        self.move_to(self._spool.path_in_quarantine(name))

    def move_to(self, path: Path) -> None:
        """Move the file to a path, replacing an existing file."""
        with _spool_errors():
            os.replace(self._path, path)
            _sync_folder(path.parent)
        self._close()

    def discard(self) -> None:
        """Remove the file from incoming/, unless it was moved."""
        if self._descriptor >= 0:
            self._close()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _not_yet_written(pieces: list[memoryview], written: int) -> list[memoryview]:
    while pieces and written >= len(pieces[0]):
        written -= len(pieces[0])
        pieces = pieces[1:]
    if written:
        pieces[0] = pieces[0][written:]
    return pieces


def _checked(name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(name):
        raise InternalFault("A file name in the spool must be a hash; another name was requested.")
    return name


def _make_subfolder(folder: Path) -> None:
    """Create one of the 256 subfolders when it is first needed."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_digest(path: Path) -> tuple[FileMeta, str]:
    """File meta information of a Part 10 file, and SHA-256 of its dataset; read in pieces.

    Raises
    ------
    DatasetUnreadable
        If the beginning of the file is damaged.
    OSError
        If it cannot be read from disk.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        meta = read_file_meta(file.read(FILE_META_BYTES))
        file.seek(meta.dataset_offset)
        while piece := file.read(_READ_AT_ONCE):
            digest.update(piece)
    return meta, digest.hexdigest()


def file_meta_of(path: Path) -> FileMeta:
    """The file meta information of a stored file.

    Raises
    ------
    DatasetUnreadable
        If it is damaged.
    SpoolUnavailable
        If it cannot be read from disk.
    """
    with _spool_errors(), path.open("rb", buffering=0) as file:
        return read_file_meta(file.read(FILE_META_BYTES))


@contextmanager
def _spool_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolUnavailable(
            f"The spool cannot be used: {error.strerror}. "
            "Check that its disk is mounted, writable and not full."
        ) from error
