"""Cross-validation by patient on the largest trial, and evaluation on two held-out trials.

Each fold trains heads and reader model on six eighths of the patients, chooses weight decay,
thresholds and calibration on one eighth, and predicts the last eighth and both held-out trials.
The result of a fold is cached in one file, so that an interrupted run can resume.

Source: paper, "Datasets" (8-fold cross-validation of MEASURE 1; PREVENT and SURPASS held out).
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.findings import HEADS
from trainer.experiment import ExperimentInvalid
from trainer.lesions.calibration_fit import HEADS_OF_LESION, fitted_calibration, log_odds
from trainer.metrics.classification import best_threshold
from trainer.phantom.simulated_readers import SimulatedReadings
from trainer.phantom.trials import Trial, trial_reading
from trainer.reader_study.lesion_heads import (
    Floats,
    HeadProbabilities,
    HeadRules,
    Heads,
    folds_of,
    head_inputs,
    mean_prediction,
    predict,
    train_heads,
)
from trainer.reader_study.trial_visits import TrialJoints
from trainer.readers.reader_models import Readers, readers_of
from trainer.readers.reader_plan import ReaderPlan, reader_plan
from trainer.readers.readings import MISSING, node_labels


@dataclass(frozen=True)
class ReaderExperiment:
    """One reader model, and how heads are trained with it.

    Parameters
    ----------
    margin_mm
        Margin of bone around the joints' boxes; None for the encoder's own.
    pretrained_encoder
        False to use the features of an untrained encoder.
    """

    name: str
    readers: ReaderPlan
    heads: HeadRules
    margin_mm: float | None = None
    pretrained_encoder: bool = True


def read_reader_experiment(path: Path) -> ReaderExperiment:
    """Read and check an experiment of the reader study.

    Raises
    ------
    ExperimentInvalid
        If a key is unknown or a value invalid.
    """
    table = tomllib.loads(path.read_text())
    try:
        written: dict[str, Any] = table.pop("heads", {})
        heads: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in written.items()
        }
        plan = reader_plan(table.pop("readers"))
        return ReaderExperiment(**table, readers=plan, heads=HeadRules(**heads))
    except (KeyError, TypeError, ValueError) as error:
        raise ExperimentInvalid(f"{path}: {error}; it needs name, readers and heads") from error


@dataclass(frozen=True, eq=False)
class ReadTrial:
    """A trial's joints and their simulated readings."""

    joints: TrialJoints
    reading: SimulatedReadings

    def labels(self, min_sessions: int = 1) -> NDArray[np.int8]:
        """Labels of every node of the hierarchy, ``(joints, 14, nodes)``."""
        return node_labels(self.reading.readings, min_sessions)

    @property
    def consensus(self) -> Floats:
        """1, 0, or NaN where readers disagree, ``(joints, 14)``."""
        agreed = self.labels()[..., 0]
        return np.where(agreed == MISSING, np.nan, agreed.astype(np.float64))

    @property
    def truth(self) -> Floats:
        """1 or 0: the lesions that were drawn, ``(joints, 14)``."""
        return self.joints.present.astype(np.float64)


def read_trial(trial: Trial, joints: TrialJoints, seed: int) -> ReadTrial:
    """Simulate the readings of a trial, reproducible by seed."""
    reading = trial_reading(trial, joints.week, joints.severity, joints.contrast, seed)
    return ReadTrial(joints, reading)


@dataclass(frozen=True, eq=False)
class FoldResult:
    """The result of one fold.

    Parameters
    ----------
    tested
        Indices of the joints of its test patients.
    test, held_out
        Predictions for these joints, and for each held-out trial.
    scale, shift, threshold
        Chosen on its validation patients, ``(14,)`` each; the threshold applies after calibration.
    decay
        Weight decay, chosen likewise.
    composed
        Estimated error rates of each reading, ``(14, 2)``, by name of the node.
    """

    tested: NDArray[np.int64]
    test: HeadProbabilities
    held_out: tuple[HeadProbabilities, ...]
    scale: Floats
    shift: Floats
    threshold: Floats
    decay: float
    composed: Mapping[str, Floats]


def run_fold(
    experiment: ReaderExperiment, fold: int, trial: ReadTrial, held_out: Sequence[ReadTrial]
) -> FoldResult:
    """Train, choose hyperparameters and predict for one fold."""
    rules, joints = experiment.heads, trial.joints
    folds = folds_of(joints.patient, rules.folds, rules.seed)
    chosen_on = (fold + 1) % rules.folds
    train = np.flatnonzero((folds != fold) & (folds != chosen_on))
    validation, tested = np.flatnonzero(folds == chosen_on), np.flatnonzero(folds == fold)
    inputs = head_inputs(joints, rules)
    taught = [_taught(experiment, decay, trial, inputs, train) for decay in rules.decays]
    wanted = trial.consensus[validation]
    said = [predict(*pair, inputs[validation]).consensus for pair in taught]
    best = int(np.argmin([cross_entropy(one, wanted) for one in said]))
    heads, readers = taught[best]
    calibration = fitted_calibration(log_odds(said[best]), wanted, f"fold {chosen_on}")
    calibrated = calibration.probabilities(log_odds(said[best]))
    return FoldResult(
        tested,
        predict(heads, readers, inputs[tested]),
        tuple(predict(heads, readers, head_inputs(other.joints, rules)) for other in held_out),
        np.array(calibration.scale),
        np.array(calibration.shift),
        own_thresholds(calibrated, wanted),
        rules.decays[best],
        {name: errors.double().numpy() for name, errors in readers.composed().items()},
    )


