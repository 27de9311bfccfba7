"""Jobs and histories for tests of the view models."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sij_node.domain.job import (
    Delivery,
    DeliveryState,
    Job,
    JobStep,
    State,
    Step,
    legal_actions,
    next_state,
)
from sij_node.operate.admin import JobHistory
from tests.support.job_tables import made

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>"
QUEUED = Job(
    job_id=41,
    study_uid="1.2.3",
    source_ae="PACS",
    state=State.QUEUED,
    revision=3,
    priority=5,
    analysis_attempts=0,
    delivery_attempts=0,
    leased_by="",
    heartbeat=0,
    wait_s=0.0,
    reason="",
    error_family="",
    weights="",
    predecessor_id=None,
    created_at=NOW - timedelta(minutes=4),
    changed_at=NOW - timedelta(minutes=3),
    instances=40,
)


def job_in(state: State, **changes: object) -> Job:
    """A job in the given state."""
    return replace(QUEUED, state=state, **changes)


def steps(*taken: Step, every_s: float = 10) -> tuple[JobStep, ...]:
    """A history from the creation of the job, with a step every `every_s` seconds."""
    lines = [JobStep(41, Step.OPENED, None, State.RECEIVING, "PACS", "", QUEUED.created_at)]
    for number, step in enumerate(taken, 1):
        before = lines[-1].to_state
        at = QUEUED.created_at + timedelta(seconds=number * every_s)
        lines.append(JobStep(41, step, before, next_state(before, step), "worker 1", "", at))
    return tuple(lines)


def delivery(
    state: DeliveryState = DeliveryState.ACKNOWLEDGED,
    destination: str = "PACS",
    kind: str = "scores",
    **changes: object,
) -> Delivery:
    """A result being delivered."""
    done = state is DeliveryState.ACKNOWLEDGED
    status, at = (0, NOW) if done else (None, None)
    return replace(Delivery(made(kind), destination, state, 1, status, "", at), **changes)


def history(of: Job, *deliveries: Delivery, **changes: object) -> JobHistory:
    """A job with its deliveries and available actions."""
    one = JobHistory(of, steps(), deliveries, (), legal_actions(of))
    return replace(one, **changes)
