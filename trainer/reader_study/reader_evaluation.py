"""Evaluation of an experiment against consensus labels and against the truth.

Source: paper, Table 7; Cohen's kappa between model and consensus, and between readers.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.findings import Lesion
from trainer.lesions.calibration_fit import HEADS_OF_LESION
from trainer.metrics.lesion_scores import (
    LabelledPredictions,
    calibration_curve,
    differences,
    intervals,
    macro_auc,
    scores_of,
)
from trainer.reader_study.cross_validation import ReadTrial, TrialPredictions
from trainer.reader_study.lesion_heads import Floats
from trainer.readers.readings import MISSING, Labels, kappa

TIMES = 100
"""Bootstrap samples of patients."""
SEED = 5

AGAINST = ("consensus", "truth")


def labelled_predictions(
    trial: ReadTrial, said: TrialPredictions, lesion: Lesion, against: str, calibrated: bool = False
) -> LabelledPredictions:
    """Predictions of a lesion with one kind of label, "consensus" or "truth"."""
    heads = HEADS_OF_LESION[lesion]
    label = trial.consensus if against == "consensus" else trial.truth
    probability = said.calibrated if calibrated else said.consensus
    return LabelledPredictions(
        probability[:, heads], said.called[:, heads], label[:, heads], trial.joints.patient
    )


def lesion_scores(
    trial: ReadTrial, said: TrialPredictions, lesion: Lesion, against: str
) -> dict[str, Any]:
    """Every score of one lesion in one trial, with intervals."""
    as_learnt = labelled_predictions(trial, said, lesion, against)
    calibrated = scores_of(labelled_predictions(trial, said, lesion, against, calibrated=True))
    scores: dict[str, Any] = scores_of(as_learnt)
    if not scores["present"]:
        return scores
    truth, probability, _ = as_learnt.flat()
    return scores | {
        "macro_auc": macro_auc(as_learnt),
        "brier_calibrated": calibrated["brier"],
        "ece_calibrated": calibrated["ece"],
        "balanced_accuracy_calibrated": calibrated["balanced_accuracy"],
        "intervals": intervals(as_learnt, TIMES, SEED),
        "curve": calibration_curve(truth, probability),
    }


def trial_scores(trial: ReadTrial, said: TrialPredictions) -> dict[str, Any]:
    """Every score of every lesion, against both kinds of labels."""
    return {
        against: {str(lesion): lesion_scores(trial, said, lesion, against) for lesion in Lesion}
        for against in AGAINST
    }


def mean_over_lesions(scores: Mapping[str, Mapping[str, Any]], name: str) -> float:
    """Mean of one score over the lesions that have it."""
    values = [one[name] for one in scores.values() if np.isfinite(one.get(name, np.nan))]
    return float(np.mean(values)) if values else float("nan")


def compared(
    trial: ReadTrial, ours: TrialPredictions, theirs: TrialPredictions, against: str
) -> dict[str, list[float]]:
    """Mean difference over lesions, ours minus theirs, with 95 % interval."""
    lesions = [lesion for lesion in Lesion if trial.truth[:, HEADS_OF_LESION[lesion]].any()]
    sides = [
        [labelled_predictions(trial, said, one, against) for one in lesions]
        for said in (ours, theirs)
    ]
    return differences(sides[0], sides[1], ("auc", "brier", "ece"), TIMES // 2, SEED)


def agreement(trial: ReadTrial, said: TrialPredictions) -> dict[str, dict[str, float]]:
    """Cohen's kappa of each lesion, for the model and for the readers."""
    consensus = trial.labels()[..., 0]
    values = trial.reading.readings.values
    called: Labels = said.called.astype(np.int8)
    found = {}
    for lesion, heads in HEADS_OF_LESION.items():
        of_readings = [
            values[:, heads, reader, session]
            for reader in range(values.shape[2])
            for session in range(values.shape[3])
        ]
        found[str(lesion)] = {
            "model with consensus": kappa(called[:, heads], consensus[:, heads]),
            "model with a reading": _mean([kappa(called[:, heads], one) for one in of_readings]),
            "reader with reader": between_readers(values[:, heads]),
            "reader with himself": within_readers(values[:, heads]),
        }
    return found


def between_readers(values: Labels) -> float:
    """Mean kappa of different readers in the same session; values ``(…, readers, sessions)``."""
    return _mean(
        [
            kappa(values[..., one, session], values[..., other, session])
            for one, other in combinations(range(values.shape[-2]), 2)
            for session in range(values.shape[-1])
        ]
    )


def within_readers(values: Labels) -> float:
    """Mean kappa of the same reader in different sessions; NaN if there is only one session."""
    return _mean(
        [
            kappa(values[..., reader, one], values[..., reader, other])
            for reader in range(values.shape[-2])
            for one, other in combinations(range(values.shape[-1]), 2)
        ]
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def all_agree(labels: Labels) -> float:
    """Share of positions with complete agreement among those that were read."""
    read = (labels[..., 1:] != MISSING).any(axis=-1)
    return float((labels[..., 0] != MISSING)[read].mean())


def confusions(
    trial: ReadTrial, learnt: Mapping[str, list[NDArray[np.float64]]]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Estimated and true error rates of each reading by lesion: [false positive, negative].

    Parameters
    ----------
    learnt
        Estimated error rates of each fold, ``(14, 2)``, by name of the node.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, of_folds in learnt.items():
        reader = _reader_of(name)
        if reader is None or reader >= len(trial.reading.confusion):
            continue
        true = trial.reading.confusion[reader]
        both = np.stack([true.false_positive, true.false_negative], axis=1)
        mean: Floats = np.mean(of_folds, axis=0)
        found[name] = {
            str(lesion): {
                "learnt": mean[heads].mean(axis=0).tolist(),
                "true": both[heads].mean(axis=0).tolist(),
            }
            for lesion, heads in HEADS_OF_LESION.items()
        }
    return found


def _reader_of(name: str) -> int | None:
    """The reader of a session's node such as R2S1, counted from 0."""
    number, _, session = name.removeprefix("R").partition("S")
    return int(number) - 1 if session.isdigit() and number.isdigit() else None


def confusion_error(found: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> float:
    """Mean distance between estimated and true error rates; NaN if there are no estimates."""
    gaps = [
        abs(learnt - true)
        for lesions in found.values()
        for pair in lesions.values()
        for learnt, true in zip(pair["learnt"], pair["true"], strict=True)
    ]
    return float(np.mean(gaps)) if gaps else float("nan")
