"""The node's own secret key: random, made once, kept in the data folder for its user alone.

From it come the pseudonyms of patients on lists and the marks that a form is the node's own.
"""

import os
import secrets
from pathlib import Path

from sij_node.errors import SpoolUnavailable

_KEY_BYTES = 32


def secret_key(folder: Path) -> bytes:
    """The key in a data folder, made where it is missing.

    Raises
    ------
    SpoolUnavailable
        If it cannot be read or written, or is damaged.
    """
    path = folder / "secret.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise SpoolUnavailable(
            f"{path} cannot be used: {error.strerror}. "
            "See that the data folder is there and belongs to the user who runs the node."
        ) from error
    if len(key) != _KEY_BYTES:
        raise SpoolUnavailable(
            f"{path} does not hold {_KEY_BYTES} bytes. Restore it from a backup; if you remove "
            "it, a new one is made and patients get other pseudonyms."
        )
    return key


def _make(path: Path) -> None:
    """Written under another name first, so that two who begin at once end with one key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(_KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # the other one was first, and both use its key
    finally:
        draft.unlink()
