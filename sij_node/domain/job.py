"""A job: one study, from its first image to the archive's acknowledgement.

Everything here is a pure decision: which step is allowed, what it changes, what follows from an
error, and how long something has not changed. Jobs are stored by `sij_node.store.job_table`. No
decision compares stored times, so clock jumps do not matter.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TypedDict, Unpack

from sij_node.domain.backoff import delay_after_s
from sij_node.errors import (
    IllegalStep,
    InputRejected,
    InternalFault,
    NodeError,
    TemporarilyUnavailable,
)


class State(StrEnum):
    """State of a job."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    NOT_SENT = "not sent"
    """Analysed for a peer in shadow mode; its results are withheld until a user requests them."""
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """A step in the life of a job."""

    OPENED = "opened"
    """First step of every history; there is no previous state."""
    INSTANCE_ARRIVED = "instance arrived"
    SETTLED = "settled"
    CLAIMED = "claimed"
    RESULTS_STORED = "results stored"
    REJECT = "reject"
    TRY_AGAIN = "try again"
    GIVE_UP = "give up"
    HANDED_BACK = "handed back"
    """A worker that shuts down returns its job; the attempt does not count."""
    SUPERSEDED = "superseded"
    """It cannot be queued again, because later images have opened a new job."""
    RELEASED = "released"
    DELIVERY_CLAIMED = "delivery claimed"
    ACKNOWLEDGED = "acknowledged"
    DELIVERY_FAILED = "delivery failed"
    COMMITTED = "committed"
    COMMITMENT_FAILED = "commitment failed"
    """The destination does not have all results: they are sent again."""
    COMMITMENT_ABANDONED = "commitment abandoned"
    """It still does not have them after several deliveries."""
    CANCELLED = "cancelled"
    RETRIED = "retried"
    PRIORITY_SET = "priority set"
    WITHHELD = "kept back"
    DELIVERY_ASKED = "delivery asked for"
    RESULTS_DAMAGED = "results damaged"
    """A stored result has changed on disk before it was sent: the study is analysed again."""
    REANALYSIS_ASKED = "reanalysis asked for"
    """Only recorded in the history: the reanalysis is a new job."""


STEP_WORDS: Mapping[Step, str] = MappingProxyType(
    {
        Step.OPENED: "First image received",
        Step.INSTANCE_ARRIVED: "Late image received",
        Step.SETTLED: "Study complete, queued",
        Step.CLAIMED: "Analysis started",
        Step.RESULTS_STORED: "Analysed, results stored",
        Step.WITHHELD: "Analysed, results withheld",
        Step.REJECT: "Rejected",
        Step.TRY_AGAIN: "Analysis failed, will be retried",
        Step.GIVE_UP: "Abandoned",
        Step.HANDED_BACK: "Returned to the queue",
        Step.SUPERSEDED: "Superseded by a later job",
        Step.RELEASED: "Wait ended",
        Step.DELIVERY_CLAIMED: "Delivery started",
        Step.ACKNOWLEDGED: "Delivered",
        Step.DELIVERY_FAILED: "Delivery failed, will be retried",
        Step.COMMITTED: "Storage confirmed",
        Step.COMMITMENT_FAILED: "Storage not confirmed, will be sent again",
        Step.COMMITMENT_ABANDONED: "Storage not confirmed, abandoned",
        Step.CANCELLED: "Cancelled",
        Step.RETRIED: "Retry requested",
        Step.PRIORITY_SET: "Priority set",
        Step.DELIVERY_ASKED: "Resend requested",
        Step.RESULTS_DAMAGED: "Stored result damaged, queued for analysis",
        Step.REANALYSIS_ASKED: "Reanalysis requested",
    }
)
"""What each step is called on the page and the command line."""

