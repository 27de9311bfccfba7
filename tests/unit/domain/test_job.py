"""Transitions of a job, consequences of errors, and detection of stalls."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sij_node.domain.job import (
    DELIVERABLE,
    FINISHED,
    OPEN,
    STEP_OF_ACTION,
    TRANSITIONS,
    JobAction,
    RetryPolicy,
    StallDetector,
    State,
    Step,
    advance,
    after_failure,
    family_of,
    legal_actions,
    legal_steps,
)
from sij_node.errors import (
    DestinationUnavailable,
    IllegalStep,
    InternalFault,
    PairMissing,
    WeightsRefused,
    WorkerLost,
)
from tests.support.job_views import job_in

POLICY = RetryPolicy(max_attempts=3, first_wait_s=5, max_wait_s=300)

LEGAL = {
    "receiving": {"instance arrived", "settled", "cancelled", "priority set"},
    "queued": {"instance arrived", "released", "claimed", "cancelled", "priority set"},
    "analysing": {
        "results stored",
        "reject",
        "try again",
        "give up",
        "handed back",
        "superseded",
        "kept back",
    },
    "delivering": {
        "delivery claimed",
        "delivery failed",
        "handed back",
        "released",
        "acknowledged",
        "give up",
        "cancelled",
        "results damaged",
        "reanalysis asked for",
    },
    "not sent": {"acknowledged", "delivery asked for", "reanalysis asked for"},
    "delivered": {
        "committed",
        "commitment failed",
        "commitment abandoned",
        "delivery asked for",
        "reanalysis asked for",
    },
    "confirmed": {"delivery asked for", "reanalysis asked for"},
    "rejected": {
        "delivery claimed",
        "delivery failed",
        "handed back",
        "released",
        "acknowledged",
        "give up",
        "committed",
        "commitment failed",
        "commitment abandoned",
        "retried",
        "delivery asked for",
        "reanalysis asked for",
    },
    "failed": {"retried", "delivery asked for", "reanalysis asked for"},
    "cancelled": {"reanalysis asked for"},
}
ILLEGAL = [
    (state, step) for state, step in product(State, Step) if step.value not in LEGAL[state.value]
]


def test_the_table_holds_the_legal_steps_and_no_others():
    table = {state.value: {step.value for step in legal_steps(state)} for state in State}

    assert table == LEGAL


@pytest.mark.parametrize(("state", "step"), ILLEGAL)
def test_a_step_that_is_not_in_the_table_is_refused(state, step):
    with pytest.raises(IllegalStep, match=f"{state.value} allows no step '{step.value}'"):
        advance(job_in(state), step)


def test_every_state_can_be_reached_from_the_first():
    reached = {State.RECEIVING}
    for _ in State:
        reached |= {to for (origin, _), to in TRANSITIONS.items() if origin in reached}

    assert reached == set(State)


def test_the_history_begins_with_a_step_that_never_comes_again():
    assert all(step is not Step.OPENED for _, step in TRANSITIONS)


def test_a_claim_begins_an_attempt_and_names_the_worker():
    job = advance(job_in(State.QUEUED), Step.CLAIMED, leased_by="worker 1")

    assert (job.state, job.leased_by, job.analysis_attempts) == (State.ANALYSING, "worker 1", 1)


def test_every_step_but_a_claim_ends_the_lease_and_the_wait():
    for state, step in TRANSITIONS:
        after = advance(job_in(state, leased_by="w", wait_s=7.0, analysis_attempts=1), step)
        assert after.leased_by == ""
        assert after.wait_s == (7.0 if step is Step.PRIORITY_SET else 0.0)


def test_a_study_that_kills_every_worker_ends_as_failed():
    job = job_in(State.QUEUED)

    for _ in range(POLICY.max_attempts):
        job = after_failure(advance(job, Step.CLAIMED), WorkerLost("fell silent"), POLICY)

    assert job.state is State.FAILED
    assert job.error_family == "TemporarilyUnavailable"


def test_a_study_that_can_never_be_analysed_is_rejected_at_once():
    job = after_failure(advance(job_in(State.QUEUED), Step.CLAIMED), PairMissing("no STIR"), POLICY)

    assert (job.state, job.reason, job.error_family) == (State.REJECTED, "no STIR", "InputRejected")


@pytest.mark.parametrize("error", [InternalFault("broken"), WeightsRefused("damaged")])
def test_a_fault_of_the_node_fails_the_job_without_another_try(error):
    job = after_failure(advance(job_in(State.QUEUED), Step.CLAIMED), error, POLICY)

    assert (job.state, job.wait_s) == (State.FAILED, 0.0)


def test_waits_double_up_to_a_limit():
    policy = RetryPolicy(max_attempts=2000, first_wait_s=5, max_wait_s=300)

    waits = [policy.wait_after_s(attempts) for attempts in (1, 2, 3, 4, 7, 8, 1999)]

    assert waits == [5, 10, 20, 40, 300, 300, 300]


def test_attempts_to_deliver_are_counted_apart_from_attempts_to_analyse():
    job = job_in(State.DELIVERING, analysis_attempts=3)

    job = after_failure(
        advance(job, Step.DELIVERY_CLAIMED), DestinationUnavailable("no answer"), POLICY
    )

    assert (job.state, job.delivery_attempts, job.wait_s) == (State.DELIVERING, 1, 5)


def test_a_delivery_that_fails_too_often_fails_the_job():
    job = job_in(State.DELIVERING)

    for _ in range(POLICY.max_attempts):
        job = after_failure(
            advance(job, Step.DELIVERY_CLAIMED), DestinationUnavailable("no answer"), POLICY
        )

    assert job.state is State.FAILED


def test_a_rejected_job_keeps_its_reason_if_the_notice_fails():
    job = job_in(State.REJECTED, reason="no STIR", error_family="InputRejected")

    for _ in range(POLICY.max_attempts):
        job = after_failure(
            advance(job, Step.DELIVERY_CLAIMED), DestinationUnavailable("no answer"), POLICY
        )

    assert (job.state, job.reason, job.error_family) == (State.REJECTED, "no STIR", "InputRejected")


def test_success_clears_the_reason_of_former_failures():
    job = job_in(State.DELIVERING, reason="no answer", error_family="TemporarilyUnavailable")

    after = advance(job, Step.ACKNOWLEDGED)

    assert (after.reason, after.error_family) == ("", "")


def test_a_job_that_is_handed_back_has_used_no_attempt():
    job = advance(advance(job_in(State.QUEUED), Step.CLAIMED), Step.HANDED_BACK)

    assert (job.state, job.analysis_attempts) == (State.QUEUED, 0)


@pytest.mark.parametrize("state", [State.REJECTED, State.FAILED])
def test_a_person_who_retries_gives_all_attempts_anew(state):
    job = job_in(state, analysis_attempts=3, delivery_attempts=9, reason="worker lost")

    after = advance(job, Step.RETRIED)

    assert after.state is State.QUEUED
    assert (after.analysis_attempts, after.delivery_attempts, after.reason) == (0, 0, "")


def test_an_error_outside_the_families_is_named_as_such():
    assert family_of(WeightsRefused("damaged")) == "NodeError"


@pytest.mark.parametrize("change", [{"priority": 10}, {"priority": -1}, {"wait_s": -0.1}])
def test_a_job_that_exists_is_valid(change):
    with pytest.raises(ValueError, match=r"priority|wait_s"):
        job_in(State.QUEUED, **change)


# ---- stillness ---------------------------------------------------------------------------


def test_what_is_seen_for_the_first_time_has_not_been_still():
    assert StallDetector().still_for_s(1, "marker", now=1e6) == 0


def test_stillness_grows_while_the_marker_stays():
    watch = StallDetector()

    seen = [watch.still_for_s(1, ("revision", 3), now) for now in (10, 11, 12.5)]

    assert seen == [0, 1, 2.5]


def test_stillness_begins_anew_when_the_marker_changes():
    watch = StallDetector()
    watch.still_for_s(1, 40, now=0)
    watch.still_for_s(1, 40, now=4)

    assert watch.still_for_s(1, 41, now=5) == 0
    assert watch.still_for_s(1, 41, now=6) == 1


def test_two_jobs_are_watched_apart():
    watch = StallDetector()
    watch.still_for_s(1, "a", now=0)
    watch.still_for_s(2, "a", now=3)

    assert (watch.still_for_s(1, "a", now=4), watch.still_for_s(2, "a", now=4)) == (4, 1)


def test_a_pause_of_the_machine_counts_as_a_short_one():
    watch = StallDetector(longest_gap_s=5)
    watch.still_for_s(1, "heartbeat 7", now=0)

    assert watch.still_for_s(1, "heartbeat 7", now=86_400) == 5


def test_a_job_that_is_no_longer_watched_begins_anew():
    watch = StallDetector()
    watch.still_for_s(1, "a", now=0)
    watch.keep_only([])

    assert watch.still_for_s(1, "a", now=4) == 0


@given(st.lists(st.floats(0, 20), min_size=1, max_size=30))
def test_stillness_is_never_longer_than_the_time_that_passed(gaps):
    watch, now, passed = StallDetector(), 100.0, 0.0
    watch.still_for_s("job", 1, now)
    for gap in gaps:
        now += gap
        passed += min(gap, 5)
        assert watch.still_for_s("job", 1, now) == pytest.approx(passed)


# ---- the life of a job -------------------------------------------------------------------


class LifeOfAJob(RuleBasedStateMachine):
    """Anything that can happen, in any order; what must be true is true after each step."""

    def __init__(self):
        super().__init__()
        self.job = job_in(State.RECEIVING)
        self.failures = 0
        self.revisions = [self.job.revision]

    def become(self, job):
        self.job = job
        self.revisions.append(job.revision)

    @rule(step=st.sampled_from(Step))
    def an_illegal_step_changes_nothing(self, step):
        if step not in legal_steps(self.job.state):
            with pytest.raises(IllegalStep):
                advance(self.job, step)

    @precondition(lambda self: self.job.state in OPEN)
    @rule()
    def an_instance_arrives(self):
        self.become(advance(self.job, Step.INSTANCE_ARRIVED, instances=self.job.instances + 1))
        assert self.job.state is State.RECEIVING

    @precondition(lambda self: self.job.state is State.RECEIVING)
    @rule()
    def the_study_settles(self):
        self.become(advance(self.job, Step.SETTLED))

    @precondition(lambda self: self.job.wait_s > 0)
    @rule()
    def the_wait_ends(self):
        self.become(advance(self.job, Step.RELEASED))

    @precondition(lambda self: self.job.state is State.QUEUED and not self.job.wait_s)
    @rule()
    def a_worker_claims(self):
        self.become(advance(self.job, Step.CLAIMED, leased_by="worker"))

    @precondition(
        lambda self: (
            self.job.state in DELIVERABLE and not self.job.wait_s and not self.job.leased_by
        )
    )
    @rule()
    def a_delivery_worker_claims(self):
        self.become(advance(self.job, Step.DELIVERY_CLAIMED, leased_by="courier"))

    @precondition(lambda self: self.job.leased_by)
    @rule(error=st.sampled_from([WorkerLost("silent"), InternalFault("broken"), PairMissing("T1")]))
    def the_attempt_fails(self, error):
        self.become(after_failure(self.job, error, POLICY))

    @precondition(lambda self: self.job.leased_by)
    @rule()
    def the_worker_shuts_down(self):
        self.become(advance(self.job, Step.HANDED_BACK))

    @precondition(lambda self: self.job.state is State.ANALYSING)
    @rule()
    def results_are_withheld(self):
        self.become(advance(self.job, Step.WITHHELD, weights="contour 1.0"))

    @precondition(lambda self: Step.PRIORITY_SET in legal_steps(self.job.state))
    @rule(priority=st.integers(0, 9))
    def a_person_sets_the_priority(self, priority):
        wait_s = self.job.wait_s
        self.become(advance(self.job, Step.PRIORITY_SET, priority=priority, priority_by="mia"))
        assert (self.job.priority, self.job.wait_s) == (priority, wait_s)

    @precondition(lambda self: JobAction.REDELIVER in legal_actions(self.job))
    @rule()
    def a_person_asks_for_another_delivery(self):
        self.become(advance(self.job, Step.DELIVERY_ASKED))
        assert self.job.state in DELIVERABLE
        assert self.job.delivery_attempts == 0

    @rule(action=st.sampled_from(JobAction))
    def an_action_that_is_offered_is_a_step_that_is_allowed(self, action):
        if action in legal_actions(self.job):
            assert STEP_OF_ACTION[action] in legal_steps(self.job.state)

    @precondition(lambda self: self.job.state is State.ANALYSING)
    @rule()
    def results_are_stored(self):
        self.become(advance(self.job, Step.RESULTS_STORED))

    @precondition(lambda self: self.job.leased_by == "courier")
    @rule()
    def the_archive_acknowledges(self):
        self.become(advance(self.job, Step.ACKNOWLEDGED))

    @precondition(lambda self: Step.RETRIED in legal_steps(self.job.state))
    @rule()
    def a_person_retries(self):
        self.become(advance(self.job, Step.RETRIED))

    @precondition(lambda self: Step.CANCELLED in legal_steps(self.job.state))
    @rule()
    def a_person_cancels(self):
        self.become(advance(self.job, Step.CANCELLED))

    @invariant()
    def no_attempt_is_made_beyond_the_policy(self):
        assert (
            0
            <= self.job.analysis_attempts
            <= POLICY.max_attempts + (self.job.state is State.ANALYSING)
        )

    @invariant()
    def only_jobs_in_progress_are_leased(self):
        assert not self.job.leased_by or self.job.state in (State.ANALYSING, *DELIVERABLE)

    @invariant()
    def an_analysing_job_always_has_a_worker(self):
        assert self.job.state is not State.ANALYSING or self.job.leased_by

    @invariant()
    def no_job_is_both_waiting_and_leased(self):
        assert not (self.job.wait_s and self.job.leased_by)

    @invariant()
    def revisions_only_grow(self):
        assert self.revisions == sorted(set(self.revisions))

    @invariant()
    def a_failure_has_a_reason(self):
        assert self.job.state not in (State.FAILED, State.REJECTED) or self.job.reason

    @invariant()
    def a_success_has_none(self):
        assert self.job.state is not State.DELIVERED or not self.job.reason

    @invariant()
    def a_finished_job_changes_only_by_a_user_or_a_notification(self):
        by_user_or_notification = {
            Step.RETRIED,
            Step.DELIVERY_ASKED,
            Step.COMMITTED,
            Step.COMMITMENT_FAILED,
            Step.COMMITMENT_ABANDONED,
            Step.ACKNOWLEDGED,
        }
        if self.job.state in FINISHED:
            led_to = {
                TRANSITIONS[self.job.state, step]
                for step in legal_steps(self.job.state)
                if step not in by_user_or_notification
            }
            assert led_to <= {self.job.state}


TestLifeOfAJob = LifeOfAJob.TestCase
