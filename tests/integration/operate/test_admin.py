"""User actions are executed once, recorded under the user's name, and only in permitted states."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from sij_node.config.profiles import MINIMAL
from sij_node.config.routing import Recipient
from sij_node.config.settings import DestinationConfig
from sij_node.deliver.delivery_worker import DeliveryWorker
from sij_node.domain.job import DeliveryState, Job, JobAction, State, Step, legal_actions
from sij_node.domain.job_list import JobFilter
from sij_node.errors import IllegalStep, PairMissing, UnknownName
from sij_node.operate.admin import Admin
from sij_node.store.clear_spool import clear_study
from sij_node.store.database import open_database
from sij_node.store.deliveries import deliveries_of, results_sent_before
from sij_node.store.destination_holds import current_holds
from sij_node.store.job_queries import newest_jobs, receiving_jobs, steps_of
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool
from sij_node.store.tables import instances
from tests.integration.deliver.test_delivery_worker import POLICY, FakePacs
from tests.support.job_tables import (
    RESULT_CONTENT,
    analysing,
    delivering,
    latest_job,
    made,
    queued,
    received,
)
from tests.support.removed_files import Removed
from tests.support.stored_admin import PACS, admin_of
from tests.support.unrecorded_events import no_events

SCORES, SEG = made("scores"), made("seg t1")
SHADOW = PACS.model_copy(update={"shadow": True})
SHADOWED = (Recipient("PACS", withheld=True),)


def web_archive(*objects: str) -> DestinationConfig:
    url = "https://pacs.hospital.example/dicom-web"
    return DestinationConfig(name="WEB", kind="stow-rs", url=url, objects=objects)


@pytest.fixture
def mia(table: JobTable, spool: Spool) -> Admin:
    """An administrator."""
    return admin_of(table, spool)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool that holds every result the tests deliver."""
    spool = Spool(tmp_path / "spool")
    for kind in ("scores", "seg t1", "seg stir", "not analysed"):
        spool.keep_result(RESULT_CONTENT, made(kind).file_name)
    return spool


def deliver(table: JobTable, spool: Spool, pacs: FakePacs, shadow: tuple[str, ...] = ()) -> bool:
    """One round of the courier; False when it found nothing to do."""
    courier = DeliveryWorker(
        "courier 1",
        table,
        spool,
        pacs.send,
        lambda title: PACS,
        lambda title: MINIMAL,
        POLICY,
        20,
        threading.Event(),
        no_events(),
        shadow=shadow,
    )
    return courier.deliver_next()


def delivered(table: JobTable, *results, study_uid: str = "1.2.3") -> Job:
    delivering(table, *results, study_uid=study_uid)
    job = table.claim_delivery("courier")
    for result in results:
        table.record_delivery(job, result.sop_instance_uid, "PACS", 0, True)
    return table.delivered(job, "courier")


def withheld(table: JobTable, *results, study_uid: str = "1.2.3") -> Job:
    job = analysing(table, study_uid)
    return table.store_results(
        job, results or [made(study_uid=study_uid)], SHADOWED, "worker 1", "c 1.0"
    )


def last_step(table: JobTable, job: Job) -> tuple[Step, str]:
    line = steps_of(table.database, job.job_id)[-1]
    return line.step, line.who


def states(table: JobTable, job: Job) -> set[DeliveryState]:
    return {delivery.state for delivery in deliveries_of(table.database, job.job_id)}


# ---- priority ----------------------------------------------------------------------------


def test_a_priority_set_by_a_person_is_what_the_queue_goes_by(table, mia):
    first, second = queued(table, "1.2"), queued(table, "1.3")

    mia.set_priority(second.job_id, 9)

    assert table.claim("worker 1").job_id == second.job_id
    assert table.claim("worker 1").job_id == first.job_id


def test_a_priority_set_by_a_person_outlives_later_images_and_rules(table, mia):
    table.register(received(1), 5, opens_job=True)
    job = mia.set_priority(receiving_jobs(table.database)[0].job_id, 1)
    table.register(received(2), 7, opens_job=True)

    after = table.settle(table.get(job.job_id), "quiet", priority=9)

    assert (after.priority, after.priority_by) == (1, "mia")
    assert (Step.PRIORITY_SET, "mia") in [
        (s.step, s.who) for s in steps_of(table.database, job.job_id)
    ]


def test_the_priority_of_a_job_in_work_is_left_alone(table, mia):
    job = analysing(table)

    with pytest.raises(IllegalStep, match="analysing"):
        mia.set_priority(job.job_id, 9)


