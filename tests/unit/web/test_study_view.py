"""The view model of the study page."""

from dataclasses import replace

import pytest

from models.findings import POSITIONS, Finding
from sij_node.domain.analysis_record import AnalysisRecord, KeyPicture, SeriesUse
from sij_node.domain.job import STEP_WORDS, DeliveryState, JobAction, State, Step
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.domain.study import Refusal
from sij_node.operate.admin import StudyDetails
from sij_node.web.view_models.display_text import Tone, status_in_words
from sij_node.web.view_models.joint_svg import drawn_joints
from sij_node.web.view_models.study_view import (
    StudyPage,
    destinations,
    problems,
    study_page,
    timeline,
)
from tests.support.job_views import HOSTILE, NOW, delivery, history, job_in, steps
from tests.support.prior_reports import earlier_burden
from tests.support.result_inputs import burden, findings

T1 = SeriesUse("1.2.3.1", "2", "T1 tse cor", 20, "T1", True, "used as T1: TR 550, TE 11 ms")
RECORD = AnalysisRecord(series=(T1,), findings=tuple(findings()))


def shown(of=None, record: AnalysisRecord | None = RECORD, **changes: object) -> StudyPage:
    given = {"patient": "ab12", "expected": "", "weights": (), "now": NOW, **changes}
    same_study, so_far = given.pop("same_study", ()), given.pop("so_far", ())
    of = of or history(job_in(State.DELIVERED))
    details = StudyDetails(of, record, False, tuple(so_far), same_study, given.pop("patient"))
    return study_page(details, **given)


def test_every_step_has_words():
    assert set(STEP_WORDS) == set(Step)


def test_a_failed_job_states_the_problem_and_what_to_do():
    failed = job_in(State.FAILED, reason="It broke.", error_family="InternalFault")

    (one,) = problems(history(failed))

    assert (one.tone, one.words) == (Tone.BAD, "It broke.")
    assert "report it" in one.advice


@pytest.mark.parametrize("family", ["InputRejected", "TemporarilyUnavailable", "InternalFault"])
def test_every_family_of_errors_has_advice(family: str):
    (one,) = problems(history(job_in(State.FAILED, reason="It broke.", error_family=family)))

    assert one.advice


def test_a_job_still_being_retried_needs_no_action():
    trying = job_in(
        State.DELIVERING, reason="PACS is silent.", error_family="TemporarilyUnavailable"
    )

    (one,) = problems(history(trying))

    assert (one.tone, "automatically" in one.advice) == (Tone.WARN, True)


def test_failed_delivery_and_failed_analysis_are_distinguished():
    undelivered = job_in(
        State.FAILED, reason="Silent.", error_family="TemporarilyUnavailable", weights="contour 1"
    )

    (one,) = problems(history(undelivered))

    assert "only the delivery failed" in one.advice


def test_conflicting_copies_and_a_stall_are_reported():
    copy = Refusal(NOW, "PACS", "", "1.2.3.9", "1.2.3", 0, "twice")
    of = history(job_in(State.QUEUED), conflicts=(copy,), standstill="PACS is held by me")

    said = [one.words for one in problems(of)]

    assert said[0] == "PACS is held by me."
    assert "1.2.3.9" in said[1]


def test_a_healthy_job_has_no_problem():
    assert list(problems(history(job_in(State.DELIVERED)))) == []


@pytest.mark.parametrize("state", list(State))
def test_only_what_the_state_table_allows_is_offered(state: State):
    offered = shown(history(job_in(state))).actions

    assert (JobAction.RETRY in offered) == (state in (State.REJECTED, State.FAILED))
    assert (JobAction.CANCEL in offered) == (
        state in (State.RECEIVING, State.QUEUED, State.DELIVERING)
    )


def test_the_table_has_a_row_for_each_head_with_both_sides():
    page = shown()

    assert len(page.scores) == 14
    for row in page.scores:
        for side, score in (("right", row.right), ("left", row.left)):
            (finding,) = (
                one
                for one in RECORD.findings
                if one.position.side == side
                and one.position.head.lesion == row.lesion
                and row.name.lower().endswith(one.position.head.region)
            )
            known = finding.probability is not None
            assert score.probability == (100 * finding.probability if known else None)
            assert score.present == (known and finding.probability >= finding.threshold)


def test_a_sentence_states_how_many_lesions_are_present():
    present = sum(one.probability is not None and one.probability >= 0.5 for one in findings())

    assert shown().in_short == f"{present} of 28 sites positive."


def test_a_place_that_could_not_be_evaluated_is_counted_in_the_outcome():
    assert "1 of 28 sites could not be evaluated" in shown().input_outcome


def test_a_rejected_study_says_that_it_was_not_analysed():
    rejected = history(job_in(State.REJECTED, reason="No STIR.", error_family="InputRejected"))

    page = shown(rejected, AnalysisRecord(series=(T1,)))

    assert page.input_outcome.startswith("Not analysed.")
    assert page.scores == ()
    assert page.series == (T1,)