TRANSITIONS: Mapping[tuple[State, Step], State] = MappingProxyType(
    {
        (State.RECEIVING, Step.INSTANCE_ARRIVED): State.RECEIVING,
        (State.RECEIVING, Step.SETTLED): State.QUEUED,
        (State.RECEIVING, Step.PRIORITY_SET): State.RECEIVING,
        (State.RECEIVING, Step.CANCELLED): State.CANCELLED,
        (State.QUEUED, Step.INSTANCE_ARRIVED): State.RECEIVING,
        (State.QUEUED, Step.RELEASED): State.QUEUED,
        (State.QUEUED, Step.PRIORITY_SET): State.QUEUED,
        (State.QUEUED, Step.CLAIMED): State.ANALYSING,
        (State.QUEUED, Step.CANCELLED): State.CANCELLED,
        (State.ANALYSING, Step.RESULTS_STORED): State.DELIVERING,
        (State.ANALYSING, Step.WITHHELD): State.NOT_SENT,
        (State.ANALYSING, Step.REJECT): State.REJECTED,
        (State.ANALYSING, Step.TRY_AGAIN): State.QUEUED,
        (State.ANALYSING, Step.HANDED_BACK): State.QUEUED,
        (State.ANALYSING, Step.SUPERSEDED): State.CANCELLED,
        (State.ANALYSING, Step.GIVE_UP): State.FAILED,
        (State.DELIVERING, Step.DELIVERY_CLAIMED): State.DELIVERING,
        (State.DELIVERING, Step.DELIVERY_FAILED): State.DELIVERING,
        (State.DELIVERING, Step.HANDED_BACK): State.DELIVERING,
        (State.DELIVERING, Step.RELEASED): State.DELIVERING,
        (State.DELIVERING, Step.ACKNOWLEDGED): State.DELIVERED,
        (State.DELIVERING, Step.GIVE_UP): State.FAILED,
        (State.DELIVERING, Step.RESULTS_DAMAGED): State.QUEUED,
        (State.DELIVERING, Step.CANCELLED): State.CANCELLED,
        (State.DELIVERING, Step.REANALYSIS_ASKED): State.DELIVERING,
        (State.NOT_SENT, Step.ACKNOWLEDGED): State.DELIVERED,
        (State.NOT_SENT, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.NOT_SENT, Step.REANALYSIS_ASKED): State.NOT_SENT,
        (State.DELIVERED, Step.COMMITTED): State.CONFIRMED,
        (State.DELIVERED, Step.COMMITMENT_FAILED): State.DELIVERING,
        (State.DELIVERED, Step.COMMITMENT_ABANDONED): State.FAILED,
        (State.DELIVERED, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.DELIVERED, Step.REANALYSIS_ASKED): State.DELIVERED,
        (State.CONFIRMED, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.CONFIRMED, Step.REANALYSIS_ASKED): State.CONFIRMED,
        # A rejected job stays rejected while its report to the archive is delivered.
        (State.REJECTED, Step.DELIVERY_CLAIMED): State.REJECTED,
        (State.REJECTED, Step.DELIVERY_FAILED): State.REJECTED,
        (State.REJECTED, Step.HANDED_BACK): State.REJECTED,
        (State.REJECTED, Step.RELEASED): State.REJECTED,
        (State.REJECTED, Step.ACKNOWLEDGED): State.REJECTED,
        (State.REJECTED, Step.GIVE_UP): State.REJECTED,
        (State.REJECTED, Step.COMMITTED): State.REJECTED,
        (State.REJECTED, Step.COMMITMENT_FAILED): State.REJECTED,
        (State.REJECTED, Step.COMMITMENT_ABANDONED): State.REJECTED,
        (State.REJECTED, Step.DELIVERY_ASKED): State.REJECTED,
        (State.REJECTED, Step.REANALYSIS_ASKED): State.REJECTED,
        (State.REJECTED, Step.RETRIED): State.QUEUED,
        (State.FAILED, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.FAILED, Step.REANALYSIS_ASKED): State.FAILED,
        (State.FAILED, Step.RETRIED): State.QUEUED,
        (State.CANCELLED, Step.REANALYSIS_ASKED): State.CANCELLED,
    }
)
"""All legal steps; any other is illegal."""

ASKED_FOR = frozenset(
    {
        Step.CANCELLED,
        Step.RETRIED,
        Step.PRIORITY_SET,
        Step.DELIVERY_ASKED,
        Step.REANALYSIS_ASKED,
    }
)
"""Steps that only a user can request."""
OPEN = (State.RECEIVING, State.QUEUED)
"""States in which a job accepts new images of its study; a study has at most one such job."""
DELIVERABLE = (State.DELIVERING, State.REJECTED)
"""States in which a job may have something to send."""
FINISHED = (
    State.NOT_SENT,
    State.DELIVERED,
    State.CONFIRMED,
    State.REJECTED,
    State.FAILED,
    State.CANCELLED,
)
"""States without further analysis, unless a user requests it or a late image arrives."""