# ---- trying now --------------------------------------------------------------------------


def test_a_delivery_that_waits_is_tried_at_once_when_a_person_asks(table, mia, spool):
    delivering(table, SCORES)
    deliver(table, spool, FakePacs(None))
    pacs = FakePacs()
    assert not deliver(table, spool, pacs)

    (job,) = newest_jobs(table.database)
    mia.try_now(job.job_id)

    assert deliver(table, spool, pacs)
    assert table.get(job.job_id).state is State.DELIVERED


def test_a_job_that_does_not_wait_has_no_attempt_to_bring_forward(table, mia):
    with pytest.raises(IllegalStep, match="not waiting for another attempt"):
        mia.try_now(queued(table).job_id)


# ---- redelivery --------------------------------------------------------------------------


def test_results_are_sent_again_under_the_same_uids(table, mia, spool):
    job, pacs = delivered(table, SCORES, SEG), FakePacs()

    after = mia.redeliver(job.job_id)
    deliver(table, spool, pacs)

    assert after.state is State.DELIVERING
    assert sorted(pacs.got) == sorted([SCORES.sop_instance_uid, SEG.sop_instance_uid])
    assert table.get(job.job_id).state is State.DELIVERED
    assert (Step.DELIVERY_ASKED, "mia") in [
        (s.step, s.who) for s in steps_of(table.database, job.job_id)
    ]


def test_results_the_profile_lists_by_now_are_made_and_sent_too(table, mia):
    job = delivered(table, SCORES, SEG)  # sent before the profile listed the summary

    assert mia.history(job.job_id).missing == ("summary",)
    mia.redeliver(job.job_id)

    opened = latest_job(table, job.study_uid, "PACS")
    assert opened.job_id > job.job_id
    assert opened.state is State.QUEUED
    said = f"to all: scores, seg t1; job {opened.job_id} makes and sends summary"
    assert steps_of(table.database, job.job_id)[-1].note == said
    assert mia.history(job.job_id).missing == ()


def test_results_that_no_recipient_gets_are_not_missing(table, spool):
    silent, web = PACS.model_copy(update={"send_results": False}), web_archive("scores", "seg")
    mia = admin_of(table, spool, silent, destination=(web,))
    job = delivered(table, SCORES, SEG)  # the profile of PACS lists the summary as well

    assert mia.history(job.job_id).missing == ()
    assert mia.redeliver(job.job_id).job_id == latest_job(table, job.study_uid, "PACS").job_id


def test_what_a_destination_gets_by_now_is_made_for_it_alone(table, spool):
    silent, web = PACS.model_copy(update={"send_results": False}), web_archive("scores", "summary")
    mia = admin_of(table, spool, silent, destination=(web,))
    job, other = (
        delivered(table, SCORES),
        delivered(table, made("scores", "1.2.4"), study_uid="1.2.4"),
    )

    assert mia.history(job.job_id).missing == ("summary",)
    mia.redeliver(job.job_id, "PACS")
    mia.redeliver(other.job_id)

    assert latest_job(table, job.study_uid, "PACS").job_id == job.job_id
    assert latest_job(table, "1.2.4", "PACS").job_id > other.job_id


def test_a_rejected_study_gets_the_page_it_was_rejected_without(table, mia, spool):
    table.reject(analysing(table), PairMissing("No T1."), [made("not analysed")], "PACS", "w")
    deliver(table, spool, FakePacs())
    (job,) = newest_jobs(table.database)

    assert mia.history(job.job_id).missing == ("not analysed summary",)
    mia.redeliver(job.job_id)

    assert latest_job(table, job.study_uid, "PACS").state is State.QUEUED


def test_results_that_cannot_be_made_are_named_and_the_others_are_sent(table, mia):
    job = delivered(table, SCORES, SEG)
    with table.database.writing() as connection:
        connection.execute(delete(instances))

    after = mia.redeliver(job.job_id)

    assert after.state is State.DELIVERING
    note = steps_of(table.database, job.job_id)[-1].note
    assert "; not made: summary (Job" in note
    assert "cleared from the spool" in note


def test_a_notice_is_sent_again_and_the_study_stays_rejected(table, mia, spool):
    table.reject(analysing(table), PairMissing("No T1."), [made("not analysed")], "PACS", "w")
    deliver(table, spool, FakePacs())
    (job,), pacs = newest_jobs(table.database), FakePacs()

    mia.redeliver(job.job_id)
    deliver(table, spool, pacs)

    after = table.get(job.job_id)
    assert pacs.got == [made("not analysed").sop_instance_uid]
    assert (after.state, after.reason) == (State.REJECTED, "No T1.")


