"""The status of every component of the node, with recommended actions.

Pure decisions on facts that `sij_node.operate.health_check` gathers. Page, command line, metrics
and alerts all show these conditions, so they always agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sij_node.config.settings import HealthConfig


class ProcessRole(StrEnum):
    """What a process of the node does."""

    LISTENER = "listener"
    WORKER = "worker"
    WEB = "web"


@dataclass(frozen=True)
class Process:
    """A process of the node, as it reports itself.

    Parameters
    ----------
    name
        Host and process id, as in `Job.leased_by`.
    device
        Where the networks run, with the name of the GPU; empty until they are loaded.
    gpu_used_mb, gpu_total_mb
        Memory of that GPU, whoever uses it; None without one.
    job_id
        The job it is working on.
    weights, weights_sha256
        Names and versions of the networks, and the digests of their files, in the same order.
    """

    name: str
    role: ProcessRole
    host: str
    pid: int
    version: str
    started_at: datetime
    device: str = ""
    gpu_used_mb: float | None = None
    gpu_total_mb: float | None = None
    job_id: int | None = None
    weights: str = ""
    weights_sha256: str = ""


@dataclass(frozen=True)
class ProcessHeartbeat:
    """A process, and the seconds since its last heartbeat."""

    process: Process
    silent_s: float


@dataclass(frozen=True)
class QueueStatus:
    """The jobs waiting for analysis.

    Parameters
    ----------
    oldest_job_id, oldest_s
        The job that has waited longest, and for how long; None and 0 if the queue is empty.
    """

    waiting: int = 0
    oldest_job_id: int | None = None
    oldest_s: float = 0.0


@dataclass(frozen=True)
class FailingDestination:
    """A destination to which deliveries fail.

    Parameters
    ----------
    jobs
        Jobs whose delivery has failed.
    failing_s
        Seconds since the first failure.
    acknowledged_since
        Whether it has acknowledged anything since: then it is not down, but rejects these.
    reason
        Why the last attempt failed.
    """

    destination: str
    jobs: int
    failing_s: float
    acknowledged_since: bool
    reason: str


@dataclass(frozen=True)
class HealthFacts:
    """What the health check found; None where a component did not respond.

    Parameters
    ----------
    database_error, spool_error
        Why the database or the spool is unavailable; empty if it is available.
    min_free_mb
        Below this the listener rejects associations.
    destinations
        AE titles of the configured peers.
    """

    min_free_mb: float
    destinations: Sequence[str] = ()
    database_error: str = ""
    spool_error: str = ""
    free_mb: float | None = None
    processes: Sequence[ProcessHeartbeat] = ()
    queue: QueueStatus = QueueStatus()
    stuck: Mapping[str, FailingDestination] = field(default_factory=dict)


class Component(StrEnum):
    """What a condition is about."""

    DATABASE = "database"
    SPOOL = "spool"
    DISK = "disk"
    LISTENER = "listener"
    WORKERS = "workers"
    QUEUE = "queue"
    DESTINATION = "destination"


class HealthStatus(StrEnum):
    """The severity of a condition."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Condition:
    """The status of one component.

    Parameters
    ----------
    which
        The destination or the process, where there are several.
    words
        The status in a sentence.
    advice
        The recommended action; empty if none is needed.
    """

    part: Component
    verdict: HealthStatus
    words: str
    advice: str = ""
    which: str = ""


def health(facts: HealthFacts, limits: HealthConfig) -> tuple[Condition, ...]:
    """The status of every component, also of those that are OK."""
    if facts.database_error:
        advice = "Nothing is accepted until it responds again; senders keep their studies."
        broken = Condition(Component.DATABASE, HealthStatus.FAILED, facts.database_error, advice)
        return broken, *_storage(facts, limits)
    return (
        Condition(Component.DATABASE, HealthStatus.OK, "The database responds."),
        *_storage(facts, limits),
        _listener(_of(ProcessRole.LISTENER, facts), limits),
        *_workers(_of(ProcessRole.WORKER, facts), limits),
        _queue(facts.queue, limits),
        *(_destination(title, facts, limits) for title in _titles(facts)),
    )