@dataclass(frozen=True)
class Job:
    """One row of the job table.

    Parameters
    ----------
    source_ae
        AE title that sent the study and will receive its results.
    revision
        Incremented with every step; a writer with an older revision has lost the job.
    priority
        0 to 9; higher is analysed first.
    analysis_attempts, delivery_attempts
        Attempts started, including the current one.
    leased_by
        The worker that holds the lease, or empty.
    heartbeat
        Number of heartbeats from the holder of the lease.
    wait_s
        Delay before the next attempt; 0 if it may start.
    reason, error_family
        Why the last attempt failed: message, and family as in `sij_node.errors`.
    weights
        Names and versions of the networks that produced the results.
    predecessor_id
        The previous job of the same study and source, if later images opened this one.
    created_at, changed_at
        UTC, for display; no timing depends on them.
    instances
        Number of images received for this job; it only increases.
    priority_by
        The user who set the priority; empty if set by rules.
    weights_wanted
        Name of the [[weights]] requested by a user; empty for those of [worker].
    """

    job_id: int
    study_uid: str
    source_ae: str
    state: State
    revision: int
    priority: int
    analysis_attempts: int
    delivery_attempts: int
    leased_by: str
    heartbeat: int
    wait_s: float
    reason: str
    error_family: str
    weights: str
    predecessor_id: int | None
    created_at: datetime
    changed_at: datetime
    instances: int
    priority_by: str = ""
    weights_wanted: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 9:
            raise ValueError(f"priority {self.priority} is not within 0 to 9")
        if self.wait_s < 0:
            raise ValueError(f"wait_s {self.wait_s} is negative")


@dataclass(frozen=True)
class JobStep:
    """An entry in a job's history; `from_state` is None for the first."""

    job_id: int
    step: Step
    from_state: State | None
    to_state: State
    who: str
    note: str
    at: datetime


class JobChanges(TypedDict, total=False):
    """Fields that a step may set besides the state."""

    priority: int
    analysis_attempts: int
    delivery_attempts: int
    leased_by: str
    wait_s: float
    reason: str
    error_family: str
    weights: str
    instances: int
    priority_by: str
    weights_wanted: str


def next_state(state: State, step: Step) -> State:
    """The state that a step leads to.

    Raises
    ------
    IllegalStep
        If the step is not allowed in this state.
    """
    try:
        return TRANSITIONS[state, step]
    except KeyError as error:
        raise IllegalStep(
            f"A job that is {state.value} allows no step '{step.value}'. "
            "Reload the job: another user may have changed it."
        ) from error


def legal_steps(state: State) -> tuple[Step, ...]:
    """The steps that a state allows."""
    return tuple(step for origin, step in TRANSITIONS if origin is state)


def advance(job: Job, step: Step, **changes: Unpack[JobChanges]) -> Job:
    """The job after a step.

    Every step ends a lease and a delay unless `changes` sets new ones; only a change of priority
    keeps the delay.

    Raises
    ------
    IllegalStep
        If the step is not allowed in the job's state.
    """
    state = next_state(job.state, step)
    effects: JobChanges = {"leased_by": "", "wait_s": 0.0, **_effects(job, step), **changes}
    return replace(job, state=state, revision=job.revision + 1, **effects)


_COUNTS = {Step.CLAIMED: 1, Step.DELIVERY_CLAIMED: 1, Step.HANDED_BACK: -1}
_FORGIVEN: JobChanges = {"reason": "", "error_family": ""}


def _effects(job: Job, step: Step) -> JobChanges:
    if step is Step.RETRIED:
        return {**_FORGIVEN, "analysis_attempts": 0, "delivery_attempts": 0}
    if step is Step.PRIORITY_SET:
        return {"wait_s": job.wait_s}
    if step is Step.DELIVERY_ASKED:
        kept: JobChanges = {} if job.state is State.REJECTED else _FORGIVEN
        return {**kept, "delivery_attempts": 0}
    if (
        step in (Step.RESULTS_STORED, Step.WITHHELD, Step.ACKNOWLEDGED)
        and job.state is not State.REJECTED
    ):
        return _FORGIVEN
    counted = _COUNTS.get(step, 0)
    if job.state in (State.QUEUED, State.ANALYSING):
        return {"analysis_attempts": job.analysis_attempts + counted}
    return {"delivery_attempts": job.delivery_attempts + counted}


