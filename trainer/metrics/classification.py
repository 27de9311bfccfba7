"""ROC area, balanced accuracy and chosen thresholds of binary predictions.

Source: paper, "Results" (AUC and balanced accuracy).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

WITHIN = (0.02, 0.98)
"""Lowest and highest threshold for the best balanced accuracy."""
EXTREMES = (0.001, 0.999)
"""The same for a wanted sensitivity or specificity."""


def auc(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Area under the ROC curve; ties count half.

    Returns
    -------
    float
        NaN if the truth has only one class.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)[truth].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def balanced_accuracy(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Mean of sensitivity and specificity; NaN if the truth has only one class."""
    if truth.all() or not truth.any():
        return float("nan")
    return float((predicted[truth].mean() + (~predicted[~truth]).mean()) / 2)


def sensitive_threshold(
    truth: NDArray[np.bool_], scores: NDArray[np.floating], wanted: float
) -> float:
    """The highest threshold, halfway between two scores, with this sensitivity.

    Returns
    -------
    float
        0.5 if the truth has only one class; always within 0.001 to 0.999.
    """
    return _extreme_threshold(truth, scores, lambda called: called[truth].mean() >= wanted, -1)


def specific_threshold(
    truth: NDArray[np.bool_], scores: NDArray[np.floating], wanted: float
) -> float:
    """The lowest threshold with this specificity; otherwise as `sensitive_threshold`."""
    return _extreme_threshold(truth, scores, lambda called: (~called[~truth]).mean() >= wanted, 0)


def _extreme_threshold(
    truth: NDArray[np.bool_],
    scores: NDArray[np.floating],
    suffices: Callable[[NDArray[np.bool_]], bool],
    which: int,
) -> float:
    if truth.all() or not truth.any():
        return 0.5
    candidates = [one for one in _candidates(scores) if suffices(scores >= one)]
    return float(np.clip(candidates[which], *EXTREMES))


def _candidates(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Thresholds below, halfway between and above all scores, in order."""
    order = np.unique(scores)
    return np.concatenate([[0.0], (order[1:] + order[:-1]) / 2, [1.0]])


def best_threshold(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """The threshold with the highest balanced accuracy, halfway between two scores.

    Returns
    -------
    float
        0.5 if the truth has only one class; always within 0.02 to 0.98.
    """
    if truth.all() or not truth.any():
        return 0.5
    order = np.sort(np.unique(scores))
    candidates = np.r_[(order[1:] + order[:-1]) / 2, 0.5]
    accuracy = [balanced_accuracy(truth, scores >= candidate) for candidate in candidates]
    return float(np.clip(candidates[int(np.argmax(accuracy))], *WITHIN))
