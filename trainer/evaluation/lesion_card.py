"""Lesion scores for the model card: every score with its interval, by set of studies.

Source: paper, "Results" (AUC, balanced accuracy, sensitivity and specificity on consensus labels);
Brier score and expected calibration error; intervals by bootstrap over patients.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.burden_scores import BurdenName, BurdenScore
from models.calibration import logit
from models.findings import HEADS, Lesion, Side
from models.mri_criteria import Definition
from models.scoring_rules import THRESHOLDS, calibration_of, thresholds_of
from trainer.evaluation.end_to_end import StudyPrediction
from trainer.evaluation.study_sets import StudySet
from trainer.lesions.calibration_fit import HEADS_OF_LESION, log_odds
from trainer.metrics.lesion_scores import (
    COUNTS,
    Floats,
    LabelledPredictions,
    calibration_error_at,
    intervals,
    scores_of,
    share,
)
from trainer.metrics.pointing import Pointing, pointing_scores
from trainer.phantom.trials import trial_reading
from trainer.readers.readings import MISSING, kappa, node_labels

RESAMPLES, SEED = 1000, 0
READINGS_SEED = 1
"""Seed of the simulated readings; the same as in the reader study."""

CARD_NAMES = {
    "auc": "auc",
    "balanced_accuracy_own": "balanced_accuracy",
    "sensitivity_own": "sensitivity",
    "specificity_own": "specificity",
    "balanced_accuracy": "balanced_accuracy_at_half",
    "sensitivity": "sensitivity_at_half",
    "specificity": "specificity_at_half",
    "brier": "brier",
    "ece": "ece",
}
"""Names in `scores_of` and on the card, where the network's own thresholds are the default."""

TRUTH, CONSENSUS = "what was drawn", "consensus of the readers"
OF_TRUTH = "_truth"
"""Suffix of a trial's entry that is compared with the truth."""


def card_name(lesion: Lesion) -> str:
    """A lesion's key on the card, for instance ``fatty_lesion``."""
    return lesion.name.lower()


