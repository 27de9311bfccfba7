"""Charts over time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sij_node.domain.job import State, Step
from sij_node.domain.job_list import ChartEvent
from sij_node.web.chart_svg import drawn, nice
from sij_node.web.view_models.chart_view import Range, Slots, charts

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)


def happened(
    step: Step, to: State, hours_ago: float = 0.2, job_id: int = 1, took_s: float = 60
) -> ChartEvent:
    at = NOW - timedelta(hours=hours_ago)
    return ChartEvent(job_id, step, to, at, at - timedelta(seconds=took_s))


def delivered(hours_ago: float, took_s: float = 60, job_id: int = 1) -> ChartEvent:
    return happened(Step.ACKNOWLEDGED, State.DELIVERED, hours_ago, job_id, took_s)


@pytest.mark.parametrize(
    ("chosen", "count"), [(Range.DAY, 24), (Range.WEEK, 28), (Range.MONTH, 30)]
)
def test_the_last_slot_holds_the_present(chosen: Range, count: int):
    slots = Slots.until(NOW, chosen)

    assert len(slots.begins) == count
    assert slots.place(NOW) == count - 1


@given(back=st.floats(min_value=0, max_value=40 * 24), chosen=st.sampled_from(Range))
def test_a_moment_lies_in_its_slot_or_before_all(back: float, chosen: Range):
    slots, at = Slots.until(NOW, chosen), NOW - timedelta(hours=back)

    place = slots.place(at)

    if place is None:
        assert at < slots.begins[0]
    else:
        assert slots.begins[place] <= at < slots.begins[place] + slots.each


def test_studies_are_counted_by_how_they_ended_and_when():
    slots = Slots.until(NOW, Range.DAY)
    throughput, _, _ = charts(
        [
            delivered(0.2),
            delivered(5),
            happened(Step.REJECT, State.REJECTED),
            happened(Step.ACKNOWLEDGED, State.REJECTED),  # the notice, not a result
            happened(Step.GIVE_UP, State.FAILED),
            delivered(400),
        ],
        slots,
    )

    done, rejected, failed = throughput.series
    assert [sum(one.values) for one in (done, rejected, failed)] == [2, 1, 1]
    assert done.values[-1] == done.values[-6] == 1
    assert throughput.summary == "2 delivered, 1 rejected, 1 failed."


def test_turnaround_is_shown_as_median_and_95th_percentile():
    many = [delivered(0.2, took_s=seconds) for seconds in range(1, 101)]

    _, latency, _ = charts(many, Slots.until(NOW, Range.DAY))

    most, half, _ = latency.series
    assert (most.values[-1], half.values[-1]) == (95, 50.5)
    assert "Median 50.5 s from first image to delivery" in latency.summary


def test_the_time_of_an_analysis_is_from_claim_to_result():
    claimed = happened(Step.CLAIMED, State.ANALYSING, hours_ago=0.2)
    stored = happened(Step.RESULTS_STORED, State.DELIVERING, hours_ago=0.2 - 12 / 3600)

    _, latency, _ = charts([claimed, stored], Slots.until(NOW, Range.DAY))

    assert latency.series[2].values[-1] == pytest.approx(12)


def test_failed_attempts_are_counted_even_after_a_success():
    _, _, failures = charts(
        [happened(Step.DELIVERY_FAILED, State.DELIVERING), delivered(0.1)],
        Slots.until(NOW, Range.DAY),
    )

    assert [sum(one.values) for one in failures.series] == [0, 1, 0]


def test_nothing_at_all_makes_empty_charts_with_words():
    for chart in charts([], Slots.until(NOW, Range.MONTH)):
        assert chart.rows == []
        assert chart.summary
        assert drawn(chart).startswith("<svg")


def test_the_table_says_what_the_chart_shows():
    throughput, _, _ = charts([delivered(0.2), delivered(0.1)], Slots.until(NOW, Range.DAY))

    assert throughput.rows == [(throughput.slots.label(23), ["2", "0", "0"])]
    assert "2 delivered" in drawn(throughput)


@given(st.floats(min_value=0, max_value=1e7))
def test_the_top_of_an_axis_is_round_and_not_below_what_it_shows(value: float):
    assert value <= nice(value) <= max(4, 2.5 * value)
