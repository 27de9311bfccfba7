from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.findings import HEADS, Lesion
from sij_node.results import joint_diagram as diagram
from tests.support.reader_trials import toy_joints, toy_trials
from trainer.experiment import ExperimentInvalid
from trainer.metrics.classification import auc
from trainer.metrics.lesion_scores import (
    LabelledPredictions,
    calibration_curve,
    calibration_error,
    differences,
    intervals,
    resampled,
    scores_of,
)
from trainer.phantom.trials import TRIALS
from trainer.reader_study import reader_figures as figures
from trainer.reader_study.cross_validation import (
    ReaderExperiment,
    cached_fold,
    held_out_predictions,
    out_of_fold,
    read_reader_experiment,
    run_fold,
)
from trainer.reader_study.lesion_heads import (
    HeadRules,
    directions_of,
    folds_of,
    head_inputs,
    train_heads,
)
from trainer.reader_study.reader_evaluation import (
    agreement,
    confusions,
    labelled_predictions,
    trial_scores,
)
from trainer.reader_study.reader_figures import roc_points
from trainer.reader_study.trials_page import label_counts, trials_page
from trainer.readers.reader_models import readers_of
from trainer.readers.reader_plan import ReaderModel, ReaderPlan
from trainer.readers.readings import MISSING, Readings

EXPERIMENTS = Path("trainer/experiments/readers")
QUICK = HeadRules(decays=(0.01,), steps=40, rate=0.05, folds=4)
CHAIN = ReaderExperiment("chain", ReaderPlan(ReaderModel.CHAIN), QUICK)


@pytest.fixture(scope="module")
def trials():
    return toy_trials()


@pytest.fixture(scope="module")
def results(trials):
    measure, *held_out = trials.values()
    return [run_fold(CHAIN, fold, measure, held_out) for fold in range(QUICK.folds)]


@pytest.fixture(scope="module")
def answers(trials, results):
    first = {"measure-like": out_of_fold(results, len(trials["measure-like"].joints.week))}
    return first | {
        name: held_out_predictions(results, n) for n, name in enumerate(list(trials)[1:])
    }


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_experiment_of_the_readers_can_be_read_and_built(path):
    experiment = read_reader_experiment(path)

    assert readers_of(experiment.readers, 2, 3).plan == experiment.readers


def test_margin_encoder_pooling_and_each_sequence_have_an_ablation():
    each = [read_reader_experiment(path) for path in EXPERIMENTS.glob("*.toml")]

    assert [one.margin_mm for one in each if one.margin_mm is not None] == [0]
    assert sum(not one.pretrained_encoder for one in each) == 1
    assert sum(not one.heads.by_zone for one in each) == 1
    assert {one.heads.sequences for one in each} == {("t1", "stir"), ("t1",), ("stir",)}


def test_every_model_of_the_readers_has_an_experiment():
    plans = [read_reader_experiment(path).readers for path in EXPERIMENTS.glob("*.toml")]

    assert {plan.model for plan in plans} == set(ReaderModel)
    assert len({plan.parametrisation for plan in plans}) == 2


def test_an_unknown_model_of_the_readers_is_named(tmp_path):
    path = tmp_path / "odd.toml"
    path.write_text('name = "odd"\n[readers]\nmodel = "telepathy"\n')

    with pytest.raises(ExperimentInvalid, match="telepathy"):
        read_reader_experiment(path)


def test_all_visits_of_a_patient_are_in_one_fold_and_folds_are_alike_in_size():
    patients = np.repeat(np.arange(21), 6)

    folds = folds_of(patients, 8, seed=1)

    assert all(len(set(folds[patients == one])) == 1 for one in range(21))
    assert set(np.bincount(folds[::6], minlength=8)) == {2, 3}
    assert not np.array_equal(folds, folds_of(patients, 8, seed=2))


def test_each_joint_is_scored_by_the_fold_that_never_saw_its_patient(trials, results):
    joints = trials["measure-like"].joints
    tested = np.concatenate([one.tested for one in results])

    assert sorted(tested) == list(range(len(joints.week)))
    folds = folds_of(joints.patient, QUICK.folds, QUICK.seed)
    for fold, one in enumerate(results):
        assert set(folds[one.tested]) == {fold}


