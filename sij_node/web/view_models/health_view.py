"""The node's health: components with their status, processes, disk, oldest job."""

from dataclasses import dataclass
from datetime import datetime

from sij_node.domain.health import Condition, HealthStatus, ProcessHeartbeat, worst
from sij_node.domain.job import Job
from sij_node.domain.storage_check import StorageProblem, StorageStatus
from sij_node.operate.health_check import HealthReport
from sij_node.web.view_models.display_text import Tone, span
from sij_node.web.view_models.node_problems import tone_of


@dataclass(frozen=True)
class HealthPage:
    """Everything that the health page shows.

    Parameters
    ----------
    conditions
        Most severe first.
    processes
        Those longest without a heartbeat first.
    silent_limit_s
        Without a heartbeat for this many seconds, a process counts as down.
    database
        SQLite or PostgreSQL.
    stored_files, more_files
        Stored files that need attention, and the number of those not shown.
    verified
        The last complete check of the stored files, if there was one.
    """

    tone: Tone
    summary: str
    conditions: tuple[Condition, ...]
    processes: tuple[ProcessHeartbeat, ...]
    silent_limit_s: float
    oldest: Job | None
    oldest_age: str
    free_mb: float | None
    min_free_mb: float
    database: str
    stored_files: tuple[StorageProblem, ...]
    more_files: int
    verified: StorageStatus | None
    repairs: int


SHOWN_FILES = 50
_SUMMARIES = {
    HealthStatus.OK: "All systems OK",
    HealthStatus.WARNING: "Running, needs attention",
    HealthStatus.FAILED: "Failure",
}


def health_page(
    report: HealthReport, silent_limit_s: float, oldest: Job | None, database: str, now: datetime
) -> HealthPage:
    """The health page."""
    status = worst(report.conditions)
    severity = list(HealthStatus).index
    storage = report.facts.storage
    return HealthPage(
        tone=tone_of(status),
        summary=_SUMMARIES[status],
        conditions=tuple(sorted(report.conditions, key=lambda one: -severity(one.status))),
        processes=tuple(sorted(report.facts.processes, key=lambda one: -one.silent_s)),
        silent_limit_s=silent_limit_s,
        oldest=oldest,
        oldest_age="" if oldest is None else span((now - oldest.created_at).total_seconds()),
        free_mb=report.facts.free_mb,
        min_free_mb=report.facts.min_free_mb,
        database=database,
        stored_files=storage.problems[:SHOWN_FILES],
        more_files=len(storage.problems[SHOWN_FILES:]),
        verified=storage if storage.verified_at else None,
        repairs=storage.repairs,
    )
