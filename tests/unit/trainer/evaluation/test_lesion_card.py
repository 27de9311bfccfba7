"""What the lesion network's card says of its scores, set by set."""

from dataclasses import replace

import numpy as np
import pytest

from models.findings import HEADS, POSITIONS, Lesion, Side
from models.mri_criteria import Definition
from models.weights import Card
from tests.support.reader_trials import toy_joints
from trainer.evaluation.end_to_end import StudyPrediction
from trainer.evaluation.lesion_card import (
    card_scores,
    definition_scores,
    pointed_at,
    set_scores,
)
from trainer.evaluation.scores_page import scores_page
from trainer.evaluation.study_sets import EvaluationStudy, StudySet, trial_set
from trainer.metrics.pointing import Pointing
from trainer.phantom.trials import TRIALS
from trainer.reader_study.cross_validation import read_trial

SCORES = ("auc", "balanced_accuracy", "sensitivity", "specificity", "brier", "ece")
AT_HALF = ("balanced_accuracy_at_half", "sensitivity_at_half", "specificity_at_half")
THRESHOLDS = [0.3] * len(HEADS)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Enough for intervals that contain the score."""
    monkeypatch.setattr("trainer.evaluation.lesion_card.RESAMPLES", 100)


def made_up(joints=120, seed=0):
    """Labels and honest probabilities, four joints of each patient."""
    rng = np.random.default_rng(seed)
    probability = rng.random((joints, len(HEADS)))
    labels = (rng.random(probability.shape) < probability).astype(float)
    return labels, probability, np.repeat(np.arange(joints // 4), 4)


def test_every_score_of_every_lesion_has_its_interval():
    scores = card_scores(*made_up(), THRESHOLDS)

    assert list(scores) == ["oedema", "erosion", "fatty_lesion", "sclerosis", "ankylosis"]
    for one in scores.values():
        assert one["patients"] == 30
        for name in (*SCORES, *AT_HALF):
            low, high = one[f"{name}_interval"]
            assert low < high
            assert name == "ece" or low <= one[name] <= high
    assert scores["oedema"]["places"] == 480
    assert scores["sclerosis"]["places"] == 120


def test_scores_are_given_at_the_own_threshold_and_at_one_half():
    labels, probability, patient = made_up()

    one = card_scores(labels, probability, patient, THRESHOLDS)["ankylosis"]

    there = labels[:, -1] == 1
    assert one["sensitivity"] == pytest.approx((probability[there, -1] >= 0.3).mean(), abs=1e-4)
    assert one["sensitivity_at_half"] == pytest.approx(
        (probability[there, -1] >= 0.5).mean(), abs=1e-4
    )
    assert one["specificity"] < one["specificity_at_half"]


def test_a_site_that_was_not_evaluable_counts_as_called_absent():
    labels, probability, patient = made_up()
    unseen = probability.copy()
    unseen[:10, -1] = np.nan
    free = np.nan_to_num(unseen)

    said, called_free = (
        card_scores(labels, one, patient, THRESHOLDS)["ankylosis"] for one in (unseen, free)
    )

    assert said["not_evaluable"] == 10
    assert said | {"not_evaluable": 0} == called_free


def test_places_without_a_label_are_left_out():
    labels, probability, patient = made_up()
    labels[::2, -1] = np.nan

    one = card_scores(labels, probability, patient, THRESHOLDS)["ankylosis"]

    assert one["places"] == 60
    assert one["positive"] == np.nansum(labels[:, -1])


def test_a_lesion_without_positive_cases_has_no_auc():
    labels, probability, patient = made_up()
    labels[:, -1], labels[:, -2] = 0, np.nan

    scores = card_scores(labels, probability, patient, THRESHOLDS)

    assert "auc" not in scores["ankylosis"]
    assert "specificity" in scores["ankylosis"]
    assert scores["sclerosis"]["places"] == 0
    assert "brier" not in scores["sclerosis"]


def answered_trial():
    """A small trial, and what a network said of its studies."""
    trial = TRIALS["measure-like"]
    joints = toy_joints(6, 3, seed=2)
    studies = tuple(
        EvaluationStudy(
            9_000_000 + number, int(joints.patient[2 * number]), int(joints.week[2 * number])
        )
        for number in range(len(joints.week) // 2)
    )
    severity = joints.severity.reshape(-1, len(POSITIONS))
    contrast = joints.contrast.reshape(severity.shape)
    rng = np.random.default_rng(3)
    said = [
        StudyPrediction(grades, clear, np.clip(0.2 * grades + 0.3 * rng.random(28), 0, 1))
        for grades, clear in zip(severity, contrast, strict=True)
    ]
    return StudySet("measure_like", studies, trial), said, joints


def test_a_trial_is_compared_with_its_readers_and_the_ground_truth():
    asked, said, joints = answered_trial()

    metrics = set_scores(asked, said, THRESHOLDS)

    assert list(metrics) == ["measure_like", "measure_like_truth"]
    read = read_trial(asked.trial, joints, 1)
    agreed = read.consensus
    one, true = (metrics[name]["oedema"] for name in metrics)
    assert metrics["measure_like"]["labels"] == "consensus of the readers"
    assert one["places"] == np.isfinite(agreed[:, :4]).sum()
    assert one["positive"] == np.nansum(agreed[:, :4])
    assert true["places"] == agreed[:, :4].size
    assert true["positive"] == joints.present[:, :4].sum()
    assert metrics["measure_like"]["patients"] == 6
    assert metrics["measure_like"]["studies"] == 18


def test_the_visits_of_a_patient_are_drawn_together():
    asked, said, _ = answered_trial()
    apart = replace(
        asked,
        studies=tuple(replace(one, patient=number) for number, one in enumerate(asked.studies)),
    )

    together, each = (
        set_scores(one, said, THRESHOLDS)["measure_like_truth"] for one in (asked, apart)
    )

    assert together["oedema"]["auc"] == each["oedema"]["auc"]
    assert together["oedema"]["auc_interval"] != each["oedema"]["auc_interval"]
    assert (together["oedema"]["patients"], each["oedema"]["patients"]) == (6, 18)


def test_every_visit_of_a_trial_is_a_study_of_its_set():
    asked = trial_set(TRIALS["surpass-like"])

    assert asked.name == "surpass_like"
    assert asked.patients == TRIALS["surpass-like"].patients
    assert len({study.seed for study in asked.studies}) == len(asked.studies)


def test_pointings_have_names_without_spaces():
    found = pointed_at([Pointing(Lesion.FATTY_LESION, np.inf, np.inf, 0.5)])

    assert set(found) == {"fatty_lesion", "all"}
    assert found["all"]["distance_mm_p50"] == "beyond: too many were missed"


def test_definitions_are_scored_over_the_studies_stating_them():
    told = [
        dict.fromkeys(Definition, pair)
        for pair in ((True, True), (True, True), (False, True), (False, False))
    ]

    found = definition_scores([*told, {}])

    assert list(found) == ["positive_mri", "active", "structural"]
    assert found["active"]["studies"] == 4
    assert found["active"]["met"] == 3
    assert found["active"]["sensitivity"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["active"]["specificity"] == 1
    assert found["active"]["kappa"] == pytest.approx(0.5)


def test_the_page_lists_every_set_and_what_falls_short():
    asked, said, _ = answered_trial()
    origin = {"command": "python -m trainer evaluate lesion", "code": "abc"}
    metrics = {name: origin | of for name, of in set_scores(asked, said, THRESHOLDS).items()}
    metrics["second_phantom"] = metrics["measure_like_truth"]
    worse = metrics["measure_like"]["erosion"] | {"auc": 0.6}
    metrics["measure_like"] = metrics["measure_like"] | {"erosion": worse}
    settings = {"thresholds_chosen": "cases 1 to 2"}
    card = Card("lesion", "9", None, 1, "Not for clinical use", {}, metrics, settings)

    page = scores_page(card)

    assert "## Measure-like, consensus labels" in page
    assert "## Second phantom, true labels" in page
    assert "measure-like erosion, AUC: .60, paper .87" in page
    assert "Not for clinical use" in page
    assert "cases 1 to 2" in page
    assert page.count("| ankylosis |") == len(metrics)
    assert len(Side) * asked.patients * 3 * 4 == metrics["second_phantom"]["oedema"]["places"]