class JobAction(StrEnum):
    """An action that a user can request for a job."""

    RETRY = "retry"
    """Queue it again with a full number of attempts."""
    CANCEL = "cancel"
    SET_PRIORITY = "set priority"
    TRY_NOW = "try now"
    """Skip the delay before its next attempt."""
    REDELIVER = "redeliver"
    """Send its results again, under the same UIDs."""
    REANALYSE = "reanalyse"
    """Analyse the stored study in a new job, with the same or other weights."""


STEP_OF_ACTION: Mapping[JobAction, Step] = MappingProxyType(
    {
        JobAction.RETRY: Step.RETRIED,
        JobAction.CANCEL: Step.CANCELLED,
        JobAction.SET_PRIORITY: Step.PRIORITY_SET,
        JobAction.TRY_NOW: Step.RELEASED,
        JobAction.REDELIVER: Step.DELIVERY_ASKED,
        JobAction.REANALYSE: Step.REANALYSIS_ASKED,
    }
)


def legal_actions(job: Job) -> tuple[JobAction, ...]:
    """The actions available for this job, in the order of `JobAction`.

    They follow from its state; actions without effect are omitted. The job table may still refuse
    one, for instance because the images have been deleted, and states the reason.
    """
    allowed = legal_steps(job.state)
    pointless = set(_pointless(job))
    return tuple(
        action
        for action, step in STEP_OF_ACTION.items()
        if step in allowed and action not in pointless
    )


def _pointless(job: Job) -> Iterable[JobAction]:
    if not job.wait_s:
        yield JobAction.TRY_NOW
    never_made = job.state is State.FAILED and not job.weights
    if job.leased_by or never_made:
        yield JobAction.REDELIVER


@dataclass(frozen=True)
class RetryPolicy:
    """Number of attempts, and the delays between them."""

    max_attempts: int
    first_wait_s: float
    max_wait_s: float

    def wait_after_s(self, attempts: int) -> float:
        """Delay in seconds after this many attempts: exponential, up to a limit."""
        return delay_after_s(attempts, self.first_wait_s, self.max_wait_s)


def after_failure(job: Job, error: NodeError, policy: RetryPolicy) -> Job:
    """The job after a failed attempt to analyse or deliver."""
    return advance(job, step_after_failure(job, error, policy), **_blame(job, error, policy))


def step_after_failure(job: Job, error: NodeError, policy: RetryPolicy) -> Step:
    """The step that follows from an error: reject, try again or give up."""
    analysing = job.state is State.ANALYSING
    if analysing and isinstance(error, InputRejected):
        return Step.REJECT
    if isinstance(error, TemporarilyUnavailable) and _attempts(job) < policy.max_attempts:
        return Step.TRY_AGAIN if analysing else Step.DELIVERY_FAILED
    return Step.GIVE_UP


def _blame(job: Job, error: NodeError, policy: RetryPolicy) -> JobChanges:
    step = step_after_failure(job, error, policy)
    again = step in (Step.TRY_AGAIN, Step.DELIVERY_FAILED)
    blame: JobChanges = {"wait_s": policy.wait_after_s(_attempts(job)) if again else 0.0}
    if job.state is State.REJECTED:  # keeps the reason of its rejection
        return blame
    return {**blame, "reason": str(error), "error_family": family_of(error)}


def _attempts(job: Job) -> int:
    return job.analysis_attempts if job.state is State.ANALYSING else job.delivery_attempts


def family_of(error: NodeError) -> str:
    """Name of the family an error belongs to, as in the table of `sij_node.errors`."""
    families = (InputRejected, TemporarilyUnavailable, InternalFault)
    return next((family.__name__ for family in families if isinstance(error, family)), "NodeError")


