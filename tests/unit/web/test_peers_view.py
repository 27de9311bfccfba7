"""The view models of the peers and health pages."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sij_node.config.settings import HealthConfig, PeerConfig
from sij_node.domain.health import (
    FailingDestination,
    HealthFacts,
    Process,
    ProcessHeartbeat,
    ProcessRole,
    health,
)
from sij_node.domain.job import Hold, State
from sij_node.domain.peer_activity import PeerActivity
from sij_node.operate.admin import DestinationStatus, PeerStatus
from sij_node.operate.health_check import HealthReport
from sij_node.web.view_models.display_text import Tone
from sij_node.web.view_models.health_view import health_page
from sij_node.web.view_models.node_problems import running_workers
from sij_node.web.view_models.peers_view import PeerCard, peer_cards
from tests.support.job_views import NOW, job

LIMITS = HealthConfig()
WORKER = Process(
    "host:71", ProcessRole.WORKER, "host", 71, "0.1.0", NOW, "cpu", weights="contour 0.2.0"
)
HEALTHY = HealthFacts(
    min_free_mb=1000,
    destinations=("PACS",),
    free_mb=80_000,
    processes=(
        ProcessHeartbeat(replace(WORKER, name="host:70", role=ProcessRole.LISTENER), 1.0),
        ProcessHeartbeat(WORKER, 2.0),
    ),
)
PEER = PeerConfig(ae_title="PACS", networks=("127.0.0.1",), host="pacs", port=104)
SEEN = PeerActivity("PACS", "10.0.0.7", accepted_at=NOW - timedelta(minutes=5))
IN_ORDER = DestinationStatus("PACS", True, False, None, 0, 0)
HOLD = Hold("PACS", "maintenance", "meier", datetime(2026, 3, 4, 9, tzinfo=UTC))


def card(
    destination: DestinationStatus = IN_ORDER,
    contact: PeerActivity = SEEN,
    facts: HealthFacts = HEALTHY,
) -> PeerCard:
    peer = PeerStatus(destination, PEER, contact, None)
    (one,) = peer_cards((peer,), health(facts, LIMITS), NOW)
    return one


def page(facts: HealthFacts = HEALTHY, **changes: object):
    checkup = HealthReport(facts, health(facts, LIMITS))
    return health_page(checkup, LIMITS.heartbeat_timeout_s, changes.get("oldest"), "SQLite", NOW)


def test_an_active_peer_is_ok_and_shows_its_last_contact():
    shown = card()

    assert (shown.tone, shown.state) == (Tone.GOOD, "OK")
    assert shown.seen.startswith("5 min ago from 10.0.0.7")


@pytest.mark.parametrize(
    ("destination", "contact", "state"),
    [
        (IN_ORDER, PeerActivity("PACS"), "no contact yet"),
        (replace(IN_ORDER, hold=HOLD), SEEN, "held"),
        (replace(IN_ORDER, shadow=True), SEEN, "shadow mode"),
        (replace(IN_ORDER, is_peer=False), SEEN, "no longer configured"),
        (
            IN_ORDER,
            replace(SEEN, echo_out_at=NOW, echo_out_error="no response"),
            "last C-ECHO failed",
        ),
    ],
)
def test_a_peer_shows_its_status(destination: DestinationStatus, contact: PeerActivity, state: str):
    assert card(destination, contact).state == state


def test_a_peer_without_successful_deliveries_shows_what_to_do():
    stuck = FailingDestination("PACS", 3, 3600, False, "It cannot be reached.")

    shown = card(facts=replace(HEALTHY, stuck={"PACS": stuck}))

    assert (shown.tone, shown.state) == (Tone.BAD, "delivery failing")
    assert "3 jobs pending" in shown.problem
    assert shown.advice


def test_peers_with_problems_come_first():
    other = replace(IN_ORDER, ae_title="ABROAD", is_peer=False)

    cards = peer_cards(
        (
            PeerStatus(IN_ORDER, PEER, SEEN, None),
            PeerStatus(other, None, PeerActivity("ABROAD"), None),
        ),
        (),
        NOW,
    )

    assert [one.title for one in cards] == ["ABROAD", "PACS"]


def test_a_hold_says_who_and_why():
    assert card(replace(IN_ORDER, hold=HOLD)).hold.endswith(
        "held by meier since 2026-03-04 09:00 UTC: maintenance"
    )


def test_when_all_is_well_the_page_says_so():
    assert page().summary == "All systems OK"
    assert {one.tone for one in page().parts} == {Tone.GOOD}


def test_the_worst_part_comes_first_with_what_to_do():
    first = page(replace(HEALTHY, free_mb=500)).parts[0]

    assert (first.name, first.tone, first.verdict) == ("Disk", Tone.BAD, "failed")
    assert first.advice


def test_a_silent_process_comes_first_and_says_for_how_long():
    facts = replace(
        HEALTHY, processes=(*HEALTHY.processes, ProcessHeartbeat(replace(WORKER, name="b:1"), 400))
    )

    first = page(facts).processes[0]

    assert (first.name, first.heartbeat, first.tone) == ("b:1", "no heartbeat for 6 min", Tone.BAD)


def test_the_memory_of_a_gpu_is_told():
    gpu = replace(WORKER, gpu_used_mb=5200.0, gpu_total_mb=16000.0)

    (line,) = page(replace(HEALTHY, processes=(ProcessHeartbeat(gpu, 0),))).processes

    assert line.memory == "5.2 of 16.0 GB"


def test_the_oldest_unfinished_job_is_named_with_its_age():
    oldest = page(oldest=job(State.QUEUED)).oldest

    assert (oldest.job.job_id, oldest.age) == (41, "4 min")


def test_a_database_that_does_not_answer_hides_nothing_else():
    shown = page(replace(HEALTHY, database_error="It is locked.", processes=()))

    assert shown.parts[0].words == "It is locked."
    assert "Disk" in [one.name for one in shown.parts]


def test_only_workers_that_give_signs_of_life_count():
    facts = replace(
        HEALTHY, processes=(*HEALTHY.processes, ProcessHeartbeat(replace(WORKER, name="b:1"), 400))
    )

    assert running_workers(HealthReport(facts, ()), LIMITS) == 1
    assert running_workers(HealthReport(replace(facts, database_error="gone"), ()), LIMITS) is None