def test_heads_that_see_their_own_zone_find_what_is_there(trials, answers):
    for name, trial in trials.items():
        scores = trial_scores(trial, answers[name])["truth"]
        for lesion in Lesion:
            assert scores[str(lesion)]["auc"] > 0.75, (name, lesion)


def test_a_held_out_trial_s_readings_play_no_part(trials, results):
    measure, *held_out = trials.values()
    nothing = Readings(np.full_like(held_out[0].reading.readings.values, MISSING))
    blind = [replace(one, reading=replace(one.reading, readings=nothing)) for one in held_out]

    again = run_fold(CHAIN, 1, measure, blind[:1])

    np.testing.assert_allclose(again.held_out[0].consensus, results[1].held_out[0].consensus)
    np.testing.assert_array_equal(again.threshold, results[1].threshold)


def test_a_fold_that_was_done_is_read_from_its_file(trials, results, tmp_path):
    measure, *held_out = trials.values()
    cached_fold(CHAIN, 0, measure, held_out, tmp_path)
    before = (tmp_path / "fold0.npz").stat().st_mtime_ns

    again = cached_fold(CHAIN, 0, measure, held_out, tmp_path)

    assert (tmp_path / "fold0.npz").stat().st_mtime_ns == before
    np.testing.assert_array_equal(again.test.consensus, results[0].test.consensus)
    assert again.composed.keys() == results[0].composed.keys()
    assert again.decay == results[0].decay


def test_the_chain_learns_errors_of_the_right_order(trials, results):
    learnt = {name: [one.composed[name] for one in results] for name in results[0].composed}

    found = confusions(trials["measure-like"], learnt)

    assert set(found) == {f"R{r}S{s}" for r in (1, 2) for s in (1, 2, 3)}
    pairs = [pair for lesions in found.values() for pair in lesions.values()]
    assert np.mean([abs(p["learnt"][0] - p["true"][0]) for p in pairs]) < 0.1


def test_inputs_of_one_sequence_are_that_sequence_s_features():
    seen = toy_joints(2, 1, 0)

    both, t1 = (head_inputs(seen, replace(QUICK, sequences=s)) for s in (("t1", "stir"), ("t1",)))

    assert both.shape[2] == 2 * t1.shape[2]
    torch.testing.assert_close(both[..., : t1.shape[2]], t1)


def test_heads_see_uncorrelated_directions_of_unit_variance(trials):
    inputs = head_inputs(trials["measure-like"].joints, QUICK)

    along = directions_of(inputs, replace(QUICK, components=7)).along(inputs)

    spread = torch.einsum("nhi,nhj->hij", along, along) / len(inputs)
    torch.testing.assert_close(spread, torch.eye(7).expand(len(HEADS), 7, 7), atol=1e-3, rtol=0)


def test_pretrained_heads_add_a_direction_and_keep_the_ranking(trials):
    rules, joints = replace(QUICK, components=3, pretrained=True), trials["measure-like"].joints
    inputs = head_inputs(joints, rules)

    along = directions_of(inputs, rules).along(inputs)

    assert along.shape[2] == 4
    scaled = (inputs[..., -1] - inputs[..., -1].mean(dim=0)) / inputs[..., -1].std(dim=0)
    torch.testing.assert_close(along[..., -1], scaled, atol=0.01, rtol=0.01)


def test_a_heavier_decay_leaves_smaller_weights(trials):
    trial = trials["measure-like"]
    readers = readers_of(ReaderPlan(ReaderModel.SOFT), 2, 3)
    inputs = head_inputs(trial.joints, QUICK)
    targets = readers.targets(trial.reading.readings)

    light, heavy = (
        train_heads(inputs, targets, readers, decay, QUICK).weight.norm() for decay in (0.001, 1.0)
    )

    assert heavy < light / 2


