"""What fine-tuning gained and lost is measured on the same joints, with intervals."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.findings import HEADS
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34, Pooling
from trainer.__main__ import app
from trainer.lesion_folds import Gain, mean_network
from trainer.lesions.lesion_training import Predictions

JOINTS = 60
RNG = np.random.default_rng(3)
TRUTH = (RNG.random((JOINTS, len(HEADS))) < 0.4).astype(float)


def predicted(noise):
    """Predictions that lie further from the truth with more noise."""
    said = TRUTH + RNG.normal(0, noise, TRUTH.shape)
    return Predictions(TRUTH, 1 / (1 + np.exp(-said)))


def gain(before, after):
    return Gain(predicted(before), predicted(after), np.repeat(np.arange(JOINTS // 2), 2))


def test_a_better_network_gains_and_a_worse_one_loses():
    better, worse = gain(2.0, 0.3).difference(), gain(0.3, 2.0).difference()

    assert better[1] > 0.1
    assert worse[2] < -0.1


def test_the_same_predictions_gain_nothing():
    same = predicted(1.0)

    middle, low, high = Gain(same, same, np.arange(JOINTS)).difference()

    assert (middle, low, high) == (0, 0, 0)


def test_a_lesion_that_nobody_has_is_left_out_of_the_mean():
    rare = TRUTH.copy()
    rare[:, -1] = 0
    said = Predictions(rare, np.full_like(rare, 0.5))

    assert Gain(said, said, np.arange(JOINTS)).difference()[0] == 0
    assert Gain(said, said, np.arange(JOINTS)).rows()[-1][-1] == "–"


def test_every_weight_of_the_mean_network_is_the_mean_of_theirs():
    networks = []
    for seed in range(3):
        torch.manual_seed(seed)
        shape = LesionArchitecture(width=2, kernel_depth=1, pooling=Pooling.ZONES)
        networks.append(LesionResNet34(shape))

    mean = mean_network(networks).state_dict()

    weights = [network.state_dict()["heads.weight"] for network in networks]
    torch.testing.assert_close(mean["heads.weight"], sum(weights) / 3)
    assert mean["bn1.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("folds", [1, 2])
def test_fewer_than_three_folds_are_refused(folds, tmp_path):
    words = ["cross-validate", "--experiment", "x.toml", "--weights", str(tmp_path)]
    result = CliRunner().invoke(app, [*words, "--folds", str(folds)])

    assert result.exit_code == 2
