"""The lesion network is measured end to end, and its card says how good it is."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.weights import load_network, read_card, save_network
from trainer.evaluation import study_sets as answered
from trainer.evaluation.evaluate_lesion import evaluate_lesion
from trainer.evaluation.study_sets import (
    check_not_trained_on,
    fingerprint,
    plausible_set,
    predictions_on,
    second_set,
)
from trainer.experiment import ExperimentInvalid

WEIGHTS = Path("models/weights")
EXPERIMENT = Path("trainer/experiments/lesion.toml")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Intervals are not what is tested here."""
    monkeypatch.setattr("trainer.evaluation.lesion_card.RESAMPLES", 50)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def weights(tmp_path):
    return Path(shutil.copytree(WEIGHTS, tmp_path / "weights"))


def test_one_command_writes_every_set_on_the_card(weights, runs, tmp_path):
    evaluate_lesion(EXPERIMENT, weights, runs, second=1, trials=True, first=1, docs=tmp_path)

    metrics = load_network(weights / "lesion").card.metrics
    trials = [f"{name}_like{end}" for name in ("measure", "prevent", "surpass")
              for end in ("", "_truth")]  # fmt: skip
    assert sorted(metrics) == sorted(["test", "second_phantom", *trials])
    for of in metrics.values():
        assert of["patients"] == of["studies"] == 1
        assert {"command", "code", "labels"} <= set(of)
        assert of["oedema"]["places"] <= 8
        assert len(of["oedema"]["brier_interval"]) == 2
    page = (tmp_path / "scores.md").read_text()
    assert "## Surpass-like, true labels" in page


def test_what_was_answered_is_not_asked_again(weights, runs, monkeypatch):
    asked = plausible_set([20000])
    first = predictions_on(asked, weights, runs)

    def fail(*_):
        raise AssertionError("a study was drawn again")

    monkeypatch.setattr(answered, "make_case", fail)
    (again,) = predictions_on(asked, weights, runs)

    np.testing.assert_array_equal(again.probability, first[0].probability)
    np.testing.assert_array_equal(again.severity, first[0].severity)
    assert again.pointings == first[0].pointings


def test_several_processes_say_the_same(weights, runs, tmp_path):
    asked = second_set([30000, 30001])

    alone, together = (
        predictions_on(asked, weights, folder, processes)
        for folder, processes in ((runs, 1), (tmp_path, 2))
    )

    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)


def test_a_set_measured_alone_leaves_the_others_on_the_card(weights, runs):
    loaded = load_network(weights / "lesion")
    older = {"oedema": {"auc": 0.5}}
    save_network(loaded.network, replace(loaded.card, metrics=older), weights / "lesion")
    evaluate_lesion(EXPERIMENT, weights, runs, second=1, first=1)
    before = read_card(weights / "lesion").metrics

    evaluate_lesion(EXPERIMENT, weights, runs, first=1)

    after = read_card(weights / "lesion").metrics
    assert set(before) == set(after) == {"test", "second_phantom"}
    assert after["second_phantom"] == before["second_phantom"]


def test_other_thresholds_are_other_answers(weights):
    before = fingerprint(weights)
    loaded = load_network(weights / "lesion")
    settings = dict(loaded.card.settings) | {"thresholds": [0.4] * 14}

    save_network(loaded.network, replace(loaded.card, settings=settings), weights / "lesion")

    assert fingerprint(weights) != before


@pytest.mark.parametrize("seed", [3, 10001])
def test_studies_that_served_for_training_or_thresholds_are_refused(seed):
    with pytest.raises(ExperimentInvalid, match=f"contains phantom {seed}"):
        check_not_trained_on(plausible_set([20000, seed]), WEIGHTS)
