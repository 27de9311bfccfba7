"""Alerts are sent once, repeated, resolved, and limited in number."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sij_node.domain.alerts import (
    FAILED_JOBS,
    FAILED_JOBS_EVERY,
    MAX_NAMED_JOBS,
    ActiveAlert,
    AlertKind,
    AlertLine,
    AlertMessage,
    FailedJob,
    WorkingHours,
    alerts_of,
    changed_sender,
    message_of,
    silent_sender,
    subject_of,
    text_of,
    with_failed_jobs,
    working_s,
)
from sij_node.domain.drift import Shift
from sij_node.domain.health import Component, Condition, HealthStatus

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)  # a Monday
REPEAT = timedelta(hours=24)
DOWN = ActiveAlert(
    "destination PACS", HealthStatus.FAILED, "PACS has taken nothing.", "Look at it."
)
DISK = ActiveAlert("disk", HealthStatus.WARNING, "4.0 GB are free.", "Make room.")
BERLIN = WorkingHours(ZoneInfo("Europe/Berlin"), frozenset(range(5)), 8, 18)
NOTHING = AlertMessage((), {})
moments = st.datetimes(
    datetime(2023, 1, 1),
    datetime(2026, 1, 1),
    timezones=st.just(UTC),
)


def reported(notice: AlertMessage) -> list[tuple[AlertKind, str]]:
    return [(line.kind, line.message) for line in notice.lines]


def job(step_id: int) -> FailedJob:
    return FailedJob(step_id, step_id * 10, "PACS", "It crashed.", "1.2.3", "P-17")


# ---- unresolved problems -----------------------------------------------------------------


def test_a_problem_is_alerted_once():
    first = message_of([DOWN], {}, NOON, REPEAT)
    again = message_of([DOWN], first.known, NOON + timedelta(hours=1), REPEAT)

    assert reported(first) == [(AlertKind.NEW, DOWN.message)]
    assert first.lines[0].action == "Look at it."
    assert again.lines == ()


def test_unresolved_alerts_are_repeated_after_repeat_hours():
    first = message_of([DOWN], {}, NOON, REPEAT)
    day = message_of([DOWN], first.known, NOON + REPEAT, REPEAT)
    next_hour = message_of([DOWN], day.known, NOON + REPEAT + timedelta(hours=1), REPEAT)

    assert reported(day) == [(AlertKind.UNRESOLVED, DOWN.message)]
    assert next_hour.lines == ()


def test_a_resolved_alert_states_its_duration():
    first = message_of([DOWN], {}, NOON, REPEAT)
    over = message_of([], first.known, NOON + timedelta(hours=3), REPEAT)

    assert reported(over) == [(AlertKind.RESOLVED, "PACS has taken nothing. This lasted 3 h.")]
    assert over.known == {}


def test_what_grows_worse_is_sent_at_once():
    first = message_of([DISK], {}, NOON, REPEAT)
    full = ActiveAlert("disk", HealthStatus.FAILED, "0.2 GB are free.", "Make room.")
    worse = message_of([full], first.known, NOON + timedelta(minutes=5), REPEAT)

    assert reported(worse) == [(AlertKind.NEW, full.message)]
    assert worse.known["disk"].since == NOON


def test_a_clock_set_back_repeats_no_alert():
    first = message_of([DOWN], {}, NOON, REPEAT)

    assert message_of([DOWN], first.known, NOON - timedelta(days=400), REPEAT).lines == ()


@given(st.lists(st.sets(st.sampled_from("abcd")), max_size=30))
def test_every_alert_resolves_once_and_is_never_repeated_in_a_row(looks):
    known, open_keys = {}, set()
    for minute, keys in enumerate([*looks, set()]):
        found = [ActiveAlert(key, HealthStatus.FAILED, key, "") for key in keys]
        notice = message_of(found, known, NOON + timedelta(minutes=minute), REPEAT)
        for line in notice.lines:
            key = line.message[0]
            assert (line.kind is AlertKind.NEW) is (key not in open_keys)
            (open_keys.add if line.kind is AlertKind.NEW else open_keys.remove)(key)
        known = notice.known
        assert open_keys == set(keys)


def test_only_conditions_that_need_action_raise_an_alert():
    conditions = [
        Condition(component, status, "A message.", "An action.", "X")
        for component in Component
        for status in HealthStatus
    ]

    alerted = {(one.key, one.status) for one in alerts_of(conditions)}

    assert ("destination X", HealthStatus.FAILED) in alerted
    assert ("destination X", HealthStatus.WARNING) not in alerted
    assert ("disk X", HealthStatus.WARNING) in alerted
    assert not any(status is HealthStatus.OK for _, status in alerted)


# ---- failed jobs -------------------------------------------------------------------------


def test_failed_jobs_are_sent_at_once_and_then_at_most_every_hour():
    first = with_failed_jobs(NOTHING, [job(1)], NOON, with_patients=False)
    soon = with_failed_jobs(
        AlertMessage((), first.known),
        [job(1), job(2)],
        NOON + FAILED_JOBS_EVERY / 2,
        with_patients=False,
    )
    later = with_failed_jobs(
        AlertMessage((), first.known),
        [job(1), job(2), job(3)],
        NOON + FAILED_JOBS_EVERY,
        with_patients=False,
    )

    assert len(first.lines) == 1
    assert soon.lines == ()
    assert ["Job 20 " in line.message for line in later.lines] == [True, False]
    assert later.known[FAILED_JOBS].last_step_id == 3


def test_a_bad_night_is_one_notice_with_a_limit():
    jobs = [job(number) for number in range(1, 501)]

    notice = with_failed_jobs(NOTHING, jobs, NOON, with_patients=False)

    assert len(notice.lines) == MAX_NAMED_JOBS + 1
    assert notice.lines[-1].message == f"{500 - MAX_NAMED_JOBS} more jobs failed."
    assert notice.known[FAILED_JOBS].last_step_id == 500


def test_patients_are_named_only_where_a_site_has_switched_that_on():
    silent, telling = (
        with_failed_jobs(NOTHING, [job(1)], NOON, with_patients=choice) for choice in (False, True)
    )

    assert not {"P-17", "1.2.3"} & set(silent.lines[0].message.replace(",", " ").split())
    assert "patient P-17, study 1.2.3" in telling.lines[0].message


def test_what_is_remembered_of_failed_jobs_is_no_trouble_that_ends():
    first = with_failed_jobs(NOTHING, [job(1)], NOON, with_patients=False)

    assert message_of([], first.known, NOON + REPEAT, REPEAT).lines == ()


# ---- working hours -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ("2024-05-06T10:00", "2024-05-06T12:00", 2),
        ("2024-05-06T06:00", "2024-05-06T23:00", 10),
        ("2024-05-03T17:00", "2024-05-06T09:00", 2),  # over a weekend
        ("2024-05-04T00:00", "2024-05-05T23:00", 0),
        ("2024-03-29T18:00", "2024-04-01T08:00", 0),  # over the change to summer time
        ("2024-05-06T12:00", "2024-05-06T10:00", 0),  # a clock that was set back
    ],
)
def test_only_working_hours_count(start, end, hours):
    zone = BERLIN.zone
    first, last = (datetime.fromisoformat(one).replace(tzinfo=zone) for one in (start, end))

    assert working_s(first, last, BERLIN) == hours * 3600


@given(moments, moments, moments)
def test_working_time_adds_up(one, other, third):
    start, between, end = sorted([one, other, third])

    parts = working_s(start, between, BERLIN) + working_s(between, end, BERLIN)
    assert parts == pytest.approx(working_s(start, end, BERLIN))
    assert 0 <= parts <= (end - start).total_seconds() + 1e-6


def test_a_sender_is_silent_after_working_hours_and_not_after_a_night():
    friday_evening = datetime(2024, 5, 3, 17, 30, tzinfo=BERLIN.zone)
    monday = datetime(2024, 5, 6, 9, 0, tzinfo=BERLIN.zone)

    assert silent_sender("PACS", friday_evening, monday, 4, BERLIN) is None
    found = silent_sender("PACS", friday_evening, monday + timedelta(hours=4), 4, BERLIN)
    assert found.message == "No study from PACS for 5 h of working time."


# ---- drift and words ---------------------------------------------------------------------


def test_drift_names_what_has_changed_and_how():
    shifts = [Shift("T1 pixel mm", 0.5, 0.7, 0.9, 0.4), Shift("T1 slices", 20, 21, 0.1, 0.4)]

    assert changed_sender("PACS", shifts[1:]) is None
    assert "T1 pixel mm 0.5, now 0.7." in changed_sender("PACS", shifts).message


def test_the_subject_names_the_worst_of_what_is_new():
    lines = [
        AlertLine(AlertKind.RESOLVED, HealthStatus.OK, "Over it is."),
        AlertLine(AlertKind.NEW, HealthStatus.WARNING, "Less bad."),
        AlertLine(AlertKind.NEW, HealthStatus.FAILED, "PACS\nis down."),
    ]

    assert subject_of("SIJNODE", lines) == "[SIJNODE] New: PACS is down. (and 2 more)"


def test_the_text_says_what_to_do_and_where():
    text = text_of(
        "SIJNODE", [AlertLine(AlertKind.NEW, HealthStatus.FAILED, "Down.", "Look.")], "http://x:1"
    )

    assert text.startswith("New: Down.\n    Look.\n\n--\nSIJNODE, http://x:1\n")
    assert "not for clinical use" in text
