"""The programs of others that tests need, and free ports for them."""

import os
import random
import shutil
import socket
import subprocess
from pathlib import Path


def program(name: str, package: str) -> str:
    """Where a program is; without it no test can say anything, so this fails loudly."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise RuntimeError(
            f"No {name} on this machine: the tests need Debian's package {package}. "
            "Install it with: sh deploy/install-test-servers.sh"
        )
    return found


def said_by(name: str, package: str, *arguments: Path | str) -> list[str]:
    """What a program writes, to either output, line by line."""
    done = subprocess.run(
        [program(name, package), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return (done.stdout + done.stderr).splitlines()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on.

    It lies below those that the system gives to outgoing connections (from 32768), of which one
    could take it before the program that it is meant for does.
    """
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])