def troubles(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Conditions that are not OK, most severe first."""
    return tuple(
        condition
        for verdict in (HealthStatus.FAILED, HealthStatus.WARNING)
        for condition in conditions
        if condition.verdict is verdict
    )


def worst(conditions: Iterable[Condition]) -> HealthStatus:
    """The most severe status; OK if there is none."""
    return max(
        (one.verdict for one in conditions), key=list(HealthStatus).index, default=HealthStatus.OK
    )


def in_words(seconds: float) -> str:
    """A time span in one unit: ``45 s``, ``12 min``, ``3 h``, ``2 days``.

    Examples
    --------
    >>> in_words(7500)
    '2 h'
    """
    for size_s, unit in ((172_800, "days"), (7200, "h"), (120, "min")):
        if seconds >= size_s:
            return f"{seconds // _UNIT_S[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"


_UNIT_S = {"days": 86_400, "h": 3600, "min": 60}


def _storage(facts: HealthFacts, limits: HealthConfig) -> Iterable[Condition]:
    if facts.spool_error or facts.free_mb is None:
        advice = "Check that the data folder is mounted, writable and not full."
        yield Condition(Component.SPOOL, HealthStatus.FAILED, facts.spool_error, advice)
        return
    yield Condition(Component.SPOOL, HealthStatus.OK, "The spool is writable.")
    yield _disk(facts.free_mb, facts.min_free_mb, limits)


def _disk(free_mb: float, min_free_mb: float, limits: HealthConfig) -> Condition:
    words = f"{free_mb / 1000:.1f} GB free on the spool's disk."
    advice = "Free disk space, move the spool to a larger disk, or shorten [spool] retention_days."
    if free_mb < min_free_mb:
        words += " Associations are rejected."
        return Condition(Component.DISK, HealthStatus.FAILED, words, advice)
    if free_mb < limits.low_disk_mb:
        words += f" Below {min_free_mb / 1000:g} GB, associations will be rejected."
        return Condition(Component.DISK, HealthStatus.WARNING, words, advice)
    return Condition(Component.DISK, HealthStatus.OK, words)


def _of(role: ProcessRole, facts: HealthFacts) -> list[ProcessHeartbeat]:
    return [sighting for sighting in facts.processes if sighting.process.role is role]


def _listener(seen: Sequence[ProcessHeartbeat], limits: HealthConfig) -> Condition:
    lively = [one for one in seen if one.silent_s < limits.heartbeat_timeout_s]
    if lively:
        return Condition(
            Component.LISTENER,
            HealthStatus.OK,
            f"The listener is running on {lively[0].process.host}.",
        )
    if not seen:
        words = "No listener is running."
        advice = "Start it: `systemctl start sij-node-listener`, or `sij-node run` without systemd."
    else:
        words, advice = _silence(seen[0])
    return Condition(Component.LISTENER, HealthStatus.FAILED, words, advice)


def _workers(seen: Sequence[ProcessHeartbeat], limits: HealthConfig) -> Iterable[Condition]:
    lively = [one.process for one in seen if one.silent_s < limits.heartbeat_timeout_s]
    yield _lively_workers(lively)
    for one in seen:
        if one.silent_s >= limits.heartbeat_timeout_s:
            words, advice = _silence(one)
            name = one.process.name
            yield Condition(Component.WORKERS, HealthStatus.WARNING, words, advice, which=name)


def _lively_workers(lively: Sequence[Process]) -> Condition:
    if not lively:
        return Condition(
            Component.WORKERS,
            HealthStatus.FAILED,
            "No worker is running. Studies are received but not analysed.",
            "Start one: `systemctl start sij-node-worker@1`, or `sij-node work` without systemd. "
            "If it exits at once, see the end of its log.",
        )
    if len({one.weights_sha256 for one in lively} - {""}) > 1:
        return Condition(
            Component.WORKERS,
            HealthStatus.WARNING,
            "Workers use different weights.",
            "Configure the same weights folder for all, and restart those with the old weights.",
        )
    devices = ", ".join(f"{one.name} ({one.device or 'loading networks'})" for one in lively)
    count = "1 worker running" if len(lively) == 1 else f"{len(lively)} workers running"
    return Condition(Component.WORKERS, HealthStatus.OK, f"{count}: {devices}.")


def _silence(one: ProcessHeartbeat) -> tuple[str, str]:
    """Text and action for a process without a heartbeat."""
    process = one.process
    words = f"No heartbeat from {process.role} {process.name} for {in_words(one.silent_s)}."
    return words, "Check that it is running; see the end of its log, and restart it."


def _queue(queue: QueueStatus, limits: HealthConfig) -> Condition:
    if queue.oldest_job_id is None:
        return Condition(Component.QUEUE, HealthStatus.OK, "The queue is empty.")
    words = (
        f"{queue.waiting} queued; job {queue.oldest_job_id} has waited longest "
        f"({in_words(queue.oldest_s)})."
    )
    if queue.oldest_s < limits.max_queue_minutes * 60:
        return Condition(Component.QUEUE, HealthStatus.OK, words)
    advice = "Check the workers, or start more of them: `sij-node work`."
    return Condition(Component.QUEUE, HealthStatus.WARNING, words, advice)


def _titles(facts: HealthFacts) -> list[str]:
    others = sorted(set(facts.stuck) - set(facts.destinations))
    return [*facts.destinations, *others]


def _destination(title: str, facts: HealthFacts, limits: HealthConfig) -> Condition:
    stuck = facts.stuck.get(title)
    if stuck is None:
        return Condition(
            Component.DESTINATION, HealthStatus.OK, f"No failed deliveries to {title}.", which=title
        )
    several = "job" if stuck.jobs == 1 else "jobs"
    if stuck.acknowledged_since:
        words = f"{title} accepts results, but not those of {stuck.jobs} {several}: {stuck.reason}"
        advice = "See the response to each object on the job's page or with `sij-node jobs show`."
        return Condition(Component.DESTINATION, HealthStatus.WARNING, words, advice, title)
    words = (
        f"No successful delivery to {title} for {in_words(stuck.failing_s)}; "
        f"{stuck.jobs} {several} pending. {stuck.reason}"
    )
    is_down = stuck.failing_s >= limits.destination_down_minutes * 60
    verdict = HealthStatus.FAILED if is_down else HealthStatus.WARNING
    advice = (
        "Results are sent when it responds again. Check that it is running and knows this node."
    )
    return Condition(Component.DESTINATION, verdict, words, advice, title)
