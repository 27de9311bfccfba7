"""Actions available on a job, and messages when an action has no effect."""

import pytest

from sij_node.domain.job import (
    Delivery,
    DeliveryState,
    Hold,
    JobAction,
    State,
    legal_actions,
    standstill,
)
from tests.support.job_tables import NOON, made
from tests.unit.domain.test_job import job_in

OFFERED = {
    State.RECEIVING: {JobAction.CANCEL, JobAction.SET_PRIORITY},
    State.QUEUED: {JobAction.CANCEL, JobAction.SET_PRIORITY},
    State.ANALYSING: set(),
    State.DELIVERING: {JobAction.CANCEL, JobAction.REANALYSE},
    State.NOT_SENT: {JobAction.REDELIVER, JobAction.REANALYSE},
    State.DELIVERED: {JobAction.REDELIVER, JobAction.REANALYSE},
    State.CONFIRMED: {JobAction.REDELIVER, JobAction.REANALYSE},
    State.REJECTED: {JobAction.RETRY, JobAction.REDELIVER, JobAction.REANALYSE},
    State.FAILED: {JobAction.RETRY, JobAction.REANALYSE},
    State.CANCELLED: {JobAction.REANALYSE},
}


@pytest.mark.parametrize("state", State)
def test_each_state_offers_its_actions_and_no_others(state):
    assert set(legal_actions(job_in(state))) == OFFERED[state]


def test_a_job_that_failed_after_it_had_results_can_send_them():
    assert JobAction.REDELIVER in legal_actions(job_in(State.FAILED, weights="contour 1.0"))


def test_only_a_job_that_waits_can_be_tried_now():
    assert JobAction.TRY_NOW in legal_actions(job_in(State.DELIVERING, wait_s=300.0))
    assert JobAction.TRY_NOW not in legal_actions(job_in(State.DELIVERING))


def test_what_is_being_sent_is_not_sent_a_second_time_meanwhile():
    assert JobAction.REDELIVER not in legal_actions(job_in(State.REJECTED, leased_by="courier"))


def delivery(state: DeliveryState) -> Delivery:
    return Delivery(made(), "PACS", state, 0, None, "", None)


HOLD = Hold("PACS", "migration", "mia", NOON)


def test_a_job_for_a_held_destination_shows_who_held_it_and_why():
    said = standstill(job_in(State.DELIVERING), [delivery(DeliveryState.PENDING)], [HOLD])

    assert said == "PACS is held by mia since 2024-05-06 12:00 UTC: migration"


def test_a_hold_is_not_shown_for_delivered_results():
    job, done = job_in(State.DELIVERED), [delivery(DeliveryState.ACKNOWLEDGED)]

    assert standstill(job, done, [HOLD]) == ""


def test_withheld_results_are_marked():
    job, kept = job_in(State.NOT_SENT), [delivery(DeliveryState.WITHHELD)]

    assert standstill(job, kept, [], ["PACS"]) == "shadow: not sent to PACS"


def test_results_pending_for_a_peer_in_shadow_mode_are_marked():
    job, waiting = job_in(State.DELIVERING), [delivery(DeliveryState.PENDING)]

    assert standstill(job, waiting, [], ["PACS"]) == "PACS is in shadow mode"


def test_a_job_waiting_for_its_next_attempt_shows_how_long():
    waiting = job_in(State.DELIVERING, wait_s=40.0)

    assert "40 s" in standstill(waiting, [delivery(DeliveryState.PENDING)], [])
