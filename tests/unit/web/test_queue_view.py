"""The view model of the queue page."""

from datetime import timedelta
from urllib.parse import parse_qs

import pytest

from sij_node.config.settings import StudyConfig
from sij_node.domain.health import Component, Condition, HealthStatus
from sij_node.domain.job import State
from sij_node.domain.job_list import JobFilter, JobOrder, JobPage
from sij_node.web.view_models.display_text import STATE_MEANS, STATE_TONES, Tone
from sij_node.web.view_models.node_problems import node_problems
from sij_node.web.view_models.queue_view import (
    TROUBLED,
    UNDER_WAY,
    Pace,
    expected,
    job_row,
    query_of,
    queue_page,
    tabs,
    wanted_from,
)
from tests.support.job_views import NOW, job_in

COUNTS = {state: number for number, state in enumerate(State)}
STUDY, NO_PACE = StudyConfig(), Pace()


def said(state: State, pace: Pace = NO_PACE, **changes: object) -> str:
    return expected(job_in(state, **changes), NOW, pace, STUDY)


def test_every_state_has_words_and_a_tone():
    assert set(STATE_MEANS) == set(STATE_TONES) == set(State)


def test_the_tabs_count_all_active_and_attention_jobs():
    shown = {tab.label: tab.count for tab in tabs(JobFilter(), COUNTS)}

    assert shown["All"] == sum(COUNTS.values())
    assert shown["In progress"] == sum(COUNTS[state] for state in UNDER_WAY)
    assert shown["Needs attention"] == sum(COUNTS[state] for state in TROUBLED)
    assert all(shown[state.value.capitalize()] == COUNTS[state] for state in State)


@pytest.mark.parametrize("label", [tab.label for tab in tabs(JobFilter(), COUNTS)])
def test_following_a_tab_shows_what_it_counts_and_marks_it(label: str):
    wanted = JobFilter(source_ae="PACS & Co", words="1.2 %")
    (tab,) = (one for one in tabs(wanted, COUNTS) if one.label == label)

    asked = {name: values[0] for name, values in parse_qs(tab.query).items()}
    followed = wanted_from(asked.get("state", ""), asked["source"], asked["find"])

    assert (followed.source_ae, followed.words) == ("PACS & Co", "1.2 %")
    assert [one.label for one in tabs(followed, COUNTS) if one.chosen] == [label]


def test_an_unknown_state_in_the_address_shows_everything():
    assert wanted_from("<script>", "", "").states == ()


def test_a_long_list_has_pages_and_the_last_has_no_older_one():
    first = queue_page(JobFilter(), 1, JobPage((), 120), COUNTS, (), ())
    last = queue_page(JobFilter(), 3, JobPage((), 120), COUNTS, (), ())

    assert (first.pages, first.later, first.earlier) == (3, "", "page=2")
    assert (last.later, last.earlier) == ("page=2", "")


def test_a_page_beyond_the_last_is_the_last():
    assert queue_page(JobFilter(), 9, JobPage((), 10), COUNTS, (), ()).page == 1


def test_the_state_is_kept_in_the_address_of_the_next_page():
    assert query_of(JobFilter(TROUBLED), 2) == "state=troubled&page=2"


def test_the_order_of_the_list_is_part_of_its_url():
    assert query_of(JobFilter(order=JobOrder.STUDY_DATE)) == "order=study+date"
    assert wanted_from("", "", "", "study date").order is JobOrder.STUDY_DATE
    assert wanted_from("", "", "", "patient").order is JobOrder.NEWEST
    assert query_of(JobFilter((State.NOT_SENT,)), 1) == "state=not+sent"


def test_a_queued_job_can_be_expected_after_those_before_it():
    pace = Pace.of([7, 8, 41, 9], [20.0, 30.0, 40.0], workers=1)

    assert said(State.QUEUED, pace) == "about 2 min"
    assert said(State.QUEUED, pace, job_id=7) == "about 30 s"


def test_more_workers_shorten_the_queue():
    pace = Pace.of([7, 8, 41], [30.0], workers=3)

    assert said(State.QUEUED, pace) == "about 30 s"


def test_without_a_worker_nothing_is_expected():
    assert said(State.QUEUED, Pace.of([41], [30.0], 0)) == "once a worker is running"


def test_without_previous_analyses_no_estimate_is_shown():
    assert said(State.QUEUED, Pace.of([41], [], 1)) == ""


def test_a_job_that_takes_longer_than_usual_is_expected_any_moment():
    changed_at = NOW - timedelta(seconds=100)

    assert said(State.ANALYSING, Pace(analysis_s=30.0), changed_at=changed_at) == "any moment"


@pytest.mark.parametrize("state", [State.QUEUED, State.DELIVERING])
def test_a_job_that_waits_says_for_how_long(state: State):
    assert said(state, wait_s=40.0) == "next attempt within 40 s"


@pytest.mark.parametrize("state", [State.DELIVERED, State.FAILED, State.CANCELLED])
def test_of_a_job_that_is_over_nothing_is_expected(state: State):
    assert said(state, Pace.of([41], [30.0], 1)) == ""


def test_a_row_shows_why_a_job_is_not_moving_on():
    row = job_row(job_in(State.FAILED, reason="The disk is full."), "ab12", NOW, Pace(), STUDY)

    assert (row.note, row.tone, row.patient, row.age) == (
        "The disk is full.",
        Tone.BAD,
        "ab12",
        "4 min",
    )


def test_what_is_in_order_is_no_trouble():
    assert (
        node_problems(
            [Condition(Component.DATABASE, HealthStatus.OK, "Fine.")], dict.fromkeys(State, 0)
        )
        == ()
    )


def test_the_worst_trouble_comes_first_and_leads_to_where_it_is_seen():
    conditions = [
        Condition(Component.DISK, HealthStatus.WARNING, "Little room.", "Make room."),
        Condition(Component.DESTINATION, HealthStatus.FAILED, "PACS is down.", "Check it.", "PACS"),
    ]

    found = node_problems(conditions, dict.fromkeys(State, 0) | {State.FAILED: 2})

    assert [one.words for one in found] == [
        "PACS is down.",
        "Little room.",
        "2 jobs failed.",
    ]
    assert [one.where for one in found] == ["/peers", "/health", "/?state=failed"]
    assert all(one.advice for one in found)


def test_the_conclusion_of_an_analysed_study_is_in_its_row():
    row = job_row(job_in(State.DELIVERED), "ab12", NOW, Pace(), STUDY, "RIGHT: no lesions.")

    assert (row.note, row.result) == ("", "RIGHT: no lesions.")
