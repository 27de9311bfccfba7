"""Training as a site would: several processes, with and without TensorBoard or pydicom."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.weights import load_network
from tests.support.untrained_networks import SMALL_CONTOUR
from trainer.experiment import read_experiment
from trainer.phantom.case import PhantomOptions, make_case
from trainer.prepared_cases import stored_case, write_case
from trainer.train import NetworkKind, train
from trainer.training_log import log_nothing, tensorboard_log

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """An experiment whose cases, of a few slices each, are drawn already."""
    folder = tmp_path_factory.mktemp("together")
    plan_file = folder / "small.toml"
    plan_file.write_text(SMALL_CONTOUR)
    case = make_case(7, PhantomOptions(slices=4, matrix=128))
    stored = stored_case(case, read_experiment(plan_file).roi)
    (folder / "runs" / "cases").mkdir(parents=True)
    for seed in range(3):
        write_case(replace(stored, seed=seed), folder / "runs" / "cases")
    return folder


def command(prepared, weights):
    return [
        *("-m", "trainer", "train", "contour", "--experiment", str(prepared / "small.toml")),
        *("--runs", str(prepared / "runs"), "--weights", str(weights)),
    ]


def ran(arguments):
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_train_one_network_that_is_written_once(prepared, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

    said = ran([*launcher, *command(prepared, tmp_path)])

    assert said.count("contour 9.9.9 written") == 1
    record = json.loads((prepared / "runs" / "contour-9.9.9" / "run.json").read_text())
    assert record["processes"] == 2
    assert record["experiment"]["seed"] == 1
    checkpoint = prepared / "runs" / "contour-9.9.9" / "checkpoint.pt"
    states = torch.load(checkpoint, weights_only=True)
    first, second = states["random_of_all"]
    assert states["step"] == 2
    assert not torch.equal(first, second)
    assert load_network(tmp_path / "contour").card.training["steps"] == 2


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pydicom", "pynetdicom", "highdicom", "tensorboard"):
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocker())
from trainer.__main__ import app
app()
"""


def test_training_needs_neither_pydicom_nor_tensorboard(prepared, tmp_path):
    program = tmp_path / "blocked.py"
    program.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{BLOCKED}")

    said = ran([str(program), *command(prepared, tmp_path)[2:]])

    assert "TensorBoard is not installed" in said
    assert "contour 9.9.9 written" in said


def test_the_course_of_a_training_can_be_seen_in_tensorboard(tmp_path):
    log_values = tensorboard_log(tmp_path)
    assert log_values is not log_nothing

    log_values(50, {"loss": 0.25})

    seen = EventAccumulator(str(tmp_path))
    seen.Reload()
    (noted,) = seen.Scalars("loss")
    assert (noted.step, noted.value) == (50, 0.25)


def test_a_run_that_was_finished_is_written_again_without_training(prepared, tmp_path):
    for number in range(2):
        train(
            NetworkKind.CONTOUR,
            prepared / "small.toml",
            tmp_path / str(number),
            tmp_path_with_cases(prepared, tmp_path),
        )

    one, two = (
        load_network(tmp_path / str(number) / "contour").network.state_dict() for number in range(2)
    )
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, two[name])


def tmp_path_with_cases(prepared, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir(exist_ok=True)
    if not (runs / "cases").exists():
        (runs / "cases").symlink_to(prepared / "runs" / "cases")
    return runs