def card_scores(
    labels: Floats, probability: Floats, patient: NDArray[np.int64], thresholds: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Every score of each lesion with its 95 % interval.

    Parameters
    ----------
    labels
        1, 0, or NaN without a label, ``(joints, 14)``.
    probability
        Calibrated, same shape; NaN (not evaluable) counts as absent.
    patient
        Patient of each joint, ``(joints,)``.
    thresholds
        14, as on the card.
    """
    said = np.nan_to_num(probability)
    called = said >= np.array(thresholds)
    return {
        card_name(lesion): _scores(
            LabelledPredictions(said[:, heads], called[:, heads], labels[:, heads], patient),
            int((np.isnan(probability[:, heads]) & ~np.isnan(labels[:, heads])).sum()),
        )
        for lesion, heads in HEADS_OF_LESION.items()
    }


def _scores(judged: LabelledPredictions, not_evaluable: int) -> dict[str, Any]:
    found = scores_of(judged)
    places, present = (int(found[name]) for name in COUNTS)
    scores: dict[str, Any] = {
        "patients": len(np.unique(judged.patient)),
        "places": places,
        "positive": present,
        "not_evaluable": not_evaluable,
    }
    if not places:
        return scores
    likely = intervals(judged, RESAMPLES, SEED)
    for name, written in CARD_NAMES.items():
        if np.isfinite(found[name]):
            scores[written] = _rounded(found[name])
            scores[f"{written}_interval"] = [_rounded(one) for one in likely[name]]
    return scores


def _rounded(value: float) -> float | str:
    """Rounded for JSON."""
    return "beyond: too many were missed" if math.isinf(value) else round(value, 4)


def set_scores(
    asked: StudySet,
    said: Sequence[StudyPrediction],
    thresholds: Sequence[float],
    settings: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Card entries of a set of phantoms; a trial has one for each kind of label.

    Parameters
    ----------
    settings
        Of the card: adds sensitivity and specificity at each operating point, and the calibration
        error by prevalence.
    """
    patient = np.repeat([study.patient for study in asked.studies], len(Side))
    probability = _by_joint([one.probability for one in said])
    grades = _by_joint([one.severity for one in said])
    shared = {"patients": asked.patients, "studies": len(said)}

    def entry(labels: Floats, kind: str) -> dict[str, Any]:
        scores = card_scores(labels, probability, patient, thresholds)
        more = choice_scores(labels, probability, settings) if settings else {}
        return {"labels": kind} | shared | scores | more

    truth = entry((grades >= 1).astype(float), TRUTH) | {
        name: of
        for name, of in {
            "pointed_at": pointed_at([p for one in said for p in one.pointings]),
            "definitions": definition_scores([one.definitions for one in said]),
            "burden": burden_accuracy([pair for one in said for pair in one.burden]),
        }.items()
        if of
    }
    if asked.trial is None:
        return {asked.name: truth}
    week = np.repeat([study.week for study in asked.studies], len(Side))
    contrast = _by_joint([one.contrast for one in said])
    reading = trial_reading(asked.trial, week, grades, contrast, READINGS_SEED)
    agreed = node_labels(reading.readings)[..., 0]
    consensus = np.where(agreed == MISSING, np.nan, agreed.astype(float))
    return {asked.name: entry(consensus, CONSENSUS), asked.name + OF_TRUTH: truth}


def _by_joint(of_studies: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """``(28,)`` per study to ``(joints, 14)``, right before left."""
    return np.reshape(of_studies, (-1, len(HEADS)))


PREVALENCES = (0.05, 0.1, 0.2, 0.4)
"""At which the calibration error is stated."""


def choice_scores(
    labels: Floats, probability: Floats, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What depends on a site's choices: operating points, and how frequent lesions are.

    Parameters
    ----------
    labels, probability
        As for `card_scores`.
    settings
        Of the card.

    Returns
    -------
    dict
        ``operating_points``: sensitivity and specificity by operating point and lesion.
        ``ece_at_prevalence``: the calibration error by prevalence and lesion, first as calibrated,
        then with that prevalence stated, if the card has that of the fit.
    """
    points = {
        point: np.array(thresholds_of(settings, point))
        for point, name in THRESHOLDS.items()
        if settings.get(name)
    }
    said, fitted = np.nan_to_num(probability), calibration_of(settings).prevalence
    return {
        "operating_points": {
            point: {
                card_name(lesion): _rates(labels[:, heads], (said >= chosen)[:, heads])
                for lesion, heads in HEADS_OF_LESION.items()
            }
            for point, chosen in points.items()
        },
        "ece_at_prevalence": {
            str(prevalence): {
                card_name(lesion): _errors_at(
                    prevalence,
                    labels[:, heads],
                    said[:, heads],
                    fitted[heads[0]] if fitted else None,
                )
                for lesion, heads in HEADS_OF_LESION.items()
            }
            for prevalence in PREVALENCES
        },
    }


def _rates(labels: Floats, called: NDArray[np.bool_]) -> dict[str, float | str]:
    found = {"sensitivity": share(called[labels == 1]), "specificity": share(~called[labels == 0])}
    return {name: _rounded(value) for name, value in found.items() if np.isfinite(value)}


def _errors_at(
    prevalence: float, labels: Floats, probability: Floats, fitted: float | None
) -> list[float | str]:
    """Calibration error as calibrated, and with the prevalence stated."""
    known = ~np.isnan(labels)
    truth, plain = labels[known] == 1, probability[known]
    tried = [plain]
    if fitted:
        moved = log_odds(plain) + logit(prevalence) - logit(fitted)
        tried.append(1 / (1 + np.exp(-moved)))
    errors = (calibration_error_at(truth, one, prevalence) for one in tried)
    return [_rounded(error) for error in errors if np.isfinite(error)]


def burden_accuracy(
    pairs: Sequence[tuple[BurdenScore, int]],
) -> Mapping[str, Mapping[str, float | str]]:
    """How scores of lesion burden agree with the true ones, for the card.

    Parameters
    ----------
    pairs
        Scores of many studies, each with the true one.
    """
    found = {}
    for name in BurdenName:
        mine = [(score, true) for score, true in pairs if score.name is name]
        if mine:
            errors = np.array([score.value - true for score, true in mine])
            within = np.mean([score.low <= true <= score.high for score, true in mine])
            found[name.name.lower()] = {
                "studies": len(mine),
                "mean": _rounded(float(np.mean([true for _, true in mine]))),
                "within_band": _rounded(float(within)),
                "bias": _rounded(float(errors.mean())),
                "mean_absolute_error": _rounded(float(np.abs(errors).mean())),
                "band_width": _rounded(float(np.mean([one.high - one.low for one, _ in mine]))),
            }
    return found


def pointed_at(pointings: Sequence[Pointing]) -> Mapping[str, Mapping[str, float | str]]:
    """Localisation scores for the card."""
    return {
        name.replace(" ", "_"): {key: _rounded(value) for key, value in found.items()}
        for name, found in pointing_scores(pointings).items()
    }


def definition_scores(
    of_studies: Sequence[Mapping[Definition, tuple[bool, bool]]],
) -> Mapping[str, Mapping[str, float | str]]:
    """Accuracy of the published definitions by the network's slices, for the card.

    Parameters
    ----------
    of_studies
        Whether each is met by the network's slices, and by the true ones.
    """
    found = {}
    for one in Definition:
        pairs = np.array([study[one] for study in of_studies if one in study], np.int8)
        if not len(pairs):
            continue
        said, true = pairs.T
        scores = {
            "sensitivity": share(said[true == 1] == 1),
            "specificity": share(said[true == 0] == 0),
            "kappa": kappa(said, true),
        }
        known = {name: _rounded(value) for name, value in scores.items() if np.isfinite(value)}
        found[one.name.lower()] = {"studies": len(pairs), "met": int(true.sum())} | known
    return found
