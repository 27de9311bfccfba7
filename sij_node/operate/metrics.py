"""Prometheus metrics of the whole node: one scrape covers all processes.

Everything is computed from the database, into which every process writes, and from the spool.
Labels are AE titles of configured peers, states, statuses and the like: few in number, and never
anything about a patient or a study.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from models.findings import Lesion
from sij_node import __version__
from sij_node.config.settings import Config
from sij_node.domain.drift import Histories, mean_of, positive, shifts
from sij_node.domain.health import Component, HealthStatus, ProcessHeartbeat, ProcessRole
from sij_node.domain.job import FINISHED, State, Step
from sij_node.domain.peer_activity import PeerActivity
from sij_node.domain.storage_check import StorageFault, StorageStatus
from sij_node.domain.verdicts import JudgedSite, falling_agreement, lesion_of
from sij_node.errors import DatabaseUnavailable
from sij_node.operate.health_check import HealthReport, check_health
from sij_node.store.commitments import commitment_counts
from sij_node.store.drift_figures import histories
from sij_node.store.job_statistics import STEPS_AT_ONCE, RecordedStep, job_counts, steps_after
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity_table import PeerActivityTable, PeerCounter, Tally
from sij_node.store.spool import Spool
from sij_node.store.verdict_table import judged_sites

BUCKETS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)
DRIFT_KEPT_S = 60.0
_OVERLAP = 500
"""Steps that are read again, because transactions may commit out of order."""
# Totals are of all jobs, not since this process started.
disable_created_metrics()  # type: ignore[no-untyped-call]


# ---- counting steps ---------------------------------------------------------------------------


class StepCounts:
    """Totals over the steps of all jobs."""

    def __init__(self) -> None:
        self.steps: Counter[Step] = Counter()
        self.seconds_in = Histogram(
            "sij_state_seconds",
            "Time that jobs spent in a state.",
            ("state",),
            buckets=BUCKETS_S,
            registry=None,
        )
        self._last = 0
        self._seen: set[int] = set()
        self._since: dict[int, datetime] = {}

    @property
    def read_from(self) -> int:
        """The step to read on from; somewhat before the last, for late commits."""
        return max(0, self._last - _OVERLAP)

    def add(self, steps: Iterable[RecordedStep]) -> None:
        """Count the steps that have not been counted yet."""
        for step in steps:
            if step.step_id not in self._seen:
                self._count(step)
                self._seen.add(step.step_id)
                self._last = max(self._last, step.step_id)
        self._seen = {step_id for step_id in self._seen if step_id > self.read_from}

    def _count(self, taken: RecordedStep) -> None:
        self.steps[taken.step] += 1
        if taken.from_state is taken.to_state:
            return
        since = self._since.pop(taken.job_id, None)
        if since is not None and taken.from_state is not None:
            seconds = max(0.0, (taken.at - since).total_seconds())
            self.seconds_in.labels(taken.from_state.value).observe(seconds)
        if taken.to_state not in FINISHED:
            self._since[taken.job_id] = taken.at


# ---- metrics ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Observed:
    """Everything that one scrape shows."""

    report: HealthReport
    jobs: Mapping[State, int]
    tallies: Mapping[Tally, int]
    contacts: Sequence[PeerActivity]
    steps: StepCounts
    histories: Mapping[str, Histories]
    commitments: Mapping[tuple[str, str], int] = field(default_factory=dict)
    judged: Sequence[JudgedSite] = ()


def families(seen: Observed) -> Iterator[Metric]:
    """All metrics with their values."""
    yield from _about_the_node(seen.report)
    if seen.report.facts.database_error:
        return
    yield from _about_jobs(seen)
    yield from _about_peers(seen.tallies, seen.contacts)
    yield from _about_destinations(seen)
    yield from _about_processes(seen.report.facts.processes)
    yield from _about_stored_files(seen.report.facts.storage)
    yield from _about_drift(seen.histories)
    yield from _about_verdicts(seen.judged)


def _about_the_node(report: HealthReport) -> Iterator[Metric]:
    facts = report.facts
    yield InfoMetricFamily("sij_node", "Version of the software.", {"version": __version__})
    up = 0.0 if facts.database_error else 1.0
    yield GaugeMetricFamily("sij_database_up", "1 if the database answers, otherwise 0.", up)
    if facts.free_mb is not None:
        yield GaugeMetricFamily(
            "sij_disk_free_bytes", "Free disk space of the spool.", facts.free_mb * 1e6
        )
    yield GaugeMetricFamily(
        "sij_disk_reserved_bytes",
        "Associations are rejected below this free disk space.",
        facts.min_free_mb * 1e6,
    )
    statuses = list(HealthStatus)
    by_place: dict[tuple[str, ...], float] = {}
    for one in report.conditions:
        # Processes come and go, so only destinations have their own series.
        place = (one.component, one.name if one.component is Component.DESTINATION else "")
        by_place[place] = max(by_place.get(place, 0.0), float(statuses.index(one.status)))
    yield _gauge(
        "sij_condition",
        "Status of each component: 0 OK, 1 warning, 2 failed.",
        ("component", "destination"),
        by_place,
    )


def _about_jobs(seen: Observed) -> Iterator[Metric]:
    queue = seen.report.facts.queue
    yield _gauge(
        "sij_jobs",
        "Number of jobs by state.",
        ("state",),
        {(state,): float(count) for state, count in seen.jobs.items()},
    )
    yield GaugeMetricFamily(
        "sij_queue_oldest_seconds", "Waiting time of the oldest queued job.", queue.oldest_s
    )
    yield _counter(
        "sij_job_steps",
        "Steps of jobs.",
        ("step",),
        {(step,): seen.steps.steps[step] for step in Step},
    )
    yield from seen.steps.seconds_in.collect()


_TALLIED = {
    PeerCounter.RECEIVED: (
        "sij_cstore_received",
        "Instances received, by the status returned.",
        "status",
    ),
    PeerCounter.SENT: (
        "sij_cstore_sent",
        "Results sent, by the status returned.",
        "status",
    ),
    PeerCounter.ASSOCIATIONS: ("sij_associations", "Associations, by how they ended.", "outcome"),
    PeerCounter.REFUSALS: ("sij_association_refusals", "Rejected associations.", "reason"),
}


def _about_peers(
    tallies: Mapping[Tally, int], contacts: Sequence[PeerActivity]
) -> Iterator[Metric]:
    for counted, (name, help_text, label) in _TALLIED.items():
        counts: dict[tuple[str, ...], float] = {
            (peer, outcome): count
            for (kind, peer, outcome), count in tallies.items()
            if kind is counted
        }
        yield _counter(name, help_text, ("peer", label), counts)
    yield _gauge(
        "sij_peer_accepted_timestamp_seconds",
        "Time of the last accepted association of a peer.",
        ("peer",),
        {
            (one.peer,): one.accepted_at.timestamp()
            for one in contacts
            if one.accepted_at is not None
        },
    )


def _about_destinations(seen: Observed) -> Iterator[Metric]:
    facts = seen.report.facts
    stuck = {title: facts.stuck.get(title) for title in (*facts.destinations, *facts.stuck)}
    yield _gauge(
        "sij_destination_failing_seconds",
        "Time since the first failure of a delivery that is still pending; 0 if none.",
        ("destination",),
        {(title,): one.failing_s if one else 0.0 for title, one in stuck.items()},
    )
    yield _gauge(
        "sij_destination_pending_jobs",
        "Jobs with failed deliveries to a destination.",
        ("destination",),
        {(title,): float(one.jobs) if one else 0.0 for title, one in stuck.items()},
    )
    yield _gauge(
        "sij_storage_commitments",
        "Requests for storage commitment, by state.",
        ("destination", "state"),
        {labels: float(count) for labels, count in seen.commitments.items()},
    )
    failed = Counter(
        {
            title: count
            for (kind, title, _), count in seen.tallies.items()
            if kind is PeerCounter.FAILED_DELIVERIES
        }
    )
    yield _counter(
        "sij_delivery_failures",
        "Failed delivery attempts.",
        ("destination",),
        {(title,): failed[title] for title in {*facts.destinations, *failed}},
    )


def _about_processes(seen: Sequence[ProcessHeartbeat]) -> Iterator[Metric]:
    yield _gauge(
        "sij_process_silent_seconds",
        "Time since the last heartbeat of a process.",
        ("process", "role"),
        {(one.process.name, one.process.role): one.silent_s for one in seen},
    )
    yield _gauge(
        "sij_processes",
        "Processes that send heartbeats.",
        ("role",),
        {(role,): float(sum(one.process.role is role for one in seen)) for role in ProcessRole},
    )
    memory: dict[tuple[str, ...], float] = {
        (one.process.name, one.process.device, kind): value * 1e6
        for one in seen
        for kind, value in (("used", one.process.gpu_used_mb), ("total", one.process.gpu_total_mb))
        if value is not None
    }
    yield _gauge(
        "sij_gpu_memory_bytes",
        "Memory of a worker's GPU, used by any program.",
        ("process", "device", "kind"),
        memory,
    )


def _about_stored_files(status: StorageStatus) -> Iterator[Metric]:
    faults = Counter(one.fault for one in status.problems)
    yield _gauge(
        "sij_storage_problems",
        "Stored files that need attention, by fault.",
        ("fault",),
        {(fault,): float(faults[fault]) for fault in StorageFault},
    )
    yield _counter("sij_storage_repairs", "Stored files repaired.", (), {(): status.repairs})
    if status.verified_at is not None:
        yield GaugeMetricFamily(
            "sij_storage_verified_timestamp_seconds",
            "Time when all stored files had been verified.",
            status.verified_at.timestamp(),
        )
        yield GaugeMetricFamily(
            "sij_storage_verified_bytes", "Size of the files verified then.", status.size_bytes
        )


def _about_drift(senders: Mapping[str, Histories]) -> Iterator[Metric]:
    for which in ("reference", "recent"):
        shares = {
            (sender, lesion): mean_of(positive(lesion), getattr(history, which))
            for sender, history in senders.items()
            for lesion in Lesion
        }
        yield _gauge(
            f"sij_positive_share_{which}",
            f"Share of a sender's {'first' if which == 'reference' else 'newest'} studies "
            "that are positive for a lesion.",
            ("sender", "lesion"),
            {labels: share for labels, share in shares.items() if share is not None},
        )
    shifted = {sender: shifts(history) for sender, history in senders.items()}
    for name, help_text in (
        ("distance", "Distance between a sender's newest and first studies, 0 to 1."),
        ("limit", "A larger distance is statistically significant."),
    ):
        yield _gauge(
            f"sij_drift_{name}",
            help_text,
            ("sender", "figure"),
            {
                (sender, one.figure): float(getattr(one, name))
                for sender, found in shifted.items()
                for one in found
            },
        )


def _about_verdicts(judged: Sequence[JudgedSite]) -> Iterator[Metric]:
    counted = Counter((one.sender, lesion_of(one), one.verdict.decision.value) for one in judged)
    yield _gauge(
        "sij_verdicts",
        "Readers' verdicts on calls: accepted, rejected or corrected.",
        ("sender", "lesion", "outcome"),
        {labels: float(count) for labels, count in counted.items()},
    )
    fallen = {
        (sender, shift.figure.removesuffix(" agreement")): 1.0
        for sender, shifts_found in falling_agreement(judged).items()
        for shift in shifts_found
    }
    yield _gauge(
        "sij_agreement_fallen",
        "1 if readers accept significantly fewer calls than in a sender's first studies.",
        ("sender", "lesion"),
        {(sender, lesion): fallen.get((sender, lesion), 0.0) for sender, lesion, _ in counted},
    )


def _gauge(
    name: str, documentation: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    metric = GaugeMetricFamily(name, documentation, labels=labels)
    for label_values, value in sorted(values.items()):
        metric.add_metric(label_values, value)
    return metric


def _counter(
    name: str, documentation: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    metric = CounterMetricFamily(name, documentation, labels=labels)
    for label_values, value in sorted(values.items()):
        metric.add_metric(label_values, value)
    return metric


# ---- scrapes ----------------------------------------------------------------------------------


class Metrics(Collector):
    """Collects the metrics on request and reuses a response for a while.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        config: Config,
        table: JobTable,
        contacts: PeerActivityTable,
        spool: Spool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._table = table
        self._contacts = contacts
        self._spool = spool
        self._clock = clock
        self._turn = threading.Lock()
        self._steps = StepCounts()
        self._histories: tuple[float, Mapping[str, Histories]] = (float("-inf"), {})
        self._answer: tuple[float, bytes] = (float("-inf"), b"")
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        with self._turn:
            now = self._clock()
            if now - self._answer[0] >= self._config.metrics.cache_s:
                self._answer = now, generate_latest(self._registry)
            return self._answer[1]

    def describe(self) -> Iterable[Metric]:
        """Nothing: the metrics are known only when they are collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now."""
        database = self._table.database
        report = check_health(self._config, database, self._spool)
        try:
            seen = self._observed(report)
        except DatabaseUnavailable as error:
            facts = replace(report.facts, database_error=str(error))
            seen = Observed(HealthReport(facts, report.conditions), {}, {}, (), self._steps, {})
        yield from families(seen)

    def _observed(self, report: HealthReport) -> Observed:
        if report.facts.database_error:
            return Observed(report, {}, {}, (), self._steps, {})
        self._read_steps()
        return Observed(
            report,
            job_counts(self._table.database),
            self._contacts.tallies(),
            self._contacts.contacts(),
            self._steps,
            self._recent_histories(),
            commitment_counts(self._table.database),
            judged_sites(self._table.database),
        )

    def _read_steps(self) -> None:
        position = self._steps.read_from
        while steps := steps_after(self._table.database, position):
            self._steps.add(steps)
            position = steps[-1].step_id
            if len(steps) < STEPS_AT_ONCE:
                return

    def _recent_histories(self) -> Mapping[str, Histories]:
        now = self._clock()
        if now - self._histories[0] >= DRIFT_KEPT_S:
            senders = [peer.ae_title for peer in self._config.peer]
            self._histories = now, histories(self._table.database, senders)
        return self._histories[1]
