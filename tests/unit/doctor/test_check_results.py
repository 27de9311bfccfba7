"""What the doctor makes of what it finds."""

from datetime import UTC, datetime, timedelta

import pytest

from sij_node.config.settings import Config
from sij_node.doctor.check_results import (
    EXIT_CODES,
    Answer,
    Certificate,
    Clock,
    Line,
    Part,
    Trial,
    certificate_line,
    clock_line,
    configuration_lines,
    device_line,
    disk_line,
    door_line,
    exit_code,
    incoming_line,
    outgoing_line,
    port_line,
    schema_line,
    study_line,
)
from sij_node.domain.health import Verdict
from sij_node.store.peer_activity import Contact

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PEER = {"ae_title": "PACS", "networks": ["10.0.0.0/8"], "host": "10.0.0.1", "port": 104}


def configured(peer: dict[str, object] | None = None, **sections: dict[str, object]) -> Config:
    node = {"ae_title": "SIJNODE", "data_folder": "data"}
    return Config.model_validate({"node": node, "peer": [PEER | (peer or {})], **sections})


def line(part: Part, verdict: Verdict) -> Line:
    return Line(part, verdict, "words", "advice")


def test_a_script_learns_what_failed_first():
    found = [
        line(Part.STUDY, Verdict.FAILED),
        line(Part.DISK, Verdict.FAILED),
        line(Part.CLOCK, Verdict.WARNING),
    ]

    assert exit_code(found) == EXIT_CODES[Part.DISK] == 11


def test_warnings_alone_are_1_and_nothing_is_0():
    assert exit_code([line(Part.CLOCK, Verdict.WARNING), line(Part.DISK, Verdict.OK)]) == 1
    assert exit_code([line(Part.DISK, Verdict.OK)]) == 0


def test_a_listener_on_loopback_is_told_from_peers_that_cannot_reach_it():
    on_loopback = [one.verdict for one in configuration_lines(configured())]
    on_all = [one.verdict for one in configuration_lines(configured(listener={"host": "0.0.0.0"}))]

    assert on_loopback == [Verdict.OK, Verdict.WARNING]
    assert on_all == [Verdict.OK]


@pytest.mark.parametrize(
    ("free_mb", "sync_s", "verdict"),
    [
        (90_000, 0.004, Verdict.OK),
        (90_000, 0.2, Verdict.WARNING),
        (3000, 0.004, Verdict.WARNING),
        (500, 0.004, Verdict.FAILED),
    ],
)
def test_a_disk_that_is_full_or_slow_is_told(free_mb, sync_s, verdict):
    assert disk_line(free_mb, sync_s, configured()).verdict is verdict


@pytest.mark.parametrize(
    ("current", "verdict"),
    [
        ("v2", Verdict.OK),
        (None, Verdict.OK),
        ("v1", Verdict.WARNING),
        ("v9", Verdict.FAILED),
    ],
)
def test_tables_of_another_version_are_told(current, verdict):
    assert schema_line("jobs.sqlite", current, "v2", ["v2", "v1"]).verdict is verdict


@pytest.mark.parametrize(
    ("began", "ends", "verdict"),
    [
        (-30, 300, Verdict.OK),
        (-30, 20, Verdict.WARNING),
        (-30, -1, Verdict.FAILED),
        (1, 300, Verdict.FAILED),
    ],
)
def test_a_certificate_is_told_before_it_expires_and_after(began, ends, verdict):
    day = timedelta(days=1)
    certificate = Certificate("CN=node", NOON + began * day, NOON + ends * day)

    assert certificate_line("[listener.tls]", certificate, NOON).verdict is verdict


def test_a_chain_in_the_wrong_order_is_told():
    far = NOON + timedelta(days=900)
    certificate = Certificate("CN=node", NOON, far, issued_by_next=False)

    assert certificate_line("[listener.tls]", certificate, NOON).verdict is Verdict.FAILED


def test_a_port_is_ours_or_free_or_somebody_elses():
    said = [
        port_line("The listener", "h:1", *found).verdict
        for found in [(False, True), (True, False), (False, False)]
    ]

    assert said == [Verdict.OK, Verdict.OK, Verdict.FAILED]


@pytest.mark.parametrize(
    ("right", "wrong", "may_call", "verdict"),
    [
        (Answer.ACCEPTED, Answer.REJECTED, True, Verdict.OK),
        (Answer.REJECTED, Answer.REJECTED, False, Verdict.OK),
        (Answer.REJECTED, Answer.REJECTED, True, Verdict.FAILED),
        (Answer.NONE, Answer.NONE, True, Verdict.FAILED),
        (Answer.NONE, Answer.NONE, False, Verdict.FAILED),
        (Answer.ACCEPTED, Answer.ACCEPTED, True, Verdict.FAILED),
    ],
)
def test_the_door_must_let_in_the_right_and_only_the_right(right, wrong, may_call, verdict):
    assert door_line("h:1", right, wrong, may_call).verdict is verdict


def test_a_peer_that_does_not_answer_fails_and_one_in_shadow_mode_only_warns():
    (peer,), (shadow,) = configured().peer, configured({"shadow": True}).peer

    assert outgoing_line(peer, "").verdict is Verdict.OK
    assert outgoing_line(peer, "cannot be reached").verdict is Verdict.FAILED
    assert outgoing_line(shadow, "cannot be reached").verdict is Verdict.WARNING


def test_a_peer_that_never_called_or_was_refused_last_is_told():
    (peer,) = configured().peer
    hour = timedelta(hours=1)
    refused = Contact(
        "PACS",
        accepted_at=NOON - 2 * hour,
        refused_at=NOON - hour,
        refused_because="its address is not configured",
    )

    assert incoming_line(peer, None, NOON).verdict is Verdict.WARNING
    assert "address is not configured" in incoming_line(peer, refused, NOON).words
    called = incoming_line(peer, Contact("PACS", accepted_at=NOON - hour), NOON)
    assert (called.verdict, "60 min ago" in called.words) == (Verdict.OK, True)


@pytest.mark.parametrize(
    ("wish", "gpus", "verdict"),
    [
        ("auto", [], Verdict.OK),
        ("auto", ["H200, 141 GB"], Verdict.OK),
        ("cpu", ["H200, 141 GB"], Verdict.OK),
        ("cuda", [], Verdict.FAILED),
    ],
)
def test_a_gpu_that_is_wanted_and_missing_is_told(wish, gpus, verdict):
    assert device_line(wish, gpus, 2).verdict is verdict


def test_a_clock_that_nobody_sets_or_that_jumps_is_told():
    assert clock_line(Clock(True, 0.01, 0.0, "UTC")).verdict is Verdict.OK
    assert clock_line(Clock(None, 0.0, 0.0, "UTC")).verdict is Verdict.OK
    assert clock_line(Clock(False, 16.0, 0.0, "UTC")).verdict is Verdict.WARNING
    assert clock_line(Clock(True, 0.01, -3600.0, "UTC")).verdict is Verdict.WARNING


def test_a_study_that_stopped_says_where():
    assert study_line(Trial("")).verdict is Verdict.OK
    assert study_line(Trial("The node ended with status 78: x")).words.endswith("78: x")