def test_results_go_again_only_to_the_destination_that_is_named(table, mia):
    job = delivered(table, SCORES)

    with pytest.raises(IllegalStep, match="no stored results for OTHER"):
        mia.redeliver(job.job_id, "OTHER")
    assert table.get(job.job_id) == job


def test_what_was_cleared_from_the_spool_cannot_be_sent_again(table, mia):
    job = delivered(table, SCORES)
    moment = job.changed_at + timedelta(days=1)
    clear_study(table.database, job.study_uid, moment, Removed())

    with pytest.raises(IllegalStep, match="cleared from the spool"):
        mia.redeliver(job.job_id)


def test_a_redelivery_that_is_cancelled_does_not_undo_what_was_acknowledged(table, mia):
    job = delivered(table, SCORES)
    mia.redeliver(job.job_id)

    mia.cancel(job.job_id)

    assert states(table, job) == {DeliveryState.ACKNOWLEDGED}
    assert results_sent_before(table.database, job) == ((SCORES,),)


def test_a_failed_delivery_is_retried_with_all_its_attempts(table, mia, spool):
    job = delivering(table, SCORES)
    while table.get(job.job_id).state is not State.FAILED:
        deliver(table, spool, FakePacs(None))
        current = table.get(job.job_id)
        if current.wait_s:
            table.release(current)

    after = mia.redeliver(job.job_id)
    deliver(table, spool, FakePacs())

    assert (after.delivery_attempts, after.reason) == (0, "")
    assert table.get(job.job_id).state is State.DELIVERED


# ---- reanalysis --------------------------------------------------------------------------


def test_a_stored_study_is_analysed_again_in_a_job_that_follows(table, mia):
    before = delivered(table, SCORES)

    after = mia.reanalyse(before.job_id, "trial")

    assert (after.state, after.weights_wanted) == (State.QUEUED, "trial")
    assert after.predecessor_id == before.job_id
    assert table.claim("worker 1").job_id == after.job_id
    assert table.get(before.job_id) == before
    assert last_step(table, before) == (Step.REANALYSIS_ASKED, "mia")
    assert {line.who for line in steps_of(table.database, after.job_id)[:2]} == {"mia"}


def test_results_of_a_reanalysis_follow_those_that_were_given(table, mia):
    before = delivered(table, SCORES)

    after = mia.reanalyse(before.job_id)

    assert results_sent_before(table.database, after) == ((SCORES,),)


def test_a_study_that_waits_for_analysis_is_not_queued_a_second_time(table, mia):
    before = delivered(table, SCORES)
    mia.reanalyse(before.job_id)

    with pytest.raises(IllegalStep, match="job 2 of the same study is queued"):
        mia.reanalyse(before.job_id)
    assert len(newest_jobs(table.database)) == 2


def test_a_study_whose_images_are_gone_cannot_be_analysed_again(table, mia):
    job = delivered(table, SCORES)
    moment = job.changed_at + timedelta(days=1)
    clear_study(table.database, job.study_uid, moment, Removed())

    with pytest.raises(IllegalStep, match="images have been cleared"):
        mia.reanalyse(job.job_id)


def test_weights_that_the_configuration_does_not_name_are_refused(table, mia):
    job = delivered(table, SCORES)

    with pytest.raises(UnknownName, match="available: trial"):
        mia.reanalyse(job.job_id, "../elsewhere")
    assert len(newest_jobs(table.database)) == 1


# ---- holding a destination ---------------------------------------------------------------


def test_what_is_for_a_held_destination_waits_and_says_why(table, mia, spool):
    job, pacs = delivering(table, SCORES), FakePacs()

    mia.hold("PACS", "migration tonight")

    assert not deliver(table, spool, pacs)
    assert pacs.got == []
    assert "held by mia" in mia.history(job.job_id).standstill
    assert "migration tonight" in mia.history(job.job_id).standstill
    (destination,) = mia.destinations()
    assert (destination.waiting, destination.hold.reason) == (1, "migration tonight")


def test_nothing_is_lost_when_a_destination_is_released(table, mia, spool):
    job, pacs = delivering(table, SCORES, SEG), FakePacs()
    mia.hold("PACS", "")

    released = mia.release_hold("PACS")
    deliver(table, spool, pacs)

    assert (released.released_by, len(pacs.got)) == ("mia", 2)
    assert table.get(job.job_id).state is State.DELIVERED
    assert table.get(job.job_id).delivery_attempts == 1


