"""The status of every component of the node, with recommended actions.

Pure decisions on facts that `sij_node.operate.health_check` gathers. Page, command line, metrics
and alerts all show these conditions, so they always agree. The doctor reports conditions as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sij_node.config.settings import HealthConfig
from sij_node.domain.storage_check import StorageFault, StorageStatus
from sij_node.domain.time_spans import in_words


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
    storage: StorageStatus = field(default_factory=StorageStatus)


class Component(StrEnum):
    """What a condition is about; up to the destinations, the health check reports on it."""

    DATABASE = "database"
    SPOOL = "spool"
    DISK = "disk"
    STORED_FILES = "stored files"
    LISTENER = "listener"
    WORKERS = "workers"
    QUEUE = "queue"
    DESTINATION = "destination"
    CONFIGURATION = "configuration"
    TLS = "tls"
    NETWORK = "network"
    NEURAL_NETWORKS = "neural networks"
    CLOCK = "clock"
    STUDY = "study"


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
    message
        The status in a sentence.
    action
        The recommended action; empty if none is needed.
    name
        The destination or the process, where there are several.
    """

    component: Component
    status: HealthStatus
    message: str
    action: str = ""
    name: str = ""


def ok(component: Component, message: str, name: str = "") -> Condition:
    """A component without problems."""
    return Condition(component, HealthStatus.OK, message, name=name)


def warning(component: Component, message: str, action: str, name: str = "") -> Condition:
    """A component that works but needs attention."""
    return Condition(component, HealthStatus.WARNING, message, action, name)


def failed(component: Component, message: str, action: str, name: str = "") -> Condition:
    """A component that does not work."""
    return Condition(component, HealthStatus.FAILED, message, action, name)


def health(facts: HealthFacts, limits: HealthConfig) -> tuple[Condition, ...]:
    """The status of every component, also of those that are OK."""
    if facts.database_error:
        action = "Nothing is accepted until it responds again; senders keep their studies."
        broken = failed(Component.DATABASE, facts.database_error, action)
        return broken, *_storage(facts, limits)
    return (
        ok(Component.DATABASE, "The database responds."),
        *_storage(facts, limits),
        _stored_files(facts.storage),
        _listener(_of(ProcessRole.LISTENER, facts), limits),
        *_workers(_of(ProcessRole.WORKER, facts), limits),
        _queue(facts.queue, limits),
        *(_destination(title, facts, limits) for title in _titles(facts)),
    )


