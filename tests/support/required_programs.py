"""External programs that tests need."""

import shutil
import subprocess
from pathlib import Path


def program(name: str, package: str) -> str:
    """Path of a program; fails the test if it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(
            f"No {name} on this machine: the tests need Debian's package {package}. "
            "Install it with: sh deploy/install-test-servers.sh"
        )
    return found


def said_by(name: str, package: str, *arguments: Path | str) -> list[str]:
    """Lines of a program's output and error output."""
    done = subprocess.run(
        [program(name, package), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return (done.stdout + done.stderr).splitlines()
