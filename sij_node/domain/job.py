"""A job: the way of one study from its first image to the archive's acknowledgement.

Everything here is a decision, none an effect: which step is allowed, what it changes, what
follows from an error, and how long something has stood still. Where jobs are kept is
`sij_node.store.job_table`. No decision compares stored times, so clock jumps cannot matter.
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
    """Where a job stands."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    NOT_SENT = "not sent"
    """Analysed for a peer in shadow mode; its results are kept until a person asks for them."""
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """What can happen to a job."""

    OPENED = "opened"
    """The first entry of every history; no state comes before it."""
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
    """It cannot queue again, because later images have opened a job of their own."""
    RELEASED = "released"
    DELIVERY_CLAIMED = "delivery claimed"
    ACKNOWLEDGED = "acknowledged"
    DELIVERY_FAILED = "delivery failed"
    COMMITTED = "committed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    PRIORITY_SET = "priority set"
    WITHHELD = "kept back"
    DELIVERY_ASKED = "delivery asked for"
    REANALYSIS_ASKED = "reanalysis asked for"
    """A line of history only: what is asked for is another job."""


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
        (State.DELIVERING, Step.CANCELLED): State.CANCELLED,
        (State.DELIVERING, Step.REANALYSIS_ASKED): State.DELIVERING,
        (State.NOT_SENT, Step.ACKNOWLEDGED): State.DELIVERED,
        (State.NOT_SENT, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.NOT_SENT, Step.REANALYSIS_ASKED): State.NOT_SENT,
        (State.DELIVERED, Step.COMMITTED): State.CONFIRMED,
        (State.DELIVERED, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.DELIVERED, Step.REANALYSIS_ASKED): State.DELIVERED,
        (State.CONFIRMED, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.CONFIRMED, Step.REANALYSIS_ASKED): State.CONFIRMED,
        # A rejected job stays rejected while its notice to the archive is delivered.
        (State.REJECTED, Step.DELIVERY_CLAIMED): State.REJECTED,
        (State.REJECTED, Step.DELIVERY_FAILED): State.REJECTED,
        (State.REJECTED, Step.HANDED_BACK): State.REJECTED,
        (State.REJECTED, Step.RELEASED): State.REJECTED,
        (State.REJECTED, Step.ACKNOWLEDGED): State.REJECTED,
        (State.REJECTED, Step.GIVE_UP): State.REJECTED,
        (State.REJECTED, Step.DELIVERY_ASKED): State.REJECTED,
        (State.REJECTED, Step.REANALYSIS_ASKED): State.REJECTED,
        (State.REJECTED, Step.RETRIED): State.QUEUED,
        (State.FAILED, Step.DELIVERY_ASKED): State.DELIVERING,
        (State.FAILED, Step.REANALYSIS_ASKED): State.FAILED,
        (State.FAILED, Step.RETRIED): State.QUEUED,
        (State.CANCELLED, Step.REANALYSIS_ASKED): State.CANCELLED,
    }
)
"""Every legal step; whatever is not here is illegal."""

ASKED_FOR = frozenset(
    {
        Step.CANCELLED,
        Step.RETRIED,
        Step.PRIORITY_SET,
        Step.DELIVERY_ASKED,
        Step.REANALYSIS_ASKED,
    }
)
"""Steps that only a person brings about."""
OPEN = (State.RECEIVING, State.QUEUED)
"""A new image of the study still joins a job in one of these; there is one at most."""
DELIVERABLE = (State.DELIVERING, State.REJECTED)
"""In these a job may have something to send."""
FINISHED = (
    State.NOT_SENT,
    State.DELIVERED,
    State.CONFIRMED,
    State.REJECTED,
    State.FAILED,
    State.CANCELLED,
)
"""Nothing is analysed any more unless a person or a late image asks for it."""


@dataclass(frozen=True)
class Job:
    """One row of the job table.

    Parameters
    ----------
    source_ae
        AE title that sent the study and will receive its results.
    revision
        Grows with every step; a writer that holds an older one has lost the job.
    priority
        0 to 9; higher is analysed first.
    analysis_attempts, delivery_attempts
        Attempts begun, the running one included.
    leased_by
        The worker that holds the job, or empty.
    heartbeat
        Counts the signs of life of whoever holds the job.
    wait_s
        How long to wait before the next attempt; 0 when it may begin.
    reason, error_family
        Why the last attempt failed, in words and by the family of `sij_node.errors`.
    weights
        Names and versions of the networks that made the results.
    predecessor_id
        The job before this one of the same study and source, when later images opened this one.
    created_at, changed_at
        UTC, for people to read; nothing is timed by them.
    instances
        How many images have arrived for this job; it grows, so it shows whether any arrived.
    priority_by
        The person who set the priority; empty where rules did.
    weights_wanted
        The [[weights]] that a person asked for, by name; empty for those of [worker].
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
    """One line of a job's history. `from_state` is None where the job was opened."""

    job_id: int
    step: Step
    from_state: State | None
    to_state: State
    who: str
    note: str
    at: datetime


