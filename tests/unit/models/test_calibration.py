import numpy as np
import pytest

from models.calibration import Calibration
from models.findings import HEADS
from trainer.lesions.calibration_fit import fitted_calibration, log_odds
from trainer.lesions.lesion_training import Predictions, chosen_settings
from trainer.metrics.lesion_scores import calibration_error

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(0, 2, (1500, len(HEADS)))
OVERSURE, TOO_HIGH = 0.5, -1.0


def drawn_labels(seed=0):
    chance = 1 / (1 + np.exp(-(OVERSURE * LOGITS + TOO_HIGH)))
    return (np.random.default_rng(seed).random(LOGITS.shape) < chance).astype(float)


def test_a_network_that_is_too_sure_and_too_high_is_set_right():
    found = fitted_calibration(LOGITS, drawn_labels(), "toy joints")

    np.testing.assert_allclose(found.scale, OVERSURE, atol=0.08)
    np.testing.assert_allclose(found.shift, TOO_HIGH, atol=0.12)
    assert found.fitted_on == "toy joints"


def test_calibration_lowers_the_error_on_joints_it_was_not_fitted_on():
    found = fitted_calibration(LOGITS, drawn_labels(), "")
    label = drawn_labels(seed=1)[:, 0] == 1

    before = calibration_error(label, Calibration().probabilities(LOGITS)[:, 0])
    after = calibration_error(label, found.probabilities(LOGITS)[:, 0])

    assert after < 0.04 < before


def test_calibration_never_changes_which_of_two_joints_is_worse():
    found = fitted_calibration(LOGITS, drawn_labels(), "")

    order = np.argsort(LOGITS[:, 3])
    assert (np.diff(found.probabilities(LOGITS)[order, 3]) >= 0).all()


def test_a_lesion_no_reader_saw_keeps_finite_numbers():
    labels = drawn_labels()
    labels[:, 12], labels[:, 13] = np.nan, 0.0

    found = fitted_calibration(LOGITS, labels, "")

    assert (found.scale[12], found.shift[12]) == (1.0, 0.0)
    assert np.isfinite([found.scale[13], found.shift[13]]).all()


@pytest.mark.parametrize("scale", [(1.0,) * 13, (0.0,) * 14, (float("nan"),) * 14])
def test_a_calibration_that_is_short_or_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match="calibration"):
        Calibration(scale=scale)


def test_a_card_says_where_its_calibrated_thresholds_come_from():
    probability = Calibration().probabilities(LOGITS)

    settings = chosen_settings(
        Predictions((drawn_labels() == 1).astype(float), probability), "toy joints 0 to 1499"
    )

    found = Calibration(**settings["calibration"])
    called = found.probabilities(LOGITS) >= np.array(settings["thresholds"])
    expected = log_odds(probability) * OVERSURE + TOO_HIGH >= log_odds(drawn_labels().mean())
    assert (called == expected).mean() > 0.85
    assert "toy joints 0 to 1499" in settings["thresholds_chosen"]


def test_a_head_s_logit_means_alone_what_it_means_among_all():
    found = fitted_calibration(LOGITS, drawn_labels(), "")

    for number in range(len(HEADS)):
        alone = found.of_head(number, LOGITS[:, number])
        np.testing.assert_array_equal(alone, found.probabilities(LOGITS)[:, number])