def test_a_hold_survives_a_restart(database_url, spool):
    first = open_database(database_url)
    delivering(JobTable(first), SCORES)
    admin_of(JobTable(first), spool).hold("PACS", "migration")
    first.dispose()

    again = open_database(database_url)
    assert not deliver(JobTable(again), spool, FakePacs())
    assert [hold.reason for hold in current_holds(JobTable(again).database)] == ["migration"]
    again.dispose()


def test_a_held_destination_keeps_no_other_waiting(table, mia, spool):
    delivering(table, made(study_uid="1.2"), study_uid="1.2")
    other = delivering(table, made("seg stir"), study_uid="1.2.3", source_ae="OTHER")
    mia.hold("PACS", "")

    assert table.claim_delivery("courier").job_id == other.job_id
    assert table.claim_delivery("courier") is None


def test_a_hold_that_comes_while_a_job_is_being_taken_still_holds(table, mia, spool):
    job, pacs = delivering(table, SCORES), FakePacs()
    claim = table.claim_delivery

    def claim_then_hold(*arguments):
        claimed = claim(*arguments)
        mia.hold("PACS", "just now")
        return claimed

    table.claim_delivery = claim_then_hold
    deliver(table, spool, pacs)

    after = table.get(job.job_id)
    assert pacs.got == []
    assert (after.state, after.delivery_attempts) == (State.DELIVERING, 0)
    assert states(table, job) == {DeliveryState.PENDING}


def test_a_destination_is_held_once_and_released_once(table, mia):
    mia.hold("PACS", "first")

    with pytest.raises(IllegalStep, match=r"held by mia since .*: first"):
        mia.hold("PACS", "second")
    mia.release_hold("PACS")
    with pytest.raises(IllegalStep, match="not on hold"):
        mia.release_hold("PACS")
    assert current_holds(table.database) == ()


def test_what_a_person_asks_for_is_among_the_changes(table, mia):
    job = delivered(table, SCORES)
    mia.reanalyse(job.job_id)
    mia.hold("PACS", "migration")
    mia.release_hold("PACS")

    assert [(one.who, one.action, one.subject) for one in mia.changes()] == [
        ("mia", "release", "peer PACS"),
        ("mia", "hold", "peer PACS"),
        ("mia", "reanalysis asked for", "job 1"),
    ]


def test_only_a_peer_can_be_held(table, mia):
    with pytest.raises(UnknownName, match="PACKS"):
        mia.hold("PACKS", "a slip of the pen")


# ---- shadow mode -------------------------------------------------------------------------


def test_a_study_of_a_peer_in_shadow_mode_is_analysed_and_not_sent(table, spool):
    job, pacs = withheld(table, SCORES), FakePacs()

    assert not deliver(table, spool, pacs, ("PACS",))
    assert job.state is State.NOT_SENT
    history = admin_of(table, spool, SHADOW).history(job.job_id)
    assert history.standstill == "shadow: not sent to PACS"


def test_the_not_analysed_report_is_withheld_in_shadow_mode(table, spool):
    notice = [made("not analysed")]
    table.reject(analysing(table), PairMissing("No T1."), notice, SHADOWED, "w")
    pacs = FakePacs()

    assert not deliver(table, spool, pacs)
    assert newest_jobs(table.database)[0].state is State.REJECTED


def test_what_waits_when_a_peer_goes_into_shadow_mode_is_not_sent(table, spool):
    delivering(table, SCORES)
    pacs = FakePacs()

    assert not deliver(table, spool, pacs, ("PACS",))
    assert deliver(table, spool, pacs)


def test_nothing_is_sent_when_shadow_mode_ends_unless_a_person_asks(table, mia, spool):
    job, pacs = withheld(table, SCORES), FakePacs()

    assert not deliver(table, spool, pacs)
    asked = mia.send_withheld("PACS")
    deliver(table, spool, pacs)

    assert [one.job_id for one in asked] == [job.job_id]
    assert pacs.got == [SCORES.sop_instance_uid]
    assert table.get(job.job_id).state is State.DELIVERED


def test_of_two_shadow_mode_analyses_only_the_newest_is_sent(table, mia, spool):
    first = withheld(table, SCORES)
    second = mia.reanalyse(first.job_id)
    table.store_results(table.claim("w"), [SEG], SHADOWED, "w")

    (asked,) = mia.send_withheld("PACS")

    assert asked.job_id == second.job_id
    assert table.get(first.job_id).state is State.NOT_SENT


def test_withheld_results_do_not_count_as_delivered(table, mia):
    first = withheld(table, SCORES)

    assert results_sent_before(table.database, mia.reanalyse(first.job_id)) == ()


