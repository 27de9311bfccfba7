import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch import nn

from models.findings import POSITIONS, Side
from models.roi import RoiRules
from models.weights import WeightsInvalid, load_network
from tests.support.phantom_studies import drawn_case
from tests.support.untrained_networks import SMALL_CONTOUR, SMALL_LESION, save_untrained
from trainer.augmentation import PAPER, Movement
from trainer.contours.contour_training import batches, slice_pool
from trainer.contours.landmark_baseline import LANDMARKS
from trainer.evaluation.evaluate_contour import evaluate_contour
from trainer.evaluation.evaluate_lesion import evaluate_lesion
from trainer.evaluation.evaluate_second import evaluate_second
from trainer.experiment import ExperimentInvalid, read_experiment
from trainer.lesions.lesion_training import joint_samples, lesion_batches
from trainer.phantom.case import PhantomOptions
from trainer.prepared_cases import read_case, stored_case, write_case
from trainer.train import NetworkKind, calibrate, train
from trainer.training_log import read_history
from trainer.training_loop import CHECKPOINT, STEPS_PER_CHECKPOINT, fit

WEIGHTS = Path(__file__).parents[3] / "models" / "weights"
RULES = RoiRules(size_px=48)
STEPS = 2 * STEPS_PER_CHECKPOINT


@pytest.fixture(scope="module")
def phantom():
    return drawn_case(7, PhantomOptions(slices=15, matrix=256))


@pytest.fixture(scope="module")
def stored(phantom):
    return stored_case(phantom, RULES)


def test_a_kept_case_is_read_back_as_it_was(stored, tmp_path):
    write_case(stored, tmp_path)

    again = read_case(tmp_path, stored.seed)

    np.testing.assert_array_equal(again.images, stored.images)
    np.testing.assert_array_equal(again.contours, stored.contours)
    np.testing.assert_array_equal(again.severity, stored.severity)
    assert again.rois.keys() == stored.rois.keys()
    assert all((again.rois[key] == stored.rois[key]).all() for key in stored.rois)


def test_a_case_holds_every_contour_with_the_right_side_image_left(stored, phantom):
    seen = ~np.isnan(stored.contours[:, :, 0, 0])
    columns = np.nanmean(stored.contours[..., 1], axis=(0, 2))

    drawn = len(phantom.t1_truth.contours) + len(phantom.stir_truth.contours)
    assert seen.sum() == drawn
    assert columns[0] < columns[1]


def test_a_case_gives_a_sample_for_each_joint_with_its_own_labels(stored, phantom):
    right, left = joint_samples(stored)

    for side, sample in ((Side.RIGHT, right), (Side.LEFT, left)):
        truth = [phantom.severity[p] >= 1 for p in POSITIONS if p.side is side]
        assert (sample.positive.numpy() > 0).tolist() == truth
        assert sample.t1.shape[2:] == (48, 48)


def test_training_batches_of_both_networks_have_the_promised_shapes(stored):
    generator = torch.Generator().manual_seed(0)
    stock = slice_pool([stored])

    images, contours = next(batches(stock, 5, (0, -1, 1), Movement(), PAPER, generator))
    joints = joint_samples(stored)
    lesions = next(lesion_batches(joints, 2, generator))

    assert images.shape == (5, 3, 224, 224)
    assert contours.shape == (5, 2, 16, 2)
    slices = [roi.shape[1] for roi in (*(j.t1 for j in joints), *(j.stir for j in joints))]
    assert lesions.squares.shape == lesions.zones.shape == (4, max(slices), 48, 48)
    assert sorted(lesions.present.sum(dim=1).tolist()) == sorted(slices)
    assert lesions.positive.shape == (2, 14)


class Stopped(Exception):
    """The power went."""


