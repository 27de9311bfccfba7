"""A Debian container with its own systemd: this machine's root file system with a volatile overlay.

systemd-nspawn starts it within namespaces. Whatever is written there goes to memory and is gone at
the end; ports are those of this machine.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_path
from uuid import uuid4

from tests.support.required_programs import program
from tests.support.waiting import PATIENCE_S, wait_for

DEPENDENCIES = "/opt/dependencies"
"""Path of this environment's packages inside the container, so that none is downloaded again."""
START = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/written" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/written,workdir=$1/work" overlay "$1/root"
exec systemd-nspawn --quiet --directory="$1/root" --register=no --keep-unit --link-journal=no \
    --console=pipe --uuid="$2" --bind-ro="$3:$4" --boot -- systemd.unit=basic.target
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """A started container.

    Parameters
    ----------
    leader
        Process id of its first process, as this machine sees it.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def do(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root in it."""
        set_to = [f"{name}={value}" for name, value in {"PATH": PATH, **environment}.items()]
        enter = ["nsenter", "--all", f"--target={self._leader}", "env", "-i", "HOME=/root", *set_to]
        return subprocess.run(
            [*enter, *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE_S,
        )

    def done(self, *command: str | Path, **environment: str) -> str:
        """Run a command as root; returns its output and fails if it fails."""
        done = self.do(*command, **environment)
        if done.returncode:
            raise RuntimeError(
                f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def file(self, path: str) -> Path:
        """Path of one of its files on the host."""
        return Path(f"/proc/{self._leader}/root{path}")

    def told_of(self, unit: str, *names: str) -> list[str]:
        """Properties of a unit, in systemd's order."""
        wanted = [f"--property={name}" for name in names]
        return self.done("systemctl", "show", "--value", *wanted, unit).split()

    def state_of(self, unit: str) -> str:
        """Its state, as `systemctl is-active` names it."""
        return self.do("systemctl", "is-active", unit).stdout.strip()


@contextmanager
def running_machine(folder: Path) -> Iterator[Machine]:
    """A container within a ``with`` block; needs root."""
    program("systemd-nspawn", "systemd-container")
    site = [str(folder), uuid4().hex, get_path("purelib"), DEPENDENCIES]
    with (folder.parent / "machine.log").open("wb") as log:
        running = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", START, "sh", *site],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        machine = Machine(wait_for(lambda: _child_of(running), "first process of the machine"))
        wait_for(
            lambda: machine.do("systemctl", "is-system-running").stdout.strip() == "running",
            "machine that runs",
        )
        yield machine
    finally:
        running.terminate()  # systemd-nspawn then has the machine shut down
        running.wait(timeout=PATIENCE_S)


def _child_of(running: subprocess.Popen[bytes]) -> int | None:
    if running.poll() is not None:
        raise RuntimeError("systemd-nspawn ended; machine.log says why.")
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    started = [int(pid) for pid in children if _name_of(int(pid)) == "systemd"]
    return started[0] if started else None


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
