"""Problems of the node for the top of the queue, most severe first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sij_node.config.settings import HealthConfig
from sij_node.domain.health import Component, Condition, HealthStatus, ProcessRole, problems
from sij_node.domain.job import State
from sij_node.operate.health_check import HealthReport
from sij_node.web.view_models.display_text import Tone, count

_TONES = {
    HealthStatus.OK: Tone.GOOD,
    HealthStatus.WARNING: Tone.WARN,
    HealthStatus.FAILED: Tone.BAD,
}
_PAGES = {
    Component.DESTINATION: ("/peers", "Peers"),
    Component.QUEUE: ("/?state=queued", "Queued jobs"),
}
_HEALTH = ("/health", "Health")


@dataclass(frozen=True)
class NodeProblem:
    """A problem with its recommended action, and the page with the details."""

    tone: Tone
    words: str
    advice: str
    where: str
    link: str


def tone_of(verdict: HealthStatus) -> Tone:
    """The colour of a status."""
    return _TONES[verdict]


def node_problems(
    conditions: Iterable[Condition], counts: Mapping[State, int]
) -> tuple[NodeProblem, ...]:
    """Conditions that are not OK, and failed jobs."""
    found = [
        NodeProblem(
            tone_of(one.status), one.message, one.action, *_PAGES.get(one.component, _HEALTH)
        )
        for one in problems(conditions)
    ]
    if counts[State.FAILED]:
        failed = count(counts[State.FAILED], "job")
        found.append(
            NodeProblem(
                Tone.WARN,
                f"{failed} failed.",
                "Open the job, read the reason, then retry it.",
                "/?state=failed",
                "Failed jobs",
            )
        )
    return tuple(found)


def running_workers(checkup: HealthReport, limits: HealthConfig) -> int | None:
    """How many workers have a recent heartbeat; None if the database is unavailable."""
    if checkup.facts.database_error:
        return None
    return sum(
        one.process.role is ProcessRole.WORKER and one.silent_s < limits.heartbeat_timeout_s
        for one in checkup.facts.processes
    )