def made_up(joints=400, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.random((joints, 2))
    label = (rng.random((joints, 2)) < probability).astype(float)
    label[::7, 0] = np.nan
    return LabelledPredictions(
        probability, probability > 0.3, label, np.repeat(np.arange(joints // 8), 8)
    )


def test_scores_are_those_of_the_places_that_have_a_label():
    judged_ = made_up()
    known = ~np.isnan(judged_.label)

    scores = scores_of(judged_)

    assert scores["places"] == known.sum()
    assert scores["auc"] == auc(judged_.label[known] == 1, judged_.probability[known])
    assert scores["sensitivity_own"] > scores["sensitivity"]
    assert scores["brier"] == pytest.approx(
        np.square(judged_.probability - judged_.label)[known].mean()
    )


def test_overconfident_probabilities_have_a_large_calibration_error():
    truth, honest, _ = made_up(4000).flat()

    assert calibration_error(truth, honest) < 0.03
    assert calibration_error(truth, np.round(honest)) > 0.2
    assert sum(count for _, _, count in calibration_curve(truth, honest)) == len(truth)


def test_whole_patients_are_drawn_anew():
    patient = np.repeat(np.arange(5), [1, 2, 3, 4, 5])

    for joints in resampled(patient, 20, seed=0):
        counts = np.bincount(patient[joints], minlength=5)
        assert (counts % np.arange(1, 6) == 0).all()
        assert (counts / np.arange(1, 6)).sum() == 5


def test_an_interval_holds_the_score_it_is_about():
    judged_ = made_up()

    found, scores = intervals(judged_, 50, seed=1), scores_of(judged_)

    for name, (low, high) in found.items():
        assert low <= scores[name] <= high or name == "ece"


def test_a_better_model_s_difference_is_above_nothing():
    good = made_up()
    noise = np.random.default_rng(1).normal(0, 0.5, good.probability.shape)
    bad = replace(good, probability=np.clip(good.probability + noise, 0, 1))

    found = differences([good], [bad], ("auc", "brier"), 50, seed=0)

    middle, low, high = found["auc"]
    assert 0 < low < middle < high
    assert found["brier"][2] < 0


def test_roc_curves_run_from_corner_to_corner_and_enclose_the_auc():
    truth, probability, _ = made_up().flat()

    points = roc_points(truth, probability)

    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(auc(truth, probability))


def test_a_lesion_has_the_colour_that_it_has_in_the_reports():
    in_figures = {lesion: bytes.fromhex(code[1:]) for lesion, code in figures.COLOURS.items()}

    assert in_figures == {lesion: bytes(colour) for lesion, colour in diagram.COLOURS.items()}


def test_a_lesion_that_a_trial_does_not_have_gets_no_auc(trials, answers):
    prevent = trials["prevent-like"]
    without = replace(prevent, joints=replace(prevent.joints, severity=prevent.joints.severity * 0))

    scores = trial_scores(without, answers["prevent-like"])["truth"]["ankylosis"]

    assert scores["present"] == 0
    assert np.isnan(scores["auc"])


def test_agreement_of_model_and_readers_is_shown_side_by_side(trials, answers):
    found = agreement(trials["measure-like"], answers["measure-like"])

    for lesion in Lesion:
        one = found[str(lesion)]
        assert one["reader with reader"] < one["reader with himself"] < 1
        assert -1 < one["model with a reading"] < one["model with consensus"]


def test_probabilities_and_labels_of_a_lesion_are_those_of_its_heads(trials, answers):
    one = labelled_predictions(
        trials["measure-like"], answers["measure-like"], Lesion.EROSION, "truth"
    )

    np.testing.assert_array_equal(one.label, trials["measure-like"].joints.severity[:, 4:8] >= 1)
    assert one.probability.shape[1] == 4


def test_the_tables_count_every_reading(trials):
    table = label_counts(Lesion.SCLEROSIS, {"surpass-like": trials["surpass-like"]})

    rows = [row.split(" | ") for row in table.splitlines()[2:]]
    assert [row[1] for row in rows] == ["R1", "R2", "R3", "consensus"]
    absent, present = (int(part.strip(" |")) for part in rows[0][2].split("/"))
    values = trials["surpass-like"].reading.readings.values[::2, HEADS.index(HEADS[12]), 0, 0]
    assert (absent, present) == ((values == 0).sum(), (values == 1).sum())


def test_the_trials_page_says_that_no_patient_was_real(trials):
    page = trials_page(TRIALS, trials, "a command")

    assert "Not for clinical use" in page
    assert page.count("### ") == len(Lesion)
