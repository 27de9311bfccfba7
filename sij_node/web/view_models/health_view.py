"""The node's health: components with their status, processes, disk, oldest job."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sij_node.domain.health import Condition, HealthStatus, ProcessHeartbeat, worst
from sij_node.domain.job import Job
from sij_node.operate.health_check import HealthReport
from sij_node.web.view_models.display_text import Tone, moment, span
from sij_node.web.view_models.node_problems import tone_of


@dataclass(frozen=True)
class PartLine:
    """One component of the node."""

    name: str
    tone: Tone
    verdict: str
    words: str
    advice: str


@dataclass(frozen=True)
class ProcessLine:
    """One process of the node."""

    name: str
    role: str
    tone: Tone
    heartbeat: str
    device: str
    memory: str
    job_id: int | None
    weights: str
    since: str
    version: str


@dataclass(frozen=True)
class OldestJob:
    """The oldest job in progress."""

    job: Job
    age: str


@dataclass(frozen=True)
class HealthPage:
    """Everything that the health page shows."""

    tone: Tone
    summary: str
    parts: tuple[PartLine, ...]
    processes: tuple[ProcessLine, ...]
    oldest: OldestJob | None
    free: str
    needed: str
    database: str


_SUMMARIES = {
    HealthStatus.OK: "All systems OK",
    HealthStatus.WARNING: "Running, needs attention",
    HealthStatus.FAILED: "Failure",
}


def health_page(
    checkup: HealthReport, silent_limit_s: float, oldest: Job | None, database: str, now: datetime
) -> HealthPage:
    """The health page.

    Parameters
    ----------
    silent_limit_s
        Without a heartbeat for this many seconds, a process counts as down.
    database
        SQLite or PostgreSQL.
    """
    verdict = worst(checkup.conditions)
    lines = sorted(checkup.conditions, key=lambda one: -list(HealthStatus).index(one.status))
    free = checkup.facts.free_mb
    return HealthPage(
        tone=tone_of(verdict),
        summary=_SUMMARIES[verdict],
        parts=tuple(map(_part_line, lines)),
        processes=process_lines(checkup.facts.processes, silent_limit_s),
        oldest=None if oldest is None else _oldest(oldest, now),
        free="unknown" if free is None else _gigabytes(free),
        needed=_gigabytes(checkup.facts.min_free_mb),
        database=database,
    )


def _oldest(job: Job, now: datetime) -> OldestJob:
    return OldestJob(job, span((now - job.created_at).total_seconds()))


def _part_line(one: Condition) -> PartLine:
    return PartLine(
        name=f"{one.component.value.capitalize()} {one.name}".rstrip(),
        tone=tone_of(one.status),
        verdict=one.status.value,
        words=one.message,
        advice=one.action,
    )


def process_lines(
    seen: Sequence[ProcessHeartbeat], silent_limit_s: float
) -> tuple[ProcessLine, ...]:
    """The processes, those longest without a heartbeat first."""
    ordered = sorted(seen, key=lambda one: -one.silent_s)
    return tuple(_process_line(one, one.silent_s >= silent_limit_s) for one in ordered)


def _process_line(one: ProcessHeartbeat, is_silent: bool) -> ProcessLine:
    process = one.process
    return ProcessLine(
        name=process.name,
        role=process.role.value,
        tone=Tone.BAD if is_silent else Tone.GOOD,
        heartbeat=f"no heartbeat for {span(one.silent_s)}" if is_silent else "OK",
        device=process.device,
        memory=_memory(process.gpu_used_mb, process.gpu_total_mb),
        job_id=process.job_id,
        weights=process.weights,
        since=moment(process.started_at),
        version=process.version,
    )


def _memory(used_mb: float | None, total_mb: float | None) -> str:
    if used_mb is None or total_mb is None:
        return ""
    return f"{used_mb / 1000:.1f} of {total_mb / 1000:.1f} GB"


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB"