def train_a_line(folder, stop_at=None):
    plan = replace(read_experiment(Path("trainer/experiments/contour.toml")), steps=STEPS)
    torch.manual_seed(0)
    network, generator = nn.Linear(3, 1), torch.Generator().manual_seed(0)

    def losses_of_step(step):
        if step == stop_at:
            raise Stopped
        inputs = torch.randn(8, 3, generator=generator)
        return {"loss": (network(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()}

    fit(network, losses_of_step, plan, generator, folder)
    return network.state_dict()


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    whole = train_a_line(tmp_path / "whole")
    with pytest.raises(Stopped):
        train_a_line(tmp_path / "stopped", stop_at=STEPS - 50)

    resumed = train_a_line(tmp_path / "stopped")

    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor)


def test_the_first_step_is_printed_and_the_tenth_is_saved(tmp_path, capsys):
    with pytest.raises(Stopped):
        train_a_line(tmp_path, stop_at=11)

    assert f"step 1/{STEPS} loss" in capsys.readouterr().out
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 10


COMMON = {"step", "loss", "learning rate", "seconds a step"}
WITH_READERS = SMALL_LESION + '[readers]\nmodel = "chain"\n'
WITH_SOFT_LABELS = SMALL_LESION + '[readers]\nmodel = "soft"\n'


@pytest.mark.parametrize("text", [SMALL_CONTOUR, SMALL_LESION, WITH_READERS, WITH_SOFT_LABELS])
def test_a_training_hands_over_weights_with_a_card(stored, tmp_path, text):
    runs, weights = tmp_path / "runs", tmp_path / "weights"
    (runs / "cases").mkdir(parents=True)
    for seed in range(3):
        write_case(replace(stored, seed=seed), runs / "cases")
    experiment = tmp_path / "small.toml"
    experiment.write_text(text)
    network = NetworkKind(read_experiment(experiment).name)

    train(network, experiment, weights, runs)

    card = load_network(weights / network).card
    assert card.version == "9.9.9"
    assert card.training["cases"]["test"] == [2, 3]
    (run,) = runs.glob(f"{network}-9.9.9")
    history = read_history(run)
    assert [row["step"] for row in history if "validation loss" in row] == [1, 2]
    has_parts = bool(set(history[0]) - COMMON)
    assert has_parts is (text is not WITH_SOFT_LABELS)
    assert (run / "curves.png").exists()


@pytest.mark.parametrize(
    ("training", "validation", "message"),
    [
        (1, 1, "the training cases of lesion have 2 joints .* 3 are needed"),
        (2, 0, "the validation cases of lesion have 0 joints"),
    ],
)
def test_too_few_joints_are_refused_before_training(
    stored, tmp_path, training, validation, message
):
    (tmp_path / "cases").mkdir()
    for seed in range(4):
        readable = seed < training or (seed == 2 and validation > 0)
        write_case(replace(stored, seed=seed, lesions_readable=readable), tmp_path / "cases")
    experiment = tmp_path / "few.toml"
    text = SMALL_LESION.replace("batch = 2", "batch = 3").replace("[0, 1]", "[0, 2]")
    experiment.write_text(text.replace("[1, 2]", "[2, 3]").replace("[2, 3] }", "[3, 4] }"))

    with pytest.raises(ExperimentInvalid, match=message):
        train(NetworkKind.LESION, experiment, tmp_path / "weights", tmp_path)


def test_phantoms_are_not_evaluated_without_a_contour_network(tmp_path):
    experiment = tmp_path / "small.toml"
    experiment.write_text(SMALL_LESION)
    save_untrained(read_experiment(experiment), tmp_path / "lesion")

    with pytest.raises(WeightsInvalid, match="has no folder contour"):
        evaluate_lesion(experiment, tmp_path, tmp_path)


def test_own_cases_never_overwrite_the_shipped_weights(tmp_path):
    experiment = tmp_path / "own.toml"
    experiment.write_text(SMALL_LESION.replace("cases = {", 'cases = { folder = "own",'))

    with pytest.raises(ExperimentInvalid, match="name another folder with --weights"):
        train(NetworkKind.LESION, experiment, runs=tmp_path)


def test_weights_of_another_name_are_never_overwritten(tmp_path):
    experiment = tmp_path / "small.toml"
    experiment.write_text(SMALL_LESION)
    save_untrained(read_experiment(experiment), tmp_path / "lesion")

    with pytest.raises(ExperimentInvalid, match=r"holds lesion 9\.9\.9, which other would"):
        train(NetworkKind.LESION, experiment, tmp_path, tmp_path, ["name=other"])


def test_probabilities_are_calibrated_on_the_validation_cases_alone(stored, tmp_path):
    (tmp_path / "cases").mkdir()
    write_case(replace(stored, seed=1), tmp_path / "cases")
    experiment = tmp_path / "small.toml"
    experiment.write_text(SMALL_LESION)
    before = save_untrained(read_experiment(experiment), tmp_path / "lesion")

    calibrate(experiment, tmp_path, tmp_path)

    card = load_network(tmp_path / "lesion").card
    assert card.sha256 == before.sha256
    assert card.settings["calibration"]["fitted_on"] == "phantom cases 1 to 1"
    assert len(card.settings["thresholds"]) == 14


def test_calibrating_without_label_slabs_says_what_the_reference_lacks(stored, tmp_path, capsys):
    (tmp_path / "cases").mkdir()
    write_case(replace(stored, seed=1), tmp_path / "cases")
    experiment = tmp_path / "small.toml"
    experiment.write_text(SMALL_LESION)
    save_untrained(read_experiment(experiment), tmp_path / "lesion")

    calibrate(experiment, tmp_path, tmp_path, ["slab_share=0.5"])

    said = capsys.readouterr().out
    assert "warning: lesion has slab_share = 0.5" in said
    assert f"draw-slabs --cache {tmp_path / 'slabs'}" in said
    assert "2 of cases, 0 of label slabs" in said


def few_slices(stored):
    """A case of five slices a sequence."""
    chosen = slice(None, None, 3)
    return replace(
        stored,
        seed=2,
        images=stored.images[chosen],
        contours=stored.contours[chosen],
        pixel_mm=stored.pixel_mm[chosen],
        native_mm=stored.native_mm[chosen],
        place_mm=stored.place_mm[chosen],
        stir_from=stored.stir_from // 3,
    )


def test_contour_networks_are_compared_and_the_card_records_it(stored, tmp_path):
    stored = few_slices(stored)
    (tmp_path / "cases").mkdir()
    write_case(stored, tmp_path / "cases")
    experiment = tmp_path / "small.toml"
    experiment.write_text(SMALL_CONTOUR)
    plan = read_experiment(experiment)
    save_untrained(plan, tmp_path / "contour")
    shape = replace(plan.architecture, channels_per_joint=LANDMARKS)
    save_untrained(replace(plan, architecture=shape), tmp_path / "landmarks", walk="literal")

    evaluate_contour(
        experiment,
        tmp_path,
        tmp_path,
        beside=[
            f"baseline={tmp_path / 'landmarks'}",
            f"by the letter={tmp_path / 'contour'}:literal",
        ],
        ablate=True,
        docs=tmp_path / "docs",
    )

    metrics = load_network(tmp_path / "contour").card.metrics
    report = json.loads((tmp_path / "docs" / "delineation.json").read_text())
    page = (tmp_path / "docs" / "delineation.md").read_text()
    seen = (~np.isnan(stored.contours[:, :, 0, 0])).sum()
    assert metrics["test"]["contours"] == metrics["baseline"]["contours"] == seen
    assert metrics["test"]["patients"] == 1
    assert len(metrics["test"]["rms_mm_p95_interval"]) == 2
    assert list(report["methods"]) == ["ours", "baseline", "by the letter"]
    fallbacks = [one["rules"]["fallback"] for one in report["methods"].values()]
    assert fallbacks == [True, False, False]
    assert "the paper's walk" in report["ablations"]
    assert report["experiment"]["seed"] == 1
    assert "Trained on phantoms, not for clinical use" in page
    assert (tmp_path / "docs" / "images" / "delineation.svg").exists()


@pytest.mark.parametrize("wrong", ["baseline", "baseline=", "baseline=folder:sideways"])
def test_compared_networks_need_a_name_a_folder_and_a_known_walk(stored, tmp_path, wrong):
    (tmp_path / "cases").mkdir()
    write_case(few_slices(stored), tmp_path / "cases")
    experiment = tmp_path / "small.toml"
    experiment.write_text(SMALL_CONTOUR)

    with pytest.raises(typer.BadParameter, match="NAME=FOLDER"):
        evaluate_contour(experiment, tmp_path, tmp_path, beside=[wrong])


def test_both_networks_are_measured_on_the_second_phantom(tmp_path):
    evaluate_second(cases=2, first=3, weights=WEIGHTS, runs=tmp_path, docs=tmp_path)

    report = json.loads((tmp_path / "second_phantom.json").read_text())
    page = (tmp_path / "second_phantom.md").read_text()
    assert report["contours"]["lines"] > 20
    assert 0 <= report["contours"]["missed, %"][0] <= 100
    assert report["lesions"]["patients"] == 2
    assert report["lesions"]["oedema"]["places"] == 16
    assert report["lesions"]["ankylosis"]["places"] == 4
    assert "not for clinical use" in page
    assert report["command"] in page
