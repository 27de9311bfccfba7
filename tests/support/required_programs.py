"""The programs of others that tests need."""

import shutil
import subprocess
from pathlib import Path


def program(name: str, package: str) -> str:
    """Where a program is; without it no test can say anything, so this fails loudly."""
    found = shutil.which(name)
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