def _taught(
    experiment: ReaderExperiment,
    decay: float,
    trial: ReadTrial,
    inputs: torch.Tensor,
    train: NDArray[np.intp],
) -> tuple[Heads, Readers]:
    torch.manual_seed(experiment.heads.seed)
    said = trial.reading.readings
    readers = readers_of(experiment.readers, *said.values.shape[2:])
    targets = readers.targets(said.of(train))
    return train_heads(inputs[train], targets, readers, decay, experiment.heads), readers


def cross_entropy(probability: Floats, label: Floats) -> float:
    """Mean cross-entropy over the positions that have a label."""
    known = ~np.isnan(label)
    logits = log_odds(probability[known])
    return float((np.logaddexp(0, logits) - label[known] * logits).mean())


def own_thresholds(probability: Floats, label: Floats) -> Floats:
    """Thresholds with the highest balanced accuracy of each lesion, for each head."""
    thresholds = np.full(len(HEADS), 0.5)
    for heads in HEADS_OF_LESION.values():
        known = ~np.isnan(label[:, heads])
        thresholds[heads] = best_threshold(
            label[:, heads][known] == 1, probability[:, heads][known]
        )
    return thresholds


def cached_fold(
    experiment: ReaderExperiment,
    fold: int,
    trial: ReadTrial,
    held_out: Sequence[ReadTrial],
    folder: Path,
) -> FoldResult:
    """The cached result of `run_fold`, computed if missing."""
    path = folder / f"fold{fold}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_fold(run_fold(experiment, fold, trial, held_out), path)
    return _read_fold(path)


def _write_fold(result: FoldResult, path: Path) -> None:
    arrays: dict[str, Any] = {
        "tested": result.tested,
        "scale": result.scale,
        "shift": result.shift,
        "threshold": result.threshold,
        "decay": np.array(result.decay),
        "test": np.stack([result.test.own, result.test.consensus]),
    }
    arrays |= {
        f"held_out_{n}": np.stack([one.own, one.consensus]) for n, one in enumerate(result.held_out)
    }
    arrays |= {f"composed_{name}": errors for name, errors in result.composed.items()}
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.rename(path)


def _read_fold(path: Path) -> FoldResult:
    with np.load(path) as kept:
        held_out = sorted(name for name in kept if name.startswith("held_out_"))
        composed = [name for name in kept if name.startswith("composed_")]
        return FoldResult(
            kept["tested"],
            HeadProbabilities(*kept["test"]),
            tuple(HeadProbabilities(*kept[name]) for name in held_out),
            kept["scale"],
            kept["shift"],
            kept["threshold"],
            float(kept["decay"]),
            {name.removeprefix("composed_"): kept[name] for name in composed},
        )


@dataclass(frozen=True, eq=False)
class TrialPredictions:
    """Predictions for a trial: network, consensus, calibrated, and called; ``(joints, 14)``."""

    own: Floats
    consensus: Floats
    calibrated: Floats
    called: NDArray[np.bool_]


def out_of_fold(results: Sequence[FoldResult], joints: int) -> TrialPredictions:
    """Predictions of every joint, each by the fold whose training excluded its patient."""
    shape = (joints, len(HEADS))
    own, consensus, calibrated = (np.full(shape, np.nan) for _ in range(3))
    called = np.zeros(shape, bool)
    for one in results:
        own[one.tested], consensus[one.tested] = one.test.own, one.test.consensus
        calibrated[one.tested] = _calibrated(one, one.test.consensus)
        called[one.tested] = calibrated[one.tested] >= one.threshold
    return TrialPredictions(own, consensus, calibrated, called)


def held_out_predictions(results: Sequence[FoldResult], number: int) -> TrialPredictions:
    """Predictions for a held-out trial, averaged over all folds."""
    said = mean_prediction([one.held_out[number] for one in results])
    calibrated = np.mean(
        [_calibrated(one, one.held_out[number].consensus) for one in results], axis=0
    )
    threshold = np.mean([one.threshold for one in results], axis=0)
    return TrialPredictions(said.own, said.consensus, calibrated, calibrated >= threshold)


def _calibrated(result: FoldResult, probability: Floats) -> Floats:
    stretched = result.scale * log_odds(probability) + result.shift
    return np.asarray(1 / (1 + np.exp(-stretched)))
