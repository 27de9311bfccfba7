"""The commands that draw label slabs, train and export the joint networks, and measure phantoms."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from models.delineate import loaded_contour_network
from models.joint_delineation import JointRules
from models.joint_unet import JointNetwork
from models.weights import INTENDED_USE, load_network, read_card
from trainer.__main__ import app
from trainer.phantom import draw_slabs

WEIGHTS = Path(__file__).parents[3] / "models" / "weights"
SLABS = 4


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    """What a command prints that succeeds."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def words(output: str) -> str:
    """What is printed, without the frame and its line breaks."""
    return " ".join(word for word in output.split() if word != "│")


@pytest.fixture(scope="module", params=["close", "field"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One small file of slabs of each kind, and a short training of both networks."""
    folder = tmp_path_factory.mktemp("joint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw_slabs, "CHUNK", SLABS)
        for kind in ("close", "field"):
            done("draw-slabs", "--chunks", 1, "--kind", kind, "--cache", folder / "cache")
    for kind in ("close", "field"):
        trained(folder, kind, folder / "runs", minutes=0.001)
    return folder


def trained(folder, kind, runs, minutes):
    """The checkpoint after a training of so many minutes."""
    where = ("--cache", folder / "cache", "--runs", runs)
    done("train-joint", kind, "--minutes", minutes, "--batch", 2, *where)
    return torch.load(runs / f"{kind}.pt", weights_only=True)


def test_draw_slabs_writes_labels_and_lines_of_every_slab(folder, kind):
    (file,) = (folder / "cache" / kind).iterdir()

    slabs = np.load(file)

    assert len(slabs["labels"]) == len(slabs["lines"]) == SLABS
    assert slabs["labels"].dtype == np.uint8
    assert slabs["lines"].shape[-2:] == (16, 2)
    assert (slabs["distance_mm"] > 0).all()


def test_draw_slabs_leaves_existing_files_alone(folder, kind):
    (file,) = (folder / "cache" / kind).iterdir()
    before = file.read_bytes(), file.stat().st_mtime_ns

    done("draw-slabs", "--chunks", 1, "--kind", kind, "--cache", folder / "cache")

    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    assert list((folder / "cache" / kind).iterdir()) == [file]


def test_training_resumes_from_its_checkpoint(folder, kind, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / f"{kind}.pt").write_bytes((folder / "runs" / f"{kind}.pt").read_bytes())
    before = torch.load(runs / f"{kind}.pt", weights_only=True)

    after = trained(folder, kind, runs, minutes=(before["seconds"] + 0.01) / 60)

    assert before["steps"] >= 1
    assert after["steps"] == before["steps"] + 1
    assert after["seconds"] > before["seconds"]


def test_a_training_that_is_over_changes_nothing(folder, kind):
    before = torch.load(folder / "runs" / f"{kind}.pt", weights_only=True)

    # A little less, because 60 times a sixtieth may be a little more.
    after = trained(folder, kind, folder / "runs", minutes=before["seconds"] / 60 - 1e-6)

    assert after["steps"] == before["steps"]
    for name, weights in before["average"].items():
        torch.testing.assert_close(after["average"][name], weights, rtol=0, atol=0)


@pytest.fixture(scope="module")
def exported(folder):
    """Folder of the exported network, and what the command printed."""
    options = ("--runs", folder / "runs", "--cache", folder / "cache")
    weights = folder / "exported"
    return weights, done("export-joint", "--version", "9.9.9", "--weights", weights, *options)


def test_export_joint_writes_a_network_the_node_can_load(exported):
    weights, _ = exported

    network, rules = loaded_contour_network(weights)

    assert isinstance(network, JointNetwork)
    assert isinstance(rules, JointRules)


def test_export_joint_writes_the_averaged_weights(exported, folder):
    weights, _ = exported
    joints = load_network(weights).network

    for kind, part in (("close", joints.delineators[0]), ("field", joints.finder)):
        average = torch.load(folder / "runs" / f"{kind}.pt", weights_only=True)["average"]
        for name, tensor in part.state_dict().items():
            stored = average[name].to(torch.float16).to(tensor.dtype)  # as every weights file
            torch.testing.assert_close(tensor, stored, rtol=0, atol=0)


def test_export_joint_prints_the_hash_that_is_in_the_card(exported):
    weights, printed = exported

    card = read_card(weights)

    assert card.version == "9.9.9"
    assert card.sha256 in printed


def test_the_exported_card_says_what_the_networks_learnt_from(exported, folder):
    card = read_card(exported[0])

    assert card.intended_use == INTENDED_USE
    assert card.metrics == {}
    for kind, said in (("close", card.training["close"][0]), ("field", card.training["field"])):
        steps = torch.load(folder / "runs" / f"{kind}.pt", weights_only=True)["steps"]
        assert said["steps"] == steps
        assert said["slabs"] > 0


@pytest.mark.parametrize("command", ["train-joint sideways", "draw-slabs --kind sideways"])
def test_an_unknown_kind_of_slab_is_refused_with_the_known_ones(command):
    result = run(*command.split())

    assert result.exit_code == 2
    assert all(word in result.output for word in ("sideways", "close", "field"))


def test_phantoms_of_both_generators_are_measured_by_style(tmp_path):
    report = tmp_path / "phantoms.json"

    printed = done("evaluate", "phantoms", "--own", 1, "--second", 1, "--report", report)

    numbers = json.loads(report.read_text())
    card = read_card(WEIGHTS / "contour")
    assert numbers["network"] == f"{card.name} {card.version}"
    assert numbers["network"] in printed
    assert numbers["warning"] == INTENDED_USE
    assert len(numbers["phantoms"]) == 2
    assert "second phantom" in numbers["phantoms"]
    assert numbers["refused"].keys() == numbers["phantoms"].keys()


def test_evaluate_phantoms_refuses_a_folder_without_weights(tmp_path):
    result = run("evaluate", "phantoms", "--weights", tmp_path, "--own", 1, "--second", 0)

    assert result.exit_code != 0
    assert str(tmp_path) in str(result.exception)


def test_training_without_slabs_says_how_to_draw_them(tmp_path, kind):
    result = run("train-joint", kind, "--cache", tmp_path, "--runs", tmp_path / "runs")

    assert result.exit_code == 2
    assert f"run draw-slabs --kind {kind}" in words(result.output)


def test_export_without_a_checkpoint_says_what_to_train(tmp_path):
    result = run("export-joint", "--version", "1", "--weights", tmp_path, "--runs", tmp_path)

    assert result.exit_code == 2
    assert "is missing: run train-joint field" in words(result.output)


def test_delineating_networks_of_several_seeds_answer_together(exported, folder, tmp_path):
    checkpoint = folder / "runs" / "close.pt"
    options = ("--runs", folder / "runs", "--cache", folder / "cache")
    members = ("--member", checkpoint, "--member", checkpoint)

    done("export-joint", "--version", "11", "--weights", tmp_path, *members, *options)

    alone = load_network(exported[0]).network
    together = load_network(tmp_path).network
    stacks = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    assert len(together.delineators) == 2
    with torch.inference_mode():
        for one, other in zip(together.delineate(stacks), alone.delineate(stacks), strict=True):
            torch.testing.assert_close(one, other)
