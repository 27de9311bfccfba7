"""Steps are counted once, whenever they are read."""

from datetime import timedelta

import pytest

from sij_node.domain.job import State, Step
from sij_node.operate.metrics import BUCKETS_S, StepCounts
from sij_node.store.job_statistics import RecordedStep
from tests.support.job_tables import NOON

LIFE = (
    (0, Step.OPENED, None, State.RECEIVING),
    (5, Step.INSTANCE_ARRIVED, State.RECEIVING, State.RECEIVING),
    (20, Step.SETTLED, State.RECEIVING, State.QUEUED),
    (50, Step.CLAIMED, State.QUEUED, State.ANALYSING),
    (57, Step.RESULTS_STORED, State.ANALYSING, State.DELIVERING),
    (58, Step.DELIVERY_CLAIMED, State.DELIVERING, State.DELIVERING),
    (68, Step.DELIVERY_FAILED, State.DELIVERING, State.DELIVERING),
    (157, Step.ACKNOWLEDGED, State.DELIVERING, State.DELIVERED),
)


def life(job_id: int = 1, first: int = 1) -> list[RecordedStep]:
    return [
        RecordedStep(first + n, job_id, step, before, after, NOON + timedelta(seconds=at))
        for n, (at, step, before, after) in enumerate(LIFE)
    ]


def shown(counts: StepCounts, suffix: str, label: str) -> dict[str, float]:
    """Samples of the histogram by one of their labels."""
    (metric,) = counts.seconds_in.collect()
    return {
        sample.labels[label]: sample.value
        for sample in metric.samples
        if sample.name == f"sij_state_seconds_{suffix}"
    }


def test_the_time_in_each_state_is_counted_when_it_is_left():
    counts = StepCounts()

    counts.add(life())

    assert shown(counts, "sum", "state") == {
        State.RECEIVING: 20,
        State.QUEUED: 30,
        State.ANALYSING: 7,
        State.DELIVERING: 100,
    }
    assert counts.steps[Step.CLAIMED] == 1


def test_reading_a_step_again_does_not_count_it_again():
    once, again = StepCounts(), StepCounts()
    once.add(life())

    for end in range(1, len(LIFE) + 1):
        again.add(life()[:end])

    assert again.steps == once.steps
    assert list(again.seconds_in.collect()) == list(once.seconds_in.collect())


def test_a_step_that_was_committed_late_is_counted_when_it_appears():
    counts = StepCounts()
    late, others = life(1, 1)[:1], life(2, 2)

    counts.add(others)
    assert counts.read_from == 0
    counts.add([*late, *others])

    assert counts.steps[Step.OPENED] == 2


def test_what_is_remembered_does_not_grow_with_the_number_of_jobs():
    counts = StepCounts()

    for job_id in range(2000):
        counts.add(life(job_id, 1 + job_id * len(LIFE)))

    assert len(counts._seen) <= 600
    assert counts._since == {}
    assert counts.steps[Step.ACKNOWLEDGED] == 2000


def test_a_job_that_is_tried_again_long_after_it_failed_counts_from_then():
    counts = StepCounts()
    failed = (Step.GIVE_UP, State.ANALYSING, State.FAILED)
    retried = (Step.RETRIED, State.FAILED, State.QUEUED)
    claimed = (Step.CLAIMED, State.QUEUED, State.ANALYSING)

    counts.add(
        RecordedStep(n, 1, step, before, after, NOON + timedelta(hours=n))
        for n, (step, before, after) in enumerate((failed, retried, claimed), start=1)
    )

    assert shown(counts, "sum", "state") == {State.QUEUED: 3600}


@pytest.mark.parametrize("value", [0, 1, 59.9, 1e6])
def test_every_value_lies_in_the_buckets_at_and_above_it(value):
    counts = StepCounts()

    counts.seconds_in.labels("queued").observe(value)

    buckets = shown(counts, "bucket", "le")
    assert buckets["+Inf"] == 1
    assert all(buckets[str(float(bound))] == float(value <= bound) for bound in BUCKETS_S)
