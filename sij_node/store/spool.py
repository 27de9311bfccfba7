"""The shelf on which received images and finished results lie until they are no longer needed.

::

    incoming/            being received; emptied when the listener starts
    instances/ab/ab….dcm  acknowledged: complete, on the disk, never changed
    quarantine/          other content under a UID that was already taken
    results/             what is delivered, kept until it has been

An instance gets its name in one step, after its bytes are on the disk, and only when the name is
free. Every name is a hash, so no text from an object becomes part of a path.
"""

import errno
import hashlib
import mmap
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import BinaryIO

from sij_node.dicom.part10 import dataset_offset, transfer_syntax_of
from sij_node.errors import InternalFault, SpoolUnavailable

_INSTANCE_NAME = re.compile(r"[0-9a-f]{64}\.dcm")
_SAFE_NAME = re.compile(r"[0-9a-f]{16,64}(-[0-9a-f]{1,64})?\.[a-z]{2,8}")
_READ_AT_ONCE = 1 << 20
_RECEIVED = ".part"
_RESULT = ".result"
_DAY_S = 86400


def instance_file_name(sop_instance_uid: str) -> str:
    """Name within the spool under which an instance is kept."""
    return hashlib.sha256(sop_instance_uid.encode("utf-8", "surrogateescape")).hexdigest() + ".dcm"


class Spool:
    """The folders of the spool, created where they are missing.

    Parameters
    ----------
    folder
        On one file system that has hard links, as every local one of Linux does.

    Raises
    ------
    SpoolUnavailable
        From the constructor and every method, when the disk is full, read-only or gone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._instances = folder / "instances"
        self._quarantine = folder / "quarantine"
        self._results = folder / "results"
        with _spool_errors():
            folder.parent.mkdir(parents=True, exist_ok=True)
            rooms = (self._incoming, self._instances, self._quarantine, self._results)
            for made in (folder, *rooms):
                made.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(folder)

    def stage(self) -> "StagedFile":
        """An empty file in incoming, to be written and then kept, quarantined or discarded."""
        return self._staged(_RECEIVED)

    def path_of(self, file_name: str) -> Path:
        """Where an instance lies, or would lie."""
        return self._instances / _checked(file_name, _INSTANCE_NAME)[:2] / file_name

    def path_of_result(self, name: str) -> Path:
        """Where a result lies, or would lie."""
        return self._results / _checked(name, _SAFE_NAME)

    def path_in_quarantine(self, name: str) -> Path:
        """Where a quarantined copy lies, or would lie."""
        return self._quarantine / _checked(name, _SAFE_NAME)

    def open(self, file_name: str) -> BinaryIO:
        """An instance, for reading, as a Part 10 file."""
        with _spool_errors():
            return self.path_of(file_name).open("rb")

    def digest_of(self, file_name: str) -> str:
        """SHA-256 of an instance's dataset as it is on the disk now, without its file meta.

        Raises
        ------
        DatasetUnreadable
            When the file is damaged at its beginning.
        """
        digest = hashlib.sha256()
        with _spool_errors(), self.path_of(file_name).open("rb", buffering=0) as file:
            file.seek(dataset_offset(file.read(256)))
            while piece := file.read(_READ_AT_ONCE):
                digest.update(piece)
        return digest.hexdigest()

    def transfer_syntax_of(self, file_name: str) -> str:
        """Transfer Syntax UID of an instance, from its file meta information.

        Raises
        ------
        DatasetUnreadable
            When the file is damaged at its beginning.
        """
        with _spool_errors(), self.path_of(file_name).open("rb", buffering=0) as file:
            return transfer_syntax_of(file.read(1024))

    def remove(self, file_name: str) -> None:
        """Forget an instance; one that is not there is forgotten already."""
        with _spool_errors():
            self.path_of(file_name).unlink(missing_ok=True)

    def remove_from_quarantine(self, name: str) -> None:
        """Forget a quarantined copy; one that is not there is forgotten already."""
        with _spool_errors():
            self.path_in_quarantine(name).unlink(missing_ok=True)

    def keep_result(self, content: bytes, name: str) -> str:
        """Put a result on the disk; a former one of that name is replaced as a whole.

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
        """The bytes of a result."""
        with _spool_errors():
            return self.path_of_result(name).read_bytes()

    def remove_result(self, name: str) -> None:
        """Forget a result; one that is not there is forgotten already."""
        with _spool_errors():
            self.path_of_result(name).unlink(missing_ok=True)

    def clear_incoming(self) -> int:
        """Remove what a crash left half received; returns how many files that were.

        For the one process that receives, before it does. Results that are being written by
        workers stay, unless they were begun a day ago.
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
            for room in (self._incoming, self._instances, self._results):
                if not os.access(room, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, f"{room.name}/ cannot be written")

    def free_mb(self) -> float:
        """Room that is left for this user on the disk of the spool, in MB (10^6 bytes)."""
        with _spool_errors():
            disk = os.statvfs(self._instances)
        return disk.f_bavail * disk.f_frsize / 1e6

    def _staged(self, suffix: str) -> "StagedFile":
        with _spool_errors():
            return StagedFile(self, self._incoming / f"{secrets.token_hex(16)}{suffix}")


class StagedFile:
    """A file in incoming. Leaving its ``with`` block removes it, unless it was moved away."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self._spool = spool
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> "StagedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Append, whole or not at all to be acknowledged."""
        left = [memoryview(piece) for piece in pieces]
        with _spool_errors():
            while left:
                written = os.writev(self._descriptor, left)
                left = _not_yet_written(left, written)

    def sync(self) -> None:
        """Return when the bytes are on the disk."""
        with _spool_errors():
            os.fdatasync(self._descriptor)

    def mapped(self, offset: int) -> memoryview:
        """What was written from `offset` on, without reading it into memory.

        The file stays mapped for as long as the view or a part of it is referred to.
        """
        with _spool_errors():
            mapping = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        return memoryview(mapping)[offset:]

    def keep(self, file_name: str) -> bool:
        """Give the instance its name, if the name is free, and write that down on the disk.

        Returns
        -------
        bool
            False when there is a file of that name already; it is left as it is.
        """
        path = self._spool.path_of(file_name)
        with _spool_errors():
            _make_shelf(path.parent)
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

    def put_in_place_of(self, file_name: str) -> None:
        """Take the name from a file that was never acknowledged."""
        self.move_to(self._spool.path_of(file_name))

    def quarantine(self, name: str) -> None:
        """Move the file to quarantine."""
        self.move_to(self._spool.path_in_quarantine(name))

    def move_to(self, path: Path) -> None:
        """Move the file, in place of a former one of that name."""
        with _spool_errors():
            os.replace(self._path, path)
            _sync_folder(path.parent)
        self._close()

    def discard(self) -> None:
        """Remove the file from incoming, if it is still there."""
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
        raise InternalFault("A file name of the spool must be a hash; another name was asked for.")
    return name


def _make_shelf(shelf: Path) -> None:
    """One of 256 folders, made when it is first needed."""
    if not shelf.is_dir():
        shelf.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(shelf.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _spool_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolUnavailable(
            f"The spool cannot be used: {error.strerror}. "
            "See that its disk is there, writable and not full."
        ) from error
