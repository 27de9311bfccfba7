"""The doctor's assessment of its measurements."""

from datetime import UTC, datetime, timedelta

import pytest

from sij_node.config.settings import Config
from sij_node.doctor.assessments import (
    EXIT_CODES,
    Certificate,
    ClockState,
    EchoOutcome,
    RoundTrip,
    assess_certificate,
    assess_clock,
    assess_configuration,
    assess_device,
    assess_disk,
    assess_incoming,
    assess_listener,
    assess_outgoing,
    assess_port,
    assess_round_trip,
    assess_schema,
    exit_code,
)
from sij_node.domain.health import Component, Condition, HealthStatus
from sij_node.domain.peer_activity import PeerActivity

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PEER = {"ae_title": "PACS", "networks": ["10.0.0.0/8"], "host": "10.0.0.1", "port": 104}


def configured(peer: dict[str, object] | None = None, **sections: dict[str, object]) -> Config:
    node = {"ae_title": "SIJNODE", "data_folder": "data"}
    return Config.model_validate({"node": node, "peer": [PEER | (peer or {})], **sections})


def line(component: Component, status: HealthStatus) -> Condition:
    return Condition(component, status, "A message.", "An action.")


def test_a_script_learns_what_failed_first():
    found = [
        line(Component.STUDY, HealthStatus.FAILED),
        line(Component.DISK, HealthStatus.FAILED),
        line(Component.CLOCK, HealthStatus.WARNING),
    ]

    assert exit_code(found) == EXIT_CODES[Component.DISK] == 11


def test_warnings_alone_are_1_and_nothing_is_0():
    assert (
        exit_code(
            [line(Component.CLOCK, HealthStatus.WARNING), line(Component.DISK, HealthStatus.OK)]
        )
        == 1
    )
    assert exit_code([line(Component.DISK, HealthStatus.OK)]) == 0


def test_a_loopback_listener_is_reported_if_peers_are_remote():
    on_loopback = [one.status for one in assess_configuration(configured())]
    on_all = [one.status for one in assess_configuration(configured(listener={"host": "0.0.0.0"}))]

    assert on_loopback == [HealthStatus.OK, HealthStatus.WARNING]
    assert on_all == [HealthStatus.OK]


@pytest.mark.parametrize(
    ("free_mb", "sync_s", "status"),
    [
        (90_000, 0.004, HealthStatus.OK),
        (90_000, 0.2, HealthStatus.WARNING),
        (3000, 0.004, HealthStatus.WARNING),
        (500, 0.004, HealthStatus.FAILED),
    ],
)
def test_a_full_or_slow_disk_is_reported(free_mb, sync_s, status):
    assert assess_disk(free_mb, sync_s, configured()).status is status


@pytest.mark.parametrize(
    ("current", "status"),
    [
        ("v2", HealthStatus.OK),
        (None, HealthStatus.OK),
        ("v1", HealthStatus.WARNING),
        ("v9", HealthStatus.FAILED),
    ],
)
def test_tables_of_another_version_are_reported(current, status):
    assert assess_schema("jobs.sqlite", current, "v2", ["v2", "v1"]).status is status


@pytest.mark.parametrize(
    ("began", "ends", "status"),
    [
        (-30, 300, HealthStatus.OK),
        (-30, 20, HealthStatus.WARNING),
        (-30, -1, HealthStatus.FAILED),
        (1, 300, HealthStatus.FAILED),
    ],
)
def test_a_certificate_is_reported_before_and_after_it_expires(began, ends, status):
    day = timedelta(days=1)
    certificate = Certificate("CN=node", NOON + began * day, NOON + ends * day)

    assert assess_certificate("[listener.tls]", certificate, NOON).status is status


def test_a_certificate_chain_in_the_wrong_order_is_reported():
    far = NOON + timedelta(days=900)
    certificate = Certificate("CN=node", NOON, far, issued_by_next=False)

    assert assess_certificate("[listener.tls]", certificate, NOON).status is HealthStatus.FAILED


def test_a_port_is_in_use_by_the_node_by_another_program_or_free():
    said = [
        assess_port("The listener", "h:1", *found).status
        for found in [(False, True), (True, False), (False, False)]
    ]

    assert said == [HealthStatus.OK, HealthStatus.OK, HealthStatus.FAILED]


@pytest.mark.parametrize(
    ("right", "wrong", "may_call", "status"),
    [
        (EchoOutcome.ACCEPTED, EchoOutcome.REJECTED, True, HealthStatus.OK),
        (EchoOutcome.REJECTED, EchoOutcome.REJECTED, False, HealthStatus.OK),
        (EchoOutcome.REJECTED, EchoOutcome.REJECTED, True, HealthStatus.FAILED),
        (EchoOutcome.NO_RESPONSE, EchoOutcome.NO_RESPONSE, True, HealthStatus.FAILED),
        (EchoOutcome.NO_RESPONSE, EchoOutcome.NO_RESPONSE, False, HealthStatus.FAILED),
        (EchoOutcome.ACCEPTED, EchoOutcome.ACCEPTED, True, HealthStatus.FAILED),
    ],
)
def test_the_door_must_let_in_the_right_and_only_the_right(right, wrong, may_call, status):
    assert assess_listener("h:1", right, wrong, may_call).status is status


def test_a_silent_peer_fails_and_one_in_shadow_mode_only_warns():
    (peer,), (shadow,) = configured().peer, configured({"shadow": True}).peer

    assert assess_outgoing(peer, "").status is HealthStatus.OK
    assert assess_outgoing(peer, "cannot be reached").status is HealthStatus.FAILED
    assert assess_outgoing(shadow, "cannot be reached").status is HealthStatus.WARNING


def test_a_peer_never_seen_or_last_rejected_is_reported():
    (peer,) = configured().peer
    hour = timedelta(hours=1)
    refused = PeerActivity(
        "PACS",
        accepted_at=NOON - 2 * hour,
        refused_at=NOON - hour,
        refused_because="its address is not configured",
    )

    assert assess_incoming(peer, None, NOON).status is HealthStatus.WARNING
    assert "address is not configured" in assess_incoming(peer, refused, NOON).message
    called = assess_incoming(peer, PeerActivity("PACS", accepted_at=NOON - hour), NOON)
    assert (called.status, "60 min ago" in called.message) == (HealthStatus.OK, True)


@pytest.mark.parametrize(
    ("wish", "gpus", "status"),
    [
        ("auto", [], HealthStatus.OK),
        ("auto", ["H200, 141 GB"], HealthStatus.OK),
        ("cpu", ["H200, 141 GB"], HealthStatus.OK),
        ("cuda", [], HealthStatus.FAILED),
    ],
)
def test_a_missing_gpu_is_reported_if_configured(wish, gpus, status):
    assert assess_device(wish, gpus, 2).status is status


def test_an_unsynchronised_or_jumping_clock_is_reported():
    assert assess_clock(ClockState(True, 0.01, 0.0, "UTC")).status is HealthStatus.OK
    assert assess_clock(ClockState(None, 0.0, 0.0, "UTC")).status is HealthStatus.OK
    assert assess_clock(ClockState(False, 16.0, 0.0, "UTC")).status is HealthStatus.WARNING
    assert assess_clock(ClockState(True, 0.01, -3600.0, "UTC")).status is HealthStatus.WARNING


def test_a_study_that_stopped_says_where():
    assert assess_round_trip(RoundTrip("")).status is HealthStatus.OK
    stopped = RoundTrip("The node exited with status 78: x")
    assert assess_round_trip(stopped).message.endswith("78: x")
