"""What the doctor makes of what it finds."""

from datetime import UTC, datetime, timedelta

import pytest

from sij_node.config.settings import Config
from sij_node.doctor.check_results import (
    EXIT_CODES,
    Certificate,
    CheckResult,
    CheckTopic,
    ClockState,
    EchoOutcome,
    RoundTrip,
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
from sij_node.domain.health import HealthStatus
from sij_node.domain.peer_activity import PeerActivity

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PEER = {"ae_title": "PACS", "networks": ["10.0.0.0/8"], "host": "10.0.0.1", "port": 104}


def configured(peer: dict[str, object] | None = None, **sections: dict[str, object]) -> Config:
    node = {"ae_title": "SIJNODE", "data_folder": "data"}
    return Config.model_validate({"node": node, "peer": [PEER | (peer or {})], **sections})


def line(part: CheckTopic, verdict: HealthStatus) -> CheckResult:
    return CheckResult(part, verdict, "words", "advice")


def test_a_script_learns_what_failed_first():
    found = [
        line(CheckTopic.STUDY, HealthStatus.FAILED),
        line(CheckTopic.DISK, HealthStatus.FAILED),
        line(CheckTopic.CLOCK, HealthStatus.WARNING),
    ]

    assert exit_code(found) == EXIT_CODES[CheckTopic.DISK] == 11


def test_warnings_alone_are_1_and_nothing_is_0():
    assert (
        exit_code(
            [line(CheckTopic.CLOCK, HealthStatus.WARNING), line(CheckTopic.DISK, HealthStatus.OK)]
        )
        == 1
    )
    assert exit_code([line(CheckTopic.DISK, HealthStatus.OK)]) == 0


def test_a_loopback_listener_is_reported_if_peers_are_remote():
    on_loopback = [one.verdict for one in configuration_lines(configured())]
    on_all = [one.verdict for one in configuration_lines(configured(listener={"host": "0.0.0.0"}))]

    assert on_loopback == [HealthStatus.OK, HealthStatus.WARNING]
    assert on_all == [HealthStatus.OK]


@pytest.mark.parametrize(
    ("free_mb", "sync_s", "verdict"),
    [
        (90_000, 0.004, HealthStatus.OK),
        (90_000, 0.2, HealthStatus.WARNING),
        (3000, 0.004, HealthStatus.WARNING),
        (500, 0.004, HealthStatus.FAILED),
    ],
)
def test_a_disk_that_is_full_or_slow_is_told(free_mb, sync_s, verdict):
    assert disk_line(free_mb, sync_s, configured()).verdict is verdict


@pytest.mark.parametrize(
    ("current", "verdict"),
    [
        ("v2", HealthStatus.OK),
        (None, HealthStatus.OK),
        ("v1", HealthStatus.WARNING),
        ("v9", HealthStatus.FAILED),
    ],
)
def test_tables_of_another_version_are_told(current, verdict):
    assert schema_line("jobs.sqlite", current, "v2", ["v2", "v1"]).verdict is verdict


@pytest.mark.parametrize(
    ("began", "ends", "verdict"),
    [
        (-30, 300, HealthStatus.OK),
        (-30, 20, HealthStatus.WARNING),
        (-30, -1, HealthStatus.FAILED),
        (1, 300, HealthStatus.FAILED),
    ],
)
def test_a_certificate_is_told_before_it_expires_and_after(began, ends, verdict):
    day = timedelta(days=1)
    certificate = Certificate("CN=node", NOON + began * day, NOON + ends * day)

    assert certificate_line("[listener.tls]", certificate, NOON).verdict is verdict


def test_a_chain_in_the_wrong_order_is_told():
    far = NOON + timedelta(days=900)
    certificate = Certificate("CN=node", NOON, far, issued_by_next=False)

    assert certificate_line("[listener.tls]", certificate, NOON).verdict is HealthStatus.FAILED


def test_a_port_is_ours_or_free_or_somebody_elses():
    said = [
        port_line("The listener", "h:1", *found).verdict
        for found in [(False, True), (True, False), (False, False)]
    ]

    assert said == [HealthStatus.OK, HealthStatus.OK, HealthStatus.FAILED]


@pytest.mark.parametrize(
    ("right", "wrong", "may_call", "verdict"),
    [
        (EchoOutcome.ACCEPTED, EchoOutcome.REJECTED, True, HealthStatus.OK),
        (EchoOutcome.REJECTED, EchoOutcome.REJECTED, False, HealthStatus.OK),
        (EchoOutcome.REJECTED, EchoOutcome.REJECTED, True, HealthStatus.FAILED),
        (EchoOutcome.NONE, EchoOutcome.NONE, True, HealthStatus.FAILED),
        (EchoOutcome.NONE, EchoOutcome.NONE, False, HealthStatus.FAILED),
        (EchoOutcome.ACCEPTED, EchoOutcome.ACCEPTED, True, HealthStatus.FAILED),
    ],
)
def test_the_door_must_let_in_the_right_and_only_the_right(right, wrong, may_call, verdict):
    assert door_line("h:1", right, wrong, may_call).verdict is verdict


def test_a_silent_peer_fails_and_one_in_shadow_mode_only_warns():
    (peer,), (shadow,) = configured().peer, configured({"shadow": True}).peer

    assert outgoing_line(peer, "").verdict is HealthStatus.OK
    assert outgoing_line(peer, "cannot be reached").verdict is HealthStatus.FAILED
    assert outgoing_line(shadow, "cannot be reached").verdict is HealthStatus.WARNING


def test_a_peer_that_never_called_or_was_refused_last_is_told():
    (peer,) = configured().peer
    hour = timedelta(hours=1)
    refused = PeerActivity(
        "PACS",
        accepted_at=NOON - 2 * hour,
        refused_at=NOON - hour,
        refused_because="its address is not configured",
    )

    assert incoming_line(peer, None, NOON).verdict is HealthStatus.WARNING
    assert "address is not configured" in incoming_line(peer, refused, NOON).words
    called = incoming_line(peer, PeerActivity("PACS", accepted_at=NOON - hour), NOON)
    assert (called.verdict, "60 min ago" in called.words) == (HealthStatus.OK, True)


@pytest.mark.parametrize(
    ("wish", "gpus", "verdict"),
    [
        ("auto", [], HealthStatus.OK),
        ("auto", ["H200, 141 GB"], HealthStatus.OK),
        ("cpu", ["H200, 141 GB"], HealthStatus.OK),
        ("cuda", [], HealthStatus.FAILED),
    ],
)
def test_a_gpu_that_is_wanted_and_missing_is_told(wish, gpus, verdict):
    assert device_line(wish, gpus, 2).verdict is verdict


def test_a_clock_that_nobody_sets_or_that_jumps_is_told():
    assert clock_line(ClockState(True, 0.01, 0.0, "UTC")).verdict is HealthStatus.OK
    assert clock_line(ClockState(None, 0.0, 0.0, "UTC")).verdict is HealthStatus.OK
    assert clock_line(ClockState(False, 16.0, 0.0, "UTC")).verdict is HealthStatus.WARNING
    assert clock_line(ClockState(True, 0.01, -3600.0, "UTC")).verdict is HealthStatus.WARNING


def test_a_study_that_stopped_says_where():
    assert study_line(RoundTrip("")).verdict is HealthStatus.OK
    assert study_line(RoundTrip("The node ended with status 78: x")).words.endswith("78: x")
