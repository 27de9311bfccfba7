"""CPU time and memory of a process and all its descendants.

Source: proc(5), /proc/PID/stat.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_SAMPLE_S = 0.2


@dataclass(frozen=True)
class Footprint:
    """CPU time so far (user and system) and current resident memory.

    Pages shared by forked children are counted once per child.
    """

    cpu_s: float
    rss_mb: float


@dataclass(frozen=True)
class _Stat:
    parent: int
    ticks: int
    pages: int


def footprint_of(pid: int) -> Footprint:
    """CPU time and memory of a process, its live descendants and those already reaped."""
    stats = _all_stats()
    tree = [stats[one] for one in _tree(pid, stats)]
    return Footprint(
        sum(stat.ticks for stat in tree) / _TICKS_PER_S,
        sum(stat.pages for stat in tree) * _PAGE_MB,
    )


def tree_of(pid: int) -> list[int]:
    """Process ids of a process and its live descendants."""
    return _tree(pid, _all_stats())


def _tree(pid: int, stats: Mapping[int, _Stat]) -> list[int]:
    found = [pid] if pid in stats else []
    for parent in found:
        found += [child for child, stat in stats.items() if stat.parent == parent]
    return found


def _all_stats() -> dict[int, _Stat]:
    return dict(_read_stats(int(entry) for entry in os.listdir("/proc") if entry.isdigit()))


def _read_stats(pids: Iterable[int]) -> Iterable[tuple[int, _Stat]]:
    for pid in pids:
        with suppress(OSError):  # may have exited meanwhile
            yield pid, _parsed(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))


def _parsed(line: str) -> _Stat:
    """Fields after the command name, which may contain any character: state, parent, and so on."""
    fields = line.rpartition(")")[2].split()
    own_and_reaped = fields[11:15]
    return _Stat(int(fields[1]), sum(map(int, own_and_reaped)), int(fields[21]))


class PeakMemory:
    """Peak resident memory of a process tree within a ``with`` block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, footprint_of(self._pid).rss_mb)
            if self._done.wait(_SAMPLE_S):
                return