@dataclass(frozen=True)
class Result:
    """A stored result object, for instance a segmentation or a report.

    Parameters
    ----------
    kind
        As in `sij_node.config.profiles.SeriesKind`; with a number if a series has several objects.
    file_name
        Name within the spool; empty once the file has been deleted.
    sha256
        Hex digest of the file; exactly these bytes are delivered.
    """

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    series_uid: str
    file_name: str
    sha256: str
    size_bytes: int
    transfer_syntax_uid: str


class DeliveryState(StrEnum):
    """State of the delivery of a result to a destination."""

    PENDING = "pending"
    WITHHELD = "kept back"
    """The destination is in shadow mode and receives this only if a user requests it."""
    ACKNOWLEDGED = "acknowledged"
    GIVEN_UP = "given up"

    @property
    def label(self) -> str:
        """The state for display; the database keeps the original values."""
        return {"kept back": "withheld", "given up": "abandoned"}.get(self.value, self.value)


@dataclass(frozen=True)
class Delivery:
    """The delivery of one result to one destination.

    Parameters
    ----------
    status
        Last C-STORE response status; None if there was none.
    acknowledged_at
        Time of the last acknowledgement; also set for a pending delivery that is to be repeated.
    committed_at
        When the destination committed to storing it, or was found to have it.
    """

    result: Result
    destination: str
    state: DeliveryState
    attempts: int
    status: int | None
    note: str
    acknowledged_at: datetime | None
    committed_at: datetime | None = None


@dataclass(frozen=True)
class Hold:
    """A hold on a destination: deliveries stay pending until a user releases it.

    Parameters
    ----------
    released_by, released_at
        Empty and None while the hold is active.
    """

    destination: str
    reason: str
    held_by: str
    held_at: datetime
    released_by: str = ""
    released_at: datetime | None = None

    def __str__(self) -> str:
        """As text, for display."""
        since = f"{self.held_at:%Y-%m-%d %H:%M} UTC"
        because = f": {self.reason}" if self.reason else ""
        return f"{self.destination} is held by {self.held_by} since {since}{because}"


def standstill(
    job: Job, deliveries: Sequence[Delivery], holds: Sequence[Hold], shadow: Iterable[str] = ()
) -> str:
    """Why a job is waiting, as text; empty if it proceeds by itself.

    Parameters
    ----------
    holds
        Active holds.
    shadow
        Destinations in shadow mode.
    """
    withheld = {d.destination for d in deliveries if d.state is DeliveryState.WITHHELD}
    if withheld:
        return f"shadow: not sent to {', '.join(sorted(withheld))}"
    waiting = {d.destination for d in deliveries if d.state is DeliveryState.PENDING}
    reasons = [str(hold) for hold in holds if hold.destination in waiting]
    reasons += [f"{title} is in shadow mode" for title in sorted(waiting & set(shadow))]
    if not reasons and job.wait_s:
        reasons = [f"waits up to {job.wait_s:.0f} s before the next attempt"]
    return "; ".join(reasons)


@dataclass(frozen=True)
class _Observation:
    marker: Hashable
    still_s: float
    seen_at: float


class StallDetector:
    """Measures for how long something has not changed, on this process's monotonic clock.

    It is used for studies without new images, workers without heartbeats and delayed jobs. A
    restart starts the measurement again. A gap between two observations counts for at most
    `longest_gap_s`, so that workers have time for a heartbeat after a pause of the machine or the
    database.
    """

    def __init__(self, longest_gap_s: float = 5.0) -> None:
        self._longest_gap_s = longest_gap_s
        self._observations: dict[Hashable, _Observation] = {}

    def still_for_s(self, key: Hashable, marker: Hashable, now: float) -> float:
        """Seconds for which the marker of `key` has not changed; `now` is monotonic."""
        before = self._observations.get(key)
        if before is None or before.marker != marker:
            observation = _Observation(marker, 0.0, now)
        else:
            gap_s = min(max(now - before.seen_at, 0.0), self._longest_gap_s)
            observation = _Observation(marker, before.still_s + gap_s, now)
        self._observations[key] = observation
        return observation.still_s

    def keep_only(self, keys: Iterable[Hashable]) -> None:
        """Discard the state of all other keys."""
        kept = set(keys)
        self._observations = {key: one for key, one in self._observations.items() if key in kept}
