"""Machine, system and software versions of a benchmark run."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "pydicom", "pynetdicom", "highdicom", "SQLAlchemy")
NOT_INSTALLED = "NOT INSTALLED"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class SystemInfo:
    """Time, machine and versions of a run.

    Parameters
    ----------
    load
        Load average over the last minute: near 0 on an idle machine.
    """

    at: datetime
    command: str
    revision: str
    processor: str
    cores: int
    memory_gb: int
    system: str
    disk: str
    load: float
    versions: dict[str, str]

    @property
    def is_quiet(self) -> bool:
        """Whether the machine is idle enough for valid figures."""
        return self.load < 1


def system_info(work_folder: Path) -> SystemInfo:
    """Describe this machine."""
    cores = len(os.sched_getaffinity(0))
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return SystemInfo(
        datetime.now(UTC),
        " ".join(["python -m deploy.bench", *sys.argv[1:]]),
        _revision(),
        _processor(),
        cores,
        round(memory_gb),
        f"{platform.system()} {platform.release()}",
        _output_of(["stat", "--file-system", "--format=%T", str(work_folder)]),
        os.getloadavg()[0],
        {"Python": platform.python_version(), **_libraries(), **_peers()},
    )


def _revision() -> str:
    head = _output_of(["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"])
    changes = _output_of(["git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"{head} with changes that are not committed" if changes else head


def _processor() -> str:
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
    return names[0] if names else platform.machine()


def _libraries() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def _peers() -> dict[str, str]:
    return {"DCMTK": _release("storescp"), "Orthanc": _release("Orthanc")}


def _release(program: str) -> str:
    if shutil.which(program) is None:
        return NOT_INSTALLED
    found = re.search(r"v?(\d+\.\d+\.\d+)", _output_of([program, "--version"]))
    return found.group(1) if found else "unknown"


def _output_of(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return "unknown"
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, timeout=10
    )
    return done.stdout.strip()
