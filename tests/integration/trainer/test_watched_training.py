"""A training run can be watched, keeps its best weights, stops early and resumes as it was."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from trainer.distributed import DeviceUnavailable, process_group
from trainer.experiment import ExperimentInvalid, Kept, read_experiment
from trainer.training_log import HISTORY, mlflow_log, read_history
from trainer.training_loop import BEST, TrainingDiverged, duration, fit

FILE = Path("trainer/experiments/own/contour.toml")
PLAN = replace(read_experiment(FILE), steps=12, validation_interval=2, patience=0, keep=Kept.LAST)


class Stopped(Exception):
    """The power went."""


def trained(folder, losses=(), stop_at=None, **changes):
    """A line, validated with given losses; the network of every validation, and the last one."""
    torch.manual_seed(0)
    network, generator = nn.Linear(3, 1), torch.Generator().manual_seed(0)
    measured, seen = iter(losses), []

    def losses_of_step(step):
        if step == stop_at:
            raise Stopped
        inputs = torch.randn(8, 3, generator=generator)
        error = network(inputs) - inputs.sum(dim=1, keepdim=True)
        return {"near": error.abs().mean(), "far": error.square().mean()}

    def measure():
        seen.append(network.weight.detach().clone())
        return {"validation loss": next(measured), "validation AUC": 0.5}

    plan = replace(PLAN, **changes)
    fit(network, losses_of_step, plan, generator, folder, measure=measure if losses else None)
    return seen, network.weight.detach()


def test_the_weights_with_the_lowest_validation_loss_are_kept(tmp_path):
    seen, kept = trained(tmp_path, [5, 3, 1, 4, 4, 4], keep=Kept.BEST)

    assert len(seen) == 6
    torch.testing.assert_close(kept, seen[2], rtol=0, atol=0)


def test_without_that_wish_the_last_weights_are_kept(tmp_path):
    seen, kept = trained(tmp_path, [5, 3, 1, 4, 4, 4])

    torch.testing.assert_close(kept, seen[-1], rtol=0, atol=0)
    assert (tmp_path / BEST).exists()


def test_a_run_stops_early_and_does_not_go_on_when_started_again(tmp_path, capsys):
    seen, _ = trained(tmp_path, [5, 3, 4, 4, 4, 4], keep=Kept.BEST, patience=2)
    _, again = trained(tmp_path, [0], keep=Kept.BEST, patience=2)

    assert len(seen) == 4
    torch.testing.assert_close(again, seen[1], rtol=0, atol=0)
    said = capsys.readouterr().out
    assert "stopped: 2 validations without a better loss" in said
    assert "the weights of step 4 are kept" in said


def test_validations_without_any_label_do_not_stop_a_run(tmp_path):
    seen, kept = trained(tmp_path, [math.nan] * 6, keep=Kept.BEST, patience=2)

    assert len(seen) == 6
    torch.testing.assert_close(kept, seen[-1], rtol=0, atol=0)


def test_an_interrupted_run_is_validated_and_noted_as_if_it_had_not_been(tmp_path):
    losses = [5, 3, 4, 2, 6, 6]
    _, whole = trained(tmp_path / "whole", losses, keep=Kept.BEST)
    with pytest.raises(Stopped):
        trained(tmp_path / "cut", losses, keep=Kept.BEST, stop_at=11)

    _, resumed = trained(tmp_path / "cut", losses[5:], keep=Kept.BEST)

    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    noted = [
        [row["validation loss"] for row in read_history(tmp_path / run) if "validation loss" in row]
        for run in ("whole", "cut")
    ]
    assert noted[0] == noted[1] == losses


def test_a_cut_off_line_of_the_history_is_left_out(tmp_path):
    (tmp_path / HISTORY).write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')

    assert read_history(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_the_parts_of_the_loss_are_printed_noted_and_drawn(tmp_path, capsys):
    trained(tmp_path, [3, 2, 1, 1, 1, 1])

    first = read_history(tmp_path)[0]
    assert first["near"] + first["far"] == pytest.approx(first["loss"])
    said = capsys.readouterr().out
    assert "(near " in said
    assert " s left" in said
    assert "validation loss 1.0000, validation AUC 0.5000 (best so far)" in said
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.width > 1000


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(tmp_path):
    with pytest.raises(TrainingDiverged, match="at step 12; reduce learning_rate"):
        trained(tmp_path, learning_rate=1e30)


def test_the_time_to_go_is_written_for_people():
    assert [duration(s) for s in (42, 600, 7500)] == ["42 s", "10 min", "2 h 05 min"]


def test_settings_are_changed_on_the_command_line():
    changes = ["steps=9", "cases.training=[0, 2]", "name=other", "keep=last"]

    plan = read_experiment(FILE, changes)

    assert (plan.steps, plan.cases.training, plan.name) == (9, (0, 2), "other")
    assert plan.keep is Kept.LAST
    assert plan.digest != read_experiment(FILE).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps", "must be KEY=VALUE"),
        ("stepps=9", "unknown key stepps; valid keys are"),
        ("steps=many", "steps must be a number from 1 on, got 'many'"),
        ("steps=0", "steps must be a number from 1 on, got 0"),
        ("steps.more=1", "steps is not a section"),
        ("keep=worst", "'worst' is not a valid Kept"),
    ],
)
def test_an_impossible_change_is_refused_by_name(change, message):
    with pytest.raises(ExperimentInvalid, match=message):
        read_experiment(FILE, [change])


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    with (
        pytest.raises(DeviceUnavailable, match="cuda:99 is not available; available: auto, cpu"),
        process_group("cuda:99"),
    ):
        pass


class RecordingClient:
    """What MLflow's client is asked to store."""

    runs, metrics, params = 0, [], {}

    def get_experiment_by_name(self, _):
        return None

    def create_experiment(self, _):
        return "1"

    def create_run(self, _, run_name):
        RecordingClient.runs += 1
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{run_name}-{RecordingClient.runs}"))

    def log_param(self, run, name, value):
        RecordingClient.params[name] = value

    def log_metric(self, run, name, value, step):
        RecordingClient.metrics.append((run, name, value, step))


def test_a_resumed_run_goes_on_in_the_same_run_of_mlflow(tmp_path, monkeypatch):
    errors = SimpleNamespace(MlflowException=type("MlflowException", (Exception,), {}))
    module = SimpleNamespace(MlflowClient=RecordingClient, exceptions=errors)
    monkeypatch.setitem(sys.modules, "mlflow", module)

    mlflow_log(tmp_path, {"steps": 2})(1, {"validation RMS p50, mm": 0.5})
    mlflow_log(tmp_path, {"steps": 2})(2, {"loss": 0.25})

    run = f"{tmp_path.name}-1"
    assert RecordingClient.params == {"steps": "2"}
    assert RecordingClient.metrics == [
        (run, "validation RMS p50_ mm", 0.5, 1),
        (run, "loss", 0.25, 2),
    ]