def problems(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Conditions that are not OK, most severe first."""
    return tuple(
        condition
        for status in (HealthStatus.FAILED, HealthStatus.WARNING)
        for condition in conditions
        if condition.status is status
    )


def worst(conditions: Iterable[Condition]) -> HealthStatus:
    """The most severe status; OK if there is none."""
    return max(
        (one.status for one in conditions), key=list(HealthStatus).index, default=HealthStatus.OK
    )


def _storage(facts: HealthFacts, limits: HealthConfig) -> Iterable[Condition]:
    if facts.spool_error or facts.free_mb is None:
        action = "Check that the data folder is mounted, writable and not full."
        yield failed(Component.SPOOL, facts.spool_error, action)
        return
    yield ok(Component.SPOOL, "The spool is writable.")
    yield _disk(facts.free_mb, facts.min_free_mb, limits)


def _disk(free_mb: float, min_free_mb: float, limits: HealthConfig) -> Condition:
    message = f"{free_mb / 1000:.1f} GB free on the spool's disk."
    action = "Free disk space, move the spool to a larger disk, or shorten [spool] retention_days."
    if free_mb < min_free_mb:
        return failed(Component.DISK, f"{message} Associations are rejected.", action)
    if free_mb < limits.low_disk_mb:
        message += f" Below {min_free_mb / 1000:g} GB, associations will be rejected."
        return warning(Component.DISK, message, action)
    return ok(Component.DISK, message)


def _stored_files(status: StorageStatus) -> Condition:
    verified = f"last verified on {status.verified_at:%Y-%m-%d}" if status.verified_at else ""
    if not status.problems:
        message = f"No problems; {verified or 'the first check is in progress'}."
        return ok(Component.STORED_FILES, message)
    files = f"{len(status.problems)} {'file' if len(status.problems) == 1 else 'files'}"
    studies = len({one.study_uid for one in status.problems} - {""})
    of_studies = f" of {studies} {'study' if studies == 1 else 'studies'}" if studies else ""
    message = f"{files}{of_studies} damaged, missing or unregistered."
    action = "See below, or run `sij-node verify`: it lists them with what to do."
    is_worst = any(one.fault is StorageFault.DATABASE for one in status.problems)
    return (failed if is_worst else warning)(Component.STORED_FILES, message, action)


def _of(role: ProcessRole, facts: HealthFacts) -> list[ProcessHeartbeat]:
    return [one for one in facts.processes if one.process.role is role]


def _listener(seen: Sequence[ProcessHeartbeat], limits: HealthConfig) -> Condition:
    alive = [one for one in seen if one.silent_s < limits.heartbeat_timeout_s]
    if alive:
        return ok(Component.LISTENER, f"The listener is running on {alive[0].process.host}.")
    if seen:
        return failed(Component.LISTENER, *_silence(seen[0]))
    action = "Start it: `systemctl start sij-node-listener`, or `sij-node run` without systemd."
    return failed(Component.LISTENER, "No listener is running.", action)


def _workers(seen: Sequence[ProcessHeartbeat], limits: HealthConfig) -> Iterable[Condition]:
    yield _running_workers(
        [one.process for one in seen if one.silent_s < limits.heartbeat_timeout_s]
    )
    for one in seen:
        if one.silent_s >= limits.heartbeat_timeout_s:
            yield warning(Component.WORKERS, *_silence(one), name=one.process.name)


def _running_workers(workers: Sequence[Process]) -> Condition:
    if not workers:
        return failed(
            Component.WORKERS,
            "No worker is running. Studies are received but not analysed.",
            "Start one: `systemctl start sij-node-worker@1`, or `sij-node work` without systemd. "
            "If it exits at once, see the end of its log.",
        )
    if len({one.weights_sha256 for one in workers} - {""}) > 1:
        return warning(
            Component.WORKERS,
            "Workers use different weights.",
            "Configure the same weights folder for all, and restart those with the old weights.",
        )
    devices = ", ".join(f"{one.name} ({one.device or 'loading networks'})" for one in workers)
    count = "1 worker running" if len(workers) == 1 else f"{len(workers)} workers running"
    return ok(Component.WORKERS, f"{count}: {devices}.")


def _silence(one: ProcessHeartbeat) -> tuple[str, str]:
    """Message and action for a process without a heartbeat."""
    process = one.process
    message = f"No heartbeat from {process.role} {process.name} for {in_words(one.silent_s)}."
    return message, "Check that it is running; see the end of its log, and restart it."


def _queue(queue: QueueStatus, limits: HealthConfig) -> Condition:
    if queue.oldest_job_id is None:
        return ok(Component.QUEUE, "The queue is empty.")
    message = (
        f"{queue.waiting} queued; job {queue.oldest_job_id} has waited longest "
        f"({in_words(queue.oldest_s)})."
    )
    if queue.oldest_s < limits.max_queue_minutes * 60:
        return ok(Component.QUEUE, message)
    action = "Check the workers, or start more of them: `sij-node work`."
    return warning(Component.QUEUE, message, action)


def _titles(facts: HealthFacts) -> list[str]:
    return [*facts.destinations, *sorted(set(facts.stuck) - set(facts.destinations))]


def _destination(title: str, facts: HealthFacts, limits: HealthConfig) -> Condition:
    stuck = facts.stuck.get(title)
    if stuck is None:
        return ok(Component.DESTINATION, f"No failed deliveries to {title}.", title)
    jobs = f"{stuck.jobs} {'job' if stuck.jobs == 1 else 'jobs'}"
    if stuck.acknowledged_since:
        message = f"{title} accepts results, but not those of {jobs}: {stuck.reason}"
        action = "See the response to each object on the job's page or with `sij-node jobs show`."
        return warning(Component.DESTINATION, message, action, title)
    message = (
        f"No successful delivery to {title} for {in_words(stuck.failing_s)}; "
        f"{jobs} pending. {stuck.reason}"
    )
    action = (
        "Results are sent when it responds again. Check that it is running and knows this node."
    )
    is_down = stuck.failing_s >= limits.destination_down_minutes * 60
    return (failed if is_down else warning)(Component.DESTINATION, message, action, title)