class JobChanges(TypedDict, total=False):
    """What a step may set besides the state."""

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
        allowed = ", ".join(legal.value for legal in legal_steps(state)) or "none"
        raise IllegalStep(
            f"A job that is {state.value} allows no step '{step.value}'; allowed: {allowed}. "
            "Reload the job: another user may have changed it."
        ) from error


def legal_steps(state: State) -> tuple[Step, ...]:
    """The steps that a state allows."""
    return tuple(step for origin, step in TRANSITIONS if origin is state)


def advance(job: Job, step: Step, **changes: Unpack[JobChanges]) -> Job:
    """The job after a step.

    Every step ends a lease and a wait, unless `changes` sets them anew; only a change of
    priority leaves a wait as it is.

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
    """What a person can ask of a job."""

    RETRY = "retry"
    """Queue it again, with all its attempts."""
    CANCEL = "cancel"
    SET_PRIORITY = "set priority"
    TRY_NOW = "try now"
    """End the wait before its next attempt."""
    REDELIVER = "redeliver"
    """Send the results again that it has made, under the same UIDs."""
    REANALYSE = "reanalyse"
    """Analyse the stored study in a new job, with the same weights or others."""


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
    """What a person can ask of this job, in the order of `JobAction`.

    The state decides, by the table of steps; an action that would change nothing is left out.
    The job table may still refuse one for what it alone knows, for instance that the images
    have been cleared away; it says so in words.
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
    """How often something is tried, and how long to wait in between."""

    max_attempts: int
    first_wait_s: float
    max_wait_s: float

    def wait_after_s(self, attempts: int) -> float:
        """Seconds to wait after this many attempts: doubled each time, up to a limit."""
        return delay_after_s(attempts, self.first_wait_s, self.max_wait_s)


def after_failure(job: Job, error: NodeError, policy: RetryPolicy) -> Job:
    """The job after an attempt, to analyse or to deliver, that ended in an error."""
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
    """A stored object that the node has made, for instance a segmentation or a report.

    Parameters
    ----------
    kind
        As in `sij_node.config.profiles.SeriesKind`; with a number where one series holds several.
    file_name
        Name within the spool; empty once its file was cleared away.
    sha256
        Hex digest of the file's bytes: what is delivered is what was stored.
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
    """Whether a destination has a result."""

    PENDING = "pending"
    WITHHELD = "kept back"
    """The destination is in shadow mode: it gets this only if a person asks for it."""
    ACKNOWLEDGED = "acknowledged"
    GIVEN_UP = "given up"

    @property
    def label(self) -> str:
        """The state as people read it; the database keeps its first words."""
        return {"kept back": "withheld", "given up": "abandoned"}.get(self.value, self.value)


@dataclass(frozen=True)
class Delivery:
    """One result on its way to one destination.

    Parameters
    ----------
    status
        The last C-STORE status that came back; None when none has.
    acknowledged_at
        When it was last acknowledged; also of one that is pending, when a person has asked for
        it to be sent again.
    """

    result: Result
    destination: str
    state: DeliveryState
    attempts: int
    status: int | None
    note: str
    acknowledged_at: datetime | None


@dataclass(frozen=True)
class Hold:
    """Nothing is sent to a destination until a person releases it; what is for it waits.

    Parameters
    ----------
    released_by, released_at
        Empty and None while it lasts.
    """

    destination: str
    reason: str
    held_by: str
    held_at: datetime
    released_by: str = ""
    released_at: datetime | None = None

    def __str__(self) -> str:
        """As a person reads it."""
        since = f"{self.held_at:%Y-%m-%d %H:%M} UTC"
        because = f": {self.reason}" if self.reason else ""
        return f"{self.destination} is held by {self.held_by} since {since}{because}"


def standstill(
    job: Job, deliveries: Sequence[Delivery], holds: Sequence[Hold], shadow: Iterable[str] = ()
) -> str:
    """Why nothing happens to a job at the moment, in words; empty when it goes on by itself.

    Parameters
    ----------
    holds
        Those that last.
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
class _Sight:
    marker: Hashable
    still_s: float
    seen_at: float


class StallDetector:
    """For how long things have looked the same, on one process's monotonic clock.

    Quiet studies, silent workers and waiting jobs are all measured with it. A restart merely
    begins anew. A gap between two looks counts as `longest_gap_s` at most: after a pause of the
    machine or the database, a worker gets the time to show that it lives.
    """

    def __init__(self, longest_gap_s: float = 5.0) -> None:
        self._longest_gap_s = longest_gap_s
        self._sights: dict[Hashable, _Sight] = {}

    def still_for_s(self, key: Hashable, marker: Hashable, now: float) -> float:
        """Seconds for which `key` has been seen with this marker; `now` is monotonic."""
        before = self._sights.get(key)
        if before is None or before.marker != marker:
            sight = _Sight(marker, 0.0, now)
        else:
            gap_s = min(max(now - before.seen_at, 0.0), self._longest_gap_s)
            sight = _Sight(marker, before.still_s + gap_s, now)
        self._sights[key] = sight
        return sight.still_s

    def keep_only(self, keys: Iterable[Hashable]) -> None:
        """Forget everything that is no longer watched."""
        kept = set(keys)
        self._sights = {key: sight for key, sight in self._sights.items() if key in kept}
