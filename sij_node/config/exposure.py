"""What other users of the machine could read: folders, key files, passwords in config.toml."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sij_node.config.section import Section
from sij_node.config.settings import Config

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ANYBODY = stat.S_IRWXO


def exposed(config: Config, config_file: Path) -> Iterator[str]:
    """Each problem in a sentence, with the command that mends it."""
    yield from _folders(config)
    for name, file in secret_files(config):
        if _mode(file) & _ANYBODY:
            yield f"{name}: {file} can be read by any user. Run `chmod 600 {file}`."
    for name, url in _urls(config, ""):
        if urlsplit(url).password is not None:
            yield (
                f"{name} contains a password. Remove it from {config_file}: for PostgreSQL, set "
                "PGPASSWORD or use a .pgpass file."
                + (" Any user can read that file." if _mode(config_file) & _ANYBODY else "")
            )


def _folders(config: Config) -> Iterator[str]:
    data = config.node.data_folder
    for folder in (data, data / "spool", data / "audit"):
        if _mode(folder) & _OTHERS:
            mode = stat.S_IMODE(_mode(folder))
            yield (
                f"{folder} holds patient data and is open to other users (mode {mode:04o}). "
                f"Run `chmod 700 {folder}`."
            )


def secret_files(config: Config) -> Iterator[tuple[str, Path]]:
    """Configured files with a password, a token or a private key, with their setting."""
    for name, value in _values(config, ""):
        if isinstance(value, Path) and name.endswith(("_file", "private_key")):
            yield name, value


def _urls(section: Section, prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in _values(section, prefix):
        if isinstance(value, str) and "://" in value:
            yield name, value


def _values(section: Section, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every setting with its section, also of nested and repeated sections."""
    for name, value in section:
        here = f"{prefix}{name}"
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Section):
                yield from _values(one, f"{here}.")
            else:
                yield here, one


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
