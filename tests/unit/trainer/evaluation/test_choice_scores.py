"""What depends on the choices of a site, operating points and prevalence; and lesion burden."""

import numpy as np
import pytest

from models.burden_scores import BurdenName, BurdenScore
from models.findings import HEADS, QUADRANTS, Head, Lesion, OperatingPoint, Position, Side
from trainer.evaluation.lesion_card import burden_accuracy, choice_scores
from trainer.evaluation.slice_calibration_fit import fitted_on_slices
from trainer.lesions.lesion_training import Predictions, chosen_settings
from trainer.metrics.classification import sensitive_threshold, specific_threshold
from trainer.metrics.lesion_scores import calibration_error, calibration_error_at

RNG = np.random.default_rng(7)


def drawn(prevalence, joints=4000):
    """Labels, and the honest probabilities of a network, all heads alike."""
    present = RNG.random((joints, len(HEADS))) < prevalence
    logits = RNG.standard_normal(present.shape) + np.where(present, 1.2, -1.2)
    odds = prevalence / (1 - prevalence) * np.exp(2.4 * logits)
    return present.astype(float), odds / (1 + odds)


def test_thresholds_keep_the_sensitivity_or_specificity_they_are_for():
    label, probability = drawn(0.25)
    truth, said = label[:, 0] == 1, probability[:, 0]

    sensitive, specific = (
        sensitive_threshold(truth, said, 0.95),
        specific_threshold(truth, said, 0.9),
    )

    assert 0.95 <= (said[truth] >= sensitive).mean() < 0.96
    assert 0.9 <= (said[~truth] < specific).mean() < 0.91
    assert sensitive < specific


@pytest.mark.parametrize("truth", [np.zeros(5, bool), np.ones(5, bool)])
def test_without_both_classes_a_threshold_is_one_half(truth):
    assert sensitive_threshold(truth, np.arange(5) / 5, 0.95) == 0.5
    assert specific_threshold(truth, np.arange(5) / 5, 0.95) == 0.5


def test_a_card_orders_its_operating_points():
    label, probability = drawn(0.2, 400)
    settings = chosen_settings(Predictions(label, probability), "toy joints")

    points = zip(
        settings["thresholds_sensitive"],
        settings["thresholds"],
        settings["thresholds_specific"],
        strict=True,
    )
    assert all(sensitive <= balanced <= specific for sensitive, balanced, specific in points)
    assert settings["calibration"]["prevalence"][0] == pytest.approx(label[:, :4].mean(), abs=0.01)
    assert settings["slice_calibration"] is None


def test_the_error_at_the_prevalence_of_the_set_is_the_usual_one():
    label, probability = drawn(0.3)
    truth, said = label[:, 0] == 1, probability[:, 0] ** 2

    usual = calibration_error(truth, said)

    assert calibration_error_at(truth, said, truth.mean()) == pytest.approx(usual)


def test_a_stated_prevalence_keeps_the_calibration_that_is_lost_without():
    label, probability = drawn(0.25)
    settings = chosen_settings(Predictions(label, probability), "toy joints")

    found = choice_scores(label, probability, settings)

    assert list(found["ece_at_prevalence"]) == ["0.05", "0.1", "0.2", "0.4"]
    for errors in found["ece_at_prevalence"].values():
        assert max(errors[one][1] for one in errors) < 0.03
    rare = found["ece_at_prevalence"]["0.05"]
    assert all(plain > 2 * stated for plain, stated in rare.values())


def test_each_operating_point_has_its_sensitivity_and_specificity():
    label, probability = drawn(0.25)
    settings = chosen_settings(Predictions(label, probability), "toy joints")

    points = choice_scores(label, probability, settings)["operating_points"]

    assert list(points) == list(OperatingPoint)
    oedema = [points[one]["oedema"] for one in ("sensitive", "balanced", "specific")]
    assert [one["sensitivity"] for one in oedema] == sorted(
        (one["sensitivity"] for one in oedema), reverse=True
    )
    assert oedema[0]["sensitivity"] == pytest.approx(0.95, abs=0.03)
    assert oedema[2]["specificity"] == pytest.approx(0.95, abs=0.03)


def test_an_older_card_is_scored_at_its_one_operating_point():
    label, probability = drawn(0.25, 200)

    found = choice_scores(label, probability, {"thresholds": [0.4] * len(HEADS)})

    assert list(found["operating_points"]) == ["balanced"]
    assert all(len(errors["oedema"]) == 1 for errors in found["ece_at_prevalence"].values())


def test_burden_is_compared_with_the_truth_score_by_score():
    score = BurdenScore(BurdenName.SSS_FAT, 10, 6, 14)

    found = burden_accuracy([(score, 12), (score, 5)])

    assert list(found) == ["sss_fat"]
    assert found["sss_fat"]["within_band"] == 0.5
    assert found["sss_fat"]["bias"] == pytest.approx(1.5)
    assert found["sss_fat"]["mean_absolute_error"] == pytest.approx(3.5)


def test_slices_are_calibrated_on_those_of_present_lesions_alone():
    present, absent = (
        Position(side, Head(Lesion.OEDEMA, QUADRANTS[0])) for side in (Side.RIGHT, Side.LEFT)
    )
    samples = []
    for _ in range(200):
        logits = RNG.normal(0, 2, 10)
        shown = RNG.random(10) < 1 / (1 + np.exp(-(0.5 * logits + 0.8)))
        chances = dict(enumerate((1 / (1 + np.exp(-logits))).tolist()))
        on = frozenset(np.flatnonzero(shown).tolist())
        samples.append(({present: chances, absent: chances}, {present: on}))

    fitted = fitted_on_slices(samples, "toy phantoms")

    assert fitted.scale[0] == pytest.approx(0.5, abs=0.08)
    assert fitted.shift[0] == pytest.approx(0.8, abs=0.15)
    assert fitted.scale[4] == 1.0
    assert fitted.fitted_on == "toy phantoms"
