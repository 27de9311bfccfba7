"""The view models of the peers and health pages."""

import re
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
from sij_node.web.templating import ENVIRONMENT
from sij_node.web.view_models.display_text import Tone
from sij_node.web.view_models.health_view import HealthPage, health_page
from sij_node.web.view_models.node_problems import running_workers, tone_of
from sij_node.web.view_models.peers_view import PeerCard, peer_cards
from tests.support.job_views import NOW, job_in

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


def rendered(shown: HealthPage) -> str:
    """The HTML of the health page."""
    return ENVIRONMENT.get_template("health_live.html").render(shown=shown, digest="")


def rows(shown: HealthPage, section: str) -> list[str]:
    """The text of the table rows of one section."""
    table = rendered(shown).split(f'id="{section}"')[1].split("</section>")[0].split("<tbody")[1]
    text = [re.sub(r"<[^>]+>", " ", row) for row in table.split("<tr")[1:]]
    return [" ".join(row.partition(">")[2].split()) for row in text]


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
        (replace(IN_ORDER, is_configured=False), SEEN, "no longer configured"),
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
    assert "3 jobs pending" in shown.wrong.message
    assert shown.wrong.action


def test_peers_with_problems_come_first():
    other = replace(IN_ORDER, ae_title="ABROAD", is_configured=False)

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
    shown = card(replace(IN_ORDER, hold=HOLD))

    assert str(shown.peer.destination.hold).endswith(
        "held by meier since 2026-03-04 09:00 UTC: maintenance"
    )


def test_when_all_is_well_the_page_says_so():
    assert page().summary == "All systems OK"
    assert {tone_of(one.status) for one in page().conditions} == {Tone.GOOD}


def test_the_worst_part_comes_first_with_what_to_do():
    first, *_ = rows(page(replace(HEALTHY, free_mb=500)), "h-parts")

    assert first.startswith("Disk failed ")
    assert 'class="chip bad">failed' in rendered(page(replace(HEALTHY, free_mb=500)))
    assert " Action: " in first


def test_a_silent_process_comes_first_and_says_for_how_long():
    facts = replace(
        HEALTHY, processes=(*HEALTHY.processes, ProcessHeartbeat(replace(WORKER, name="b:1"), 400))
    )

    first, *_ = rows(page(facts), "h-processes")

    assert first.startswith("b:1 worker no heartbeat for 6 min ")
    assert 'class="chip bad">no heartbeat' in rendered(page(facts))


def test_the_memory_of_a_gpu_is_shown():
    gpu = replace(WORKER, gpu_used_mb=5200.0, gpu_total_mb=16000.0)

    (line,) = rows(page(replace(HEALTHY, processes=(ProcessHeartbeat(gpu, 0),))), "h-processes")

    assert "5.2 of 16.0 GB" in line


def test_the_oldest_unfinished_job_is_named_with_its_age():
    shown = rendered(page(oldest=job_in(State.QUEUED)))

    assert '<a id="oldest" href="/jobs/41">Job 41</a>, queued, 4 min old' in shown


def test_a_database_that_does_not_answer_hides_nothing_else():
    shown = page(replace(HEALTHY, database_error="It is locked.", processes=()))

    found = rows(shown, "h-parts")
    assert "It is locked." in found[0]
    assert any(line.startswith("Disk ") for line in found)


def test_only_workers_that_give_signs_of_life_count():
    facts = replace(
        HEALTHY, processes=(*HEALTHY.processes, ProcessHeartbeat(replace(WORKER, name="b:1"), 400))
    )

    assert running_workers(HealthReport(facts, ()), LIMITS) == 1
    assert running_workers(HealthReport(replace(facts, database_error="gone"), ()), LIMITS) is None
