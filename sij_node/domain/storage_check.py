"""What a check of the stored files finds: damaged and missing files, and what was repaired."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

PARTS = tuple(f"{number:02x}" for number in range(256))
"""Parts of the spool, by the first two characters of the file names, which are hashes."""


class StorageFault(StrEnum):
    """How disk and database disagree."""

    MISSING = "missing"
    """A row names a file that does not exist."""
    DAMAGED = "damaged"
    """A file differs from its digest."""
    UNREGISTERED = "unregistered"
    """A file that no row names."""
    DATABASE = "database"
    """The database itself is damaged."""


@dataclass(frozen=True)
class StorageProblem:
    """A stored file that needs attention.

    Parameters
    ----------
    folder
        Folder of the spool, or ``database``.
    message
        What is wrong with which file, without patient.
    action
        The recommended action.
    study_uid
        The study concerned; empty if unknown.
    found_at
        UTC, when a check first found it.
    """

    folder: str
    file_name: str
    fault: StorageFault
    message: str
    action: str
    study_uid: str = ""
    found_at: datetime | None = None


@dataclass(frozen=True)
class StorageRepair:
    """What was done about a file; `study_uid` is empty if its study is unknown."""

    file_name: str
    message: str
    study_uid: str = ""


@dataclass(frozen=True)
class CheckedFiles:
    """The outcome of checking some or all stored files.

    Parameters
    ----------
    files, size_bytes
        Number and size of the files that were read.
    """

    files: int = 0
    size_bytes: int = 0
    repairs: tuple[StorageRepair, ...] = ()
    problems: tuple[StorageProblem, ...] = ()

    def __add__(self, other: "CheckedFiles") -> "CheckedFiles":
        """Both outcomes together."""
        return CheckedFiles(
            self.files + other.files,
            self.size_bytes + other.size_bytes,
            self.repairs + other.repairs,
            self.problems + other.problems,
        )


@dataclass(frozen=True)
class StorageStatus:
    """The check in the background: its last complete round, and the problems known now.

    Parameters
    ----------
    verified_at
        UTC, when the last round ended; None before the first.
    files, size_bytes
        Of the last round.
    repairs
        Number of repairs since the node was installed.
    """

    verified_at: datetime | None = None
    files: int = 0
    size_bytes: int = 0
    repairs: int = 0
    problems: tuple[StorageProblem, ...] = field(default=())
