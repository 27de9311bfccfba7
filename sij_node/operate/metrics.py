"""What Prometheus reads of the whole node: all processes, from one scrape of one of them.

Everything is computed from the database, into which every process writes, and from the spool.
Labels are AE titles of configured peers, states, statuses and the like: few, and nothing that
says anything of a patient or a study.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
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
from sij_node.errors import DatabaseUnavailable
from sij_node.operate.health_check import HealthReport, check_up
from sij_node.store.drift_figures import histories
from sij_node.store.job_steps import AT_ONCE, StepTaken, steps_after
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity import PeerActivityTable, PeerCounter, Tally
from sij_node.store.spool import Spool

BUCKETS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)
DRIFT_KEPT_S = 60.0
_OVERLAP = 500
"""Steps that are read again: of two transactions, the one that began later may end earlier."""


# ---- steps, counted as they come --------------------------------------------------------------


@dataclass
class Histogram:
    """How many values lie at or below each of `BUCKETS_S`, and above."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS_S, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """As Prometheus writes it."""
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        return [(bound, float(sum(self.counts[: place + 1]))) for place, bound in enumerate(bounds)]


class StepCounts:
    """What the steps of all jobs add up to; fed with each step once, in order."""

    def __init__(self) -> None:
        self.steps: Counter[Step] = Counter()
        self.failed_deliveries: Counter[str] = Counter()
        self.seconds_in: dict[State, Histogram] = {}
        self._last = 0
        self._seen: set[int] = set()
        self._since: dict[int, datetime] = {}

    @property
    def read_from(self) -> int:
        """After which step to read on; somewhat before the last, for late ones."""
        return max(0, self._last - _OVERLAP)

    def add(self, steps: Iterable[StepTaken]) -> None:
        """Count those that have not been counted."""
        for step in steps:
            if step.step_id not in self._seen:
                self._count(step)
                self._seen.add(step.step_id)
                self._last = max(self._last, step.step_id)
        self._seen = {step_id for step_id in self._seen if step_id > self.read_from}

    def _count(self, taken: StepTaken) -> None:
        self.steps[taken.step] += 1
        if taken.step is Step.DELIVERY_FAILED:
            self.failed_deliveries[taken.source_ae] += 1
        if taken.from_state is taken.to_state:
            return
        since = self._since.pop(taken.job_id, None)
        if since is not None and taken.from_state is not None:
            seconds = max(0.0, (taken.at - since).total_seconds())
            self.seconds_in.setdefault(taken.from_state, Histogram()).add(seconds)
        if taken.to_state not in FINISHED:
            self._since[taken.job_id] = taken.at


# ---- what is shown ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Observed:
    """Everything that one answer is made of."""

    checkup: HealthReport
    jobs: Mapping[State, int]
    tallies: Mapping[Tally, int]
    contacts: Sequence[PeerActivity]
    steps: StepCounts
    histories: Mapping[str, Histories]


def families(seen: Observed) -> Iterator[Metric]:
    """Every metric of the node, with its values."""
    yield from _about_the_node(seen.checkup)
    if seen.checkup.facts.database_error:
        return
    yield from _about_jobs(seen)
    yield from _about_peers(seen.tallies, seen.contacts)
    yield from _about_destinations(seen)
    yield from _about_processes(seen.checkup.facts.processes)
    yield from _about_drift(seen.histories)


def _about_the_node(checkup: HealthReport) -> Iterator[Metric]:
    facts = checkup.facts
    yield InfoMetricFamily("sij_node", "The software.", {"version": __version__})
    up = 0.0 if facts.database_error else 1.0
    yield GaugeMetricFamily("sij_database_up", "Whether the database answers.", up)
    if facts.free_mb is not None:
        yield GaugeMetricFamily(
            "sij_disk_free_bytes", "Room on the disk of the spool.", facts.free_mb * 1e6
        )
    yield GaugeMetricFamily(
        "sij_disk_reserved_bytes",
        "With less room than this, associations are refused.",
        facts.min_free_mb * 1e6,
    )
    verdicts = list(HealthStatus)
    by_place: dict[tuple[str, ...], float] = {}
    for one in checkup.conditions:
        # Processes come and go, so only destinations are told apart.
        place = (one.part, one.which if one.part is Component.DESTINATION else "")
        by_place[place] = max(by_place.get(place, 0.0), float(verdicts.index(one.verdict)))
    yield _gauge(
        "sij_condition",
        "Health of each part: 0 in order, 1 a warning, 2 failed.",
        ("part", "which"),
        by_place,
    )


def _about_jobs(seen: Observed) -> Iterator[Metric]:
    queue = seen.checkup.facts.queue
    yield _gauge(
        "sij_jobs",
        "Jobs in each state.",
        ("state",),
        {(state,): float(count) for state, count in seen.jobs.items()},
    )
    yield GaugeMetricFamily(
        "sij_queue_oldest_seconds", "How long the oldest queued job has waited.", queue.oldest_s
    )
    yield _counter(
        "sij_job_steps",
        "Steps that jobs have taken.",
        ("step",),
        {(step,): seen.steps.steps[step] for step in Step},
    )
    spent = HistogramMetricFamily(
        "sij_state_seconds", "How long jobs stayed in a state.", labels=("state",)
    )
    for state, histogram in seen.steps.seconds_in.items():
        spent.add_metric((state,), histogram.cumulative(), histogram.total)
    yield spent


_TALLIED = {
    PeerCounter.RECEIVED: (
        "sij_cstore_received",
        "Instances that peers have sent, by the status that was answered.",
        "status",
    ),
    PeerCounter.SENT: (
        "sij_cstore_sent",
        "Results that were sent, by the status that came back.",
        "status",
    ),
    PeerCounter.ASSOCIATIONS: ("sij_associations", "Associations, by how they ended.", "outcome"),
    PeerCounter.REFUSALS: ("sij_association_refusals", "Associations that were refused.", "reason"),
}


def _about_peers(
    tallies: Mapping[Tally, int], contacts: Sequence[PeerActivity]
) -> Iterator[Metric]:
    for counted, (name, told, label) in _TALLIED.items():
        counts: dict[tuple[str, ...], float] = {
            (peer, outcome): count
            for (kind, peer, outcome), count in tallies.items()
            if kind is counted
        }
        yield _counter(name, told, ("peer", label), counts)
    yield _gauge(
        "sij_peer_accepted_timestamp_seconds",
        "When a peer's association was last accepted.",
        ("peer",),
        {
            (one.peer,): one.accepted_at.timestamp()
            for one in contacts
            if one.accepted_at is not None
        },
    )


def _about_destinations(seen: Observed) -> Iterator[Metric]:
    facts = seen.checkup.facts
    stuck = {title: facts.stuck.get(title) for title in (*facts.destinations, *facts.stuck)}
    yield _gauge(
        "sij_destination_failing_seconds",
        "How long ago the first delivery failed that is still to be made; 0 when none is.",
        ("destination",),
        {(title,): one.failing_s if one else 0.0 for title, one in stuck.items()},
    )
    yield _gauge(
        "sij_destination_held_up_jobs",
        "Jobs whose results a destination has not taken.",
        ("destination",),
        {(title,): float(one.jobs) if one else 0.0 for title, one in stuck.items()},
    )
    failed = seen.steps.failed_deliveries
    yield _counter(
        "sij_delivery_failures",
        "Attempts to deliver that failed.",
        ("destination",),
        {(title,): failed[title] for title in {*facts.destinations, *failed}},
    )


def _about_processes(seen: Sequence[ProcessHeartbeat]) -> Iterator[Metric]:
    yield _gauge(
        "sij_process_silent_seconds",
        "How long a process has given no sign of life.",
        ("process", "role"),
        {(one.process.name, one.process.role): one.silent_s for one in seen},
    )
    yield _gauge(
        "sij_processes",
        "Processes that report themselves.",
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
        "Memory of the GPU that a worker uses, whoever takes it.",
        ("process", "device", "kind"),
        memory,
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
            "in which a lesion is present.",
            ("sender", "lesion"),
            {labels: share for labels, share in shares.items() if share is not None},
        )
    shifted = {sender: shifts(history) for sender, history in senders.items()}
    for name, told in (
        ("distance", "How far a sender's newest studies are from its first, 0 to 1."),
        ("limit", "A distance beyond this is no chance."),
    ):
        yield _gauge(
            f"sij_drift_{name}",
            told,
            ("sender", "figure"),
            {
                (sender, one.figure): float(getattr(one, name))
                for sender, found in shifted.items()
                for one in found
            },
        )


def _gauge(
    name: str, told: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    metric = GaugeMetricFamily(name, told, labels=labels)
    for label_values, value in sorted(values.items()):
        metric.add_metric(label_values, value)
    return metric


def _counter(
    name: str, told: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    metric = CounterMetricFamily(name, told, labels=labels)
    for label_values, value in sorted(values.items()):
        metric.add_metric(label_values, value)
    return metric


# ---- the answer -------------------------------------------------------------------------------


class Metrics(Collector):
    """Looks at the node when it is asked, and gives the same answer for a while.

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
        """The metrics in Prometheus' text format."""
        with self._turn:
            now = self._clock()
            if now - self._answer[0] >= self._config.metrics.cache_s:
                self._answer = now, generate_latest(self._registry)
            return self._answer[1]

    def describe(self) -> Iterable[Metric]:
        """Nothing yet: what there is to tell is known when it is asked."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        database = self._table.database
        checkup = check_up(self._config, database, self._spool)
        try:
            seen = self._observed(checkup)
        except DatabaseUnavailable as error:
            facts = replace(checkup.facts, database_error=str(error))
            seen = Observed(HealthReport(facts, checkup.conditions), {}, {}, (), self._steps, {})
        yield from families(seen)

    def _observed(self, checkup: HealthReport) -> Observed:
        if checkup.facts.database_error:
            return Observed(checkup, {}, {}, (), self._steps, {})
        self._read_steps()
        return Observed(
            checkup,
            self._table.counts(),
            self._contacts.tallies(),
            self._contacts.contacts(),
            self._steps,
            self._recent_histories(),
        )

    def _read_steps(self) -> None:
        position = self._steps.read_from
        while steps := steps_after(self._table.database, position):
            self._steps.add(steps)
            position = steps[-1].step_id
            if len(steps) < AT_ONCE:
                return

    def _recent_histories(self) -> Mapping[str, Histories]:
        now = self._clock()
        if now - self._histories[0] >= DRIFT_KEPT_S:
            senders = [peer.ae_title for peer in self._config.peer]
            self._histories = now, histories(self._table.database, senders)
        return self._histories[1]