@pytest.mark.parametrize("ask", [Admin.redeliver, lambda admin, job: admin.send_withheld("PACS")])
def test_a_peer_in_shadow_mode_gets_nothing_even_when_asked(table, spool, ask: Callable):
    job = withheld(table, SCORES)

    with pytest.raises(IllegalStep, match="shadow = false"):
        ask(admin_of(table, spool, SHADOW), job.job_id)
    assert table.get(job.job_id).state is State.NOT_SENT


def test_results_a_shadow_peer_already_has_are_not_withheld(table):
    job = delivered(table, SCORES)
    table.reanalyse(job, "mia")

    after = table.store_results(table.claim("w"), [SCORES], SHADOWED, "w")

    assert after.state is State.DELIVERED


# ---- all jobs of a list ------------------------------------------------------------------


def test_an_action_for_many_jobs_does_what_it_can_and_names_the_rest(table, mia):
    for number in range(3):
        table.reject(analysing(table, f"1.2.{number}"), PairMissing("No T1."), [], "PACS", "w")
    table.register(received(2, "1.2.1"), 5, opens_job=True)  # keeps the second from queueing

    outcome = mia.act_on_all(JobAction.RETRY, JobFilter((State.REJECTED,)))

    assert sorted(outcome.done) == [1, 3]
    assert last_step(table, table.get(1)) == (Step.RETRIED, "mia")
    assert outcome.refused.keys() == {2}
    assert "Wait for that job" in outcome.refused[2]
    assert [table.get(number).state for number in (1, 2, 3)] == [
        State.QUEUED,
        State.REJECTED,
        State.QUEUED,
    ]


def test_only_actions_that_suit_many_jobs_are_done_to_many(table, mia):
    queued(table)

    with pytest.raises(IllegalStep, match="available: retry, cancel, redeliver"):
        mia.act_on_all(JobAction.SET_PRIORITY, JobFilter((State.QUEUED,)))


# ---- what is offered is what is done -----------------------------------------------------

DO = {
    JobAction.RETRY: Admin.retry,
    JobAction.CANCEL: Admin.cancel,
    JobAction.SET_PRIORITY: lambda admin, job_id: admin.set_priority(job_id, 3),
    JobAction.TRY_NOW: Admin.try_now,
    JobAction.REDELIVER: Admin.redeliver,
    JobAction.REANALYSE: Admin.reanalyse,
}


def in_state(table: JobTable, state: State, study_uid: str) -> Job:
    """A job with results, in a state that a person may find it in."""
    result = made(study_uid=study_uid)
    match state:
        case State.RECEIVING:
            table.register(received(1, study_uid), 5, opens_job=True)
        case State.QUEUED:
            queued(table, study_uid)
        case State.ANALYSING:
            analysing(table, study_uid)
        case State.DELIVERING:
            delivering(table, study_uid=study_uid)
        case State.NOT_SENT:
            withheld(table, study_uid=study_uid)
        case State.DELIVERED:
            delivered(table, result, study_uid=study_uid)
        case State.REJECTED:
            job = analysing(table, study_uid)
            table.reject(job, PairMissing("No T1."), [result], "PACS", "w")
        case State.CANCELLED:
            table.cancel(delivering(table, study_uid=study_uid), "test")
        case State.FAILED:
            delivering(table, study_uid=study_uid)
            broken = PairMissing("broken")
            table.fail(table.claim_delivery("courier"), broken, POLICY, "courier")
    return latest_job(table, study_uid, "PACS")


@pytest.mark.parametrize("state", [state for state in State if state is not State.CONFIRMED])
def test_every_action_that_is_offered_succeeds_and_every_other_is_refused(table, mia, state):
    for number, (action, do) in enumerate(DO.items()):
        job = in_state(table, state, f"1.2.{number}")
        if action in legal_actions(job):
            do(mia, job.job_id)
            assert last_step(table, job)[1] == "mia"
        elif (action, state) != (JobAction.REDELIVER, State.FAILED):  # the weights decide that one
            with pytest.raises(IllegalStep):
                do(mia, job.job_id)
            assert table.get(job.job_id) == job
        empty_the_queue(table)


def empty_the_queue(table: JobTable) -> None:
    """Leave nothing that a worker or a courier could claim next."""
    for job in newest_jobs(table.database):
        if JobAction.CANCEL in legal_actions(job):
            table.cancel(job, "test")
    while (notice := table.claim_delivery("test")) is not None:
        table.fail(notice, PairMissing("over"), POLICY, "test")
