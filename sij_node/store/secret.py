"""The node's own secret: what turns a patient's identifier into something that tells nobody.

Made when it is first needed, beside the database, and kept: with another secret, lesions would
no longer be recognised as those of the study before.
"""

import os
import secrets
from pathlib import Path

from sij_node.errors import InternalFault, SpoolUnavailable

LENGTH_BYTES = 32
_NAME = "tracking.key"


def tracking_key(data_folder: Path) -> bytes:
    """The secret; the same for every process that shares the folder.

    Raises
    ------
    SpoolUnavailable
        If the folder cannot be read or written.
    InternalFault
        If the file is not what it was.
    """
    path = data_folder / _NAME
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise SpoolUnavailable(
            f"{path} cannot be read or written: {error.strerror}. See that the data folder is "
            "there and writable."
        ) from error
    if len(key) != LENGTH_BYTES:
        raise InternalFault(
            f"{path} has {len(key)} bytes, {LENGTH_BYTES} are needed. Restore it from a backup, or "
            "remove it: then lesions get new tracking UIDs."
        )
    return key


def _make(path: Path) -> None:
    """Whole and on the disk before it has its name; whoever is first decides."""
    own = path.with_name(f"{_NAME}.{os.getpid()}.part")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(LENGTH_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(own, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        own.unlink()