def test_of_a_study_that_is_arriving_the_series_so_far_are_shown():
    page = shown(history(job_in(State.RECEIVING)), None, so_far=(T1,))

    assert (page.series, page.series_settled) == ((T1,), False)


def test_pictures_of_one_place_stand_together_t1_first():
    pictures = (
        KeyPicture(2, "STIR", "9", ("1 oedema",), "b-2.png"),
        KeyPicture(1, "STIR", "4", (), "a-1.png"),
        KeyPicture(1, "T1", "4", (), "a-2.png"),
    )

    places = shown(record=replace(RECORD, pictures=pictures)).places

    assert [[one.file_name for one in place.pictures] for place in places] == [
        ["a-2.png", "a-1.png"],
        ["b-2.png"],
    ]
    assert places[1].seen == ("1 oedema",)


def test_a_failing_destination_comes_first_with_its_reason():
    found = destinations(
        [
            delivery(),
            delivery(DeliveryState.PENDING, "OTHER", attempts=3, status=0xA700),
            delivery(DeliveryState.ACKNOWLEDGED, "OTHER", "seg t1"),
        ]
    )

    assert [one.title for one in found] == ["OTHER", "PACS"]
    assert found[0].problem == ("scores not delivered to OTHER: 0xA700: out of resources")
    assert found[0].summary == "1 of 2 acknowledged"
    assert found[1].problem == ""


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0000, "0x0000: stored"),
        (0xB000, "0xB000: stored, with a warning"),
        (0xC211, "0xC211: cannot understand"),
        (0x0117, "0x0117: refused"),
        (None, "no response"),
    ],
)
def test_a_status_is_shown_in_words(status: int | None, words: str):
    assert status_in_words(status) == words


def test_the_history_shows_who_did_what_and_durations_newest_first():
    lines = timeline(steps(Step.SETTLED, Step.CLAIMED, Step.RESULTS_STORED, every_s=90))

    assert [line.words for line in lines] == [
        "Analysed, results stored",
        "Analysis started",
        "Study complete, queued",
        "First image received",
    ]
    assert [line.after for line in lines] == ["+1 min 30 s"] * 3 + [""]
    assert lines[0].who == "worker 1"


@pytest.mark.parametrize(
    ("state", "over"),
    [
        (State.QUEUED, False),
        (State.DELIVERED, True),
        (State.FAILED, True),
        (State.ANALYSING, False),
    ],
)
def test_a_page_asks_again_only_while_something_can_change(state: State, over: bool):
    assert shown(history(job_in(state))).is_over is over


def test_a_rejected_job_is_not_over_while_its_notice_is_delivered():
    waiting = history(job_in(State.REJECTED), delivery(DeliveryState.PENDING))

    assert not shown(waiting).is_over


def test_other_jobs_of_the_study_are_named():
    others = shown(same_study=(job_in(State.DELIVERED), job_in(State.FAILED, job_id=12))).others

    assert [other.job_id for other in others] == [12]


def test_the_drawing_marks_present_lesions_and_has_a_description():
    everywhere = [Finding(position, 0.9, 0.5) for position in POSITIONS]
    nowhere = [Finding(position, 0.1, 0.5) for position in POSITIONS]

    assert drawn_joints(everywhere).count('class="mark lesion-') == 28
    assert drawn_joints(nowhere).count('class="mark none"') == 28
    assert 'role="img" aria-label="' in drawn_joints(nowhere)
    assert drawn_joints([]) == ""


def test_words_from_elsewhere_stay_words():
    failed = job_in(State.FAILED, reason=HOSTILE)

    assert shown(history(failed)).problems[0].words == HOSTILE


def test_the_page_begins_with_the_conclusion_and_names_what_is_new():
    none = [Finding(position, 0.1, 0.5) for position in POSITIONS]
    record = replace(RECORD, asas_met=True, prior=ComparedPrior("2023-03-01", tuple(none)))

    page = shown(record=record)

    assert page.text.conclusion[0].startswith("RIGHT: ")
    assert page.text.conclusion[2] == "ASAS active sacroiliitis criterion: met (research)."
    assert page.text.changes[0] == "Compared with the prior study of 2023-03-01."
    assert page.text.changes[1].startswith("New: ")


def test_lesion_burden_is_listed_with_its_band_and_change():
    prior = ComparedPrior("2023-03-01", (), burden=earlier_burden())
    page = shown(record=replace(RECORD, burden=burden(), prior=prior))

    first = page.burden[0]
    assert (first.name, first.value, first.band) == ("SPARCC inflammation", "10 of 48", "7–14")
    assert (first.before, first.change) == ("30", "decreased")
    assert {row.change for row in page.burden[1:]} == {"within measurement error"}
    assert any(line.startswith("Research scores: SPARCC") for line in page.text.conclusion)
    assert page.thresholds == "Operating point: balanced."


def test_a_record_without_lesion_burden_has_no_such_table():
    page = shown()

    assert page.burden == ()
    assert not any("SPARCC" in line for line in page.text.conclusion)
