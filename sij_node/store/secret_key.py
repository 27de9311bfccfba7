"""The secret key of the node: random, generated once, readable by the node's user only.

It is used for the pseudonyms of patients and for the CSRF tokens of forms.
"""

import os
import secrets
from pathlib import Path

from sij_node.errors import SpoolUnavailable

_KEY_BYTES = 32


def secret_key(folder: Path) -> bytes:
    """The key in a data folder; generated if missing.

    Raises
    ------
    SpoolUnavailable
        If it cannot be read or written, or is damaged.
    """
    path = folder / "secret.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _generate(path)
        key = path.read_bytes()
    except OSError as error:
        raise SpoolUnavailable(
            f"{path} cannot be used: {error.strerror}. "
            "Check that the data folder exists and belongs to the user who runs the node."
        ) from error
    if len(key) != _KEY_BYTES:
        raise SpoolUnavailable(
            f"{path} does not have {_KEY_BYTES} bytes. Restore it from a backup; if you remove it, "
            "a new key is generated and the pseudonyms of all patients change."
        )
    return key


def _generate(path: Path) -> None:
    """Write a temporary file first, so that two processes starting at once end up with one key."""
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
        pass  # another process was first; both use its key
    finally:
        draft.unlink()
