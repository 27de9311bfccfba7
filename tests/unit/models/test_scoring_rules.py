"""Operating points and prevalence: what a site chooses, and what the model card must offer."""

import numpy as np
import pytest

from models.findings import HEADS, Lesion, OperatingPoint
from models.scoring_choice import ScoringChoice
from models.scoring_rules import scoring_rules
from models.weights import WeightsInvalid

OLD = {
    "calibration": {"scale": [0.8] * 14, "shift": [-0.4] * 14, "fitted_on": "cases"},
    "thresholds": [0.3] * 14,
}
CARD = OLD | {
    "calibration": OLD["calibration"] | {"prevalence": [0.2] * 14},
    "thresholds_sensitive": [0.1] * 14,
    "thresholds_specific": [0.6] * 14,
}
LOGITS = np.linspace(-6, 6, 50)[:, None] * np.ones(14)


def chosen(card, prevalence=None, **points):
    by_lesion = {Lesion[name.upper()]: OperatingPoint(point) for name, point in points.items()}
    return scoring_rules(card, ScoringChoice(by_lesion, prevalence or {}))


def test_an_older_card_has_the_balanced_operating_point():
    rules = scoring_rules(OLD)

    assert rules.thresholds == (0.3,) * 14
    assert rules.slices is None
    assert rules.choice.point(Lesion.EROSION) is OperatingPoint.BALANCED


def test_each_lesion_has_the_threshold_of_its_operating_point():
    rules = chosen(CARD, erosion="specific", oedema="sensitive")

    for head, threshold in zip(HEADS, rules.thresholds, strict=True):
        assert threshold == {Lesion.EROSION: 0.6, Lesion.OEDEMA: 0.1}.get(head.lesion, 0.3)


def test_an_operating_point_that_the_card_lacks_is_refused():
    with pytest.raises(WeightsInvalid, match="no thresholds for the operating point specific"):
        chosen(OLD, erosion="specific")


def test_a_prevalence_needs_that_of_the_fit():
    with pytest.raises(WeightsInvalid, match="prevalence is configured"):
        chosen(OLD, {Lesion.OEDEMA: 0.1})


def test_a_stated_prevalence_moves_probabilities_but_no_call():
    usual, rare = scoring_rules(CARD), chosen(CARD, {Lesion.OEDEMA: 0.05})
    before, after = (one.calibration.probabilities(LOGITS) for one in (usual, rare))
    oedema = np.array([head.lesion is Lesion.OEDEMA for head in HEADS])

    assert (after[:, oedema] < before[:, oedema]).all()
    np.testing.assert_array_equal(after[:, ~oedema], before[:, ~oedema])
    np.testing.assert_array_equal(
        after >= np.array(rare.thresholds), before >= np.array(usual.thresholds)
    )


def test_stating_the_prevalence_of_the_fit_changes_nothing():
    same = chosen(CARD, dict.fromkeys(Lesion, 0.2))

    np.testing.assert_allclose(same.calibration.shift, scoring_rules(CARD).calibration.shift)
    np.testing.assert_allclose(same.thresholds, 0.3)


def test_a_stated_prevalence_keeps_probabilities_true():
    rng = np.random.default_rng(1)
    present = rng.random(200_000) < 0.05
    logits = (rng.standard_normal(len(present)) + np.where(present, 1.5, -1.5)) * 3
    card = CARD | {
        "calibration": {"scale": [1.0] * 14, "shift": [0.0] * 14, "prevalence": [0.5] * 14}
    }
    rules = chosen(card, {Lesion.OEDEMA: 0.05})

    said = rules.calibration.of_head(0, logits)

    assert said.mean() == pytest.approx(0.05, abs=0.003)
    likely = said > 0.5
    assert said[likely].mean() == pytest.approx(present[likely].mean(), abs=0.02)


def test_other_thresholds_have_another_digest():
    rules = [
        scoring_rules(CARD),
        chosen(CARD, erosion="specific"),
        chosen(CARD, {Lesion.OEDEMA: 0.1}),
    ]

    assert len({one.digest for one in rules}) == len(rules)
    assert rules[0].digest == scoring_rules(dict(CARD)).digest


@pytest.mark.parametrize(
    "broken",
    [
        {"thresholds_specific": [0.6] * 13},
        {"thresholds_specific": [1.0] * 14},
    ],
)
def test_a_card_with_too_few_or_impossible_thresholds_is_refused(broken):
    with pytest.raises(WeightsInvalid, match="thresholds_specific between 0 and 1"):
        chosen(CARD | broken, erosion="specific")


@pytest.mark.parametrize("prevalence", [[0.2] * 13, [0.0] * 14, [1.0] * 14])
def test_a_card_with_an_impossible_prevalence_is_refused(prevalence):
    broken = CARD["calibration"] | {"prevalence": prevalence}

    with pytest.raises(WeightsInvalid, match="no valid calibration"):
        scoring_rules(CARD | {"calibration": broken})
