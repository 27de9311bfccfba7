"""ROC area, balanced accuracy and the best threshold of binary predictions.

Source: paper, "Results" (AUC and balanced accuracy).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


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
    return float(np.clip(candidates[int(np.argmax(accuracy))], 0.02, 0.98))
