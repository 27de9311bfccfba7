"""Errors of the training commands: one line that says what to do, and an exit status."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.weights import load_network
from trainer.__main__ import main
from trainer.experiment import (
    SHIPPED,
    SHIPPED_WEIGHTS,
    WHOLE_SLICE_WEIGHTS,
    Experiment,
    read_experiment,
)
from trainer.initialisation import load_initial_weights
from trainer.readers.reader_plan import ReaderModel

EXPERIMENTS = Path("trainer/experiments")
WITHOUT_THE_EXTRA = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("matplotlib", "nibabel", "tensorboard"):
            raise ModuleNotFoundError(f"No module named {name}", name=name)

sys.meta_path.insert(0, Blocked())
from trainer.__main__ import main
main()
"""


def failed(arguments, monkeypatch, capsys):
    """Exit status and standard error of a command that fails."""
    monkeypatch.setattr(sys, "argv", ["trainer", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed = 1", "sede = 1"), "unknown key sede; valid keys are architecture, "),
        (("steps = 2000\n", ""), "missing steps"),
        (("steps = 2000", "steps = "), "Invalid value"),
        (("[16, 18]", "[16, 16]"), "a range of cases is empty"),
        (('"lesion"', '"heart"'), "kind 'heart' must be contour or lesion"),
    ],
)
def test_an_invalid_experiment_is_one_line(tmp_path, monkeypatch, capsys, change, message):
    plan = tmp_path / "plan.toml"
    plan.write_text((EXPERIMENTS / "own" / "lesion.toml").read_text().replace(*change))

    status, said = failed(["train", "lesion", "--experiment", plan], monkeypatch, capsys)

    assert status == 65
    assert said.startswith(f"error: {plan}: ")
    assert message in said
    assert said.count("\n") == 1


def test_a_missing_experiment_is_one_line(tmp_path, monkeypatch, capsys):
    plan = tmp_path / "absent.toml"

    status, said = failed(["train", "lesion", "--experiment", plan], monkeypatch, capsys)

    assert (status, said) == (66, f"error: {plan}: No such file or directory\n")


def test_missing_weights_are_one_line(tmp_path, monkeypatch, capsys):
    plan = EXPERIMENTS / "own" / "lesion.toml"
    arguments = ["evaluate", "lesion", "--experiment", plan, "--weights", tmp_path]

    status, said = failed(arguments, monkeypatch, capsys)

    assert status == 78
    assert f"{tmp_path / 'lesion' / 'card.json'} cannot be read" in said
    assert said.count("\n") == 1


def test_a_damaged_case_file_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "S001-1.case.npz").write_bytes(b"no archive")

    status, said = failed(
        ["import-cases", tmp_path, "--out", tmp_path / "own"], monkeypatch, capsys
    )

    assert status == 65
    assert "S001-1.case.npz is not a valid case file" in said
    assert said.count("\n") == 1


def test_commands_run_without_the_training_extra_and_name_it_where_needed(tmp_path):
    image = tmp_path / "t1.nii"
    image.write_bytes(b"")
    arguments = ["import-images", f"T1={image}", "--masks", tmp_path, "--out", tmp_path]
    command = [sys.executable, "-c", WITHOUT_THE_EXTRA, *map(str, arguments), "--subject", "S1"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 69, done.stderr
    assert done.stderr == (
        "error: nibabel is not installed; run: pip install 'sij-node[training]'\n"
    )


def own_experiment(kind, tmp_path, more="") -> Experiment:
    path = tmp_path / f"{kind}.toml"
    path.write_text((EXPERIMENTS / "own" / f"{kind}.toml").read_text() + more)
    return read_experiment(path)


@pytest.mark.parametrize(
    ("kind", "folder"),
    [("contour", WHOLE_SLICE_WEIGHTS / "contour"), ("lesion", SHIPPED_WEIGHTS / "lesion")],
)
def test_an_own_experiment_starts_from_the_shipped_weights(kind, folder, tmp_path):
    plan = own_experiment(kind, tmp_path)
    shipped = load_network(folder).network
    network = type(shipped)(plan.architecture)

    load_initial_weights(plan, network)

    assert plan.initial_weights == SHIPPED
    theirs = shipped.state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, theirs[name])


def test_the_documented_readers_section_fits_the_own_experiment(tmp_path):
    plan = own_experiment("lesion", tmp_path, '\n[readers]\nmodel = "chain"\n')

    assert plan.readers.model is ReaderModel.CHAIN
