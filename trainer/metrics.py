"""How good delineations and findings are.

A contour that was missed counts as infinitely far off in every percentile; it is never dropped.

Source: paper, "Results" (root mean square over closest points; AUC and balanced accuracy).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.findings import Lesion
from models.walk import Points, evenly_spaced

_DENSE = 192


@dataclass(frozen=True)
class ContourError:
    """How far one predicted contour is from the truth; infinite where it was missed.

    Parameters
    ----------
    rms
        Root mean square from each true landmark to the closest predicted point (the paper's).
    symmetric_rms
        The same in both directions together, which also sees a contour that runs on too far.
    hausdorff95
        95th percentile of the distances from each line to the other, the larger of both ways.
    ends
        Mean distance of the two ends.
    """

    rms: float
    symmetric_rms: float
    hausdorff95: float
    ends: float


MISSED = ContourError(np.inf, np.inf, np.inf, np.inf)


def contour_error(truth: Points, predicted: Points | None) -> ContourError:
    """Compare one contour with the truth; both ``(n, 2)`` or ``(n, 3)``, in the unit wanted."""
    if predicted is None:
        return MISSED
    dense_truth, dense_predicted = (evenly_spaced(line, _DENSE) for line in (truth, predicted))
    there, back = _closest(truth, dense_predicted), _closest(predicted, dense_truth)
    onto, over = _closest(dense_truth, dense_predicted), _closest(dense_predicted, dense_truth)
    ends = np.linalg.norm(truth[[0, -1]] - predicted[[0, -1]], axis=1)
    return ContourError(
        float(np.sqrt(np.mean(there**2))),
        float(np.sqrt((np.mean(there**2) + np.mean(back**2)) / 2)),
        max(percentile(onto, 95), percentile(over, 95)),
        float(ends.mean()),
    )


def _closest(points: Points, line: Points) -> NDArray[np.float64]:
    away = np.linalg.norm(points[:, None] - line[None], axis=2).min(axis=1)
    return np.asarray(away, dtype=np.float64)


@dataclass(frozen=True)
class Pointing:
    """How well one lesion was pointed at.

    Parameters
    ----------
    slices_off
        From the slice pointed at to the nearest that shows the lesion; 0 if it does itself.
    distance_mm
        From the point to the lesion.
    by_chance
        Share of the joint's slices that show it: how often any of them would be right.
    """

    lesion: Lesion
    slices_off: float
    distance_mm: float
    by_chance: float


def pointing_scores(pointings: Sequence[Pointing]) -> dict[str, dict[str, float]]:
    """How often the right slice was pointed at, and how far off the point is.

    Returns
    -------
    dict
        Of each lesion that was pointed at, and of all of them; lengths in millimetres.
    """
    groups = {str(one): [p for p in pointings if p.lesion is one] for one in Lesion}
    groups["all"] = list(pointings)
    return {name: _pointing_scores(group) for name, group in groups.items() if group}


def _pointing_scores(group: Sequence[Pointing]) -> dict[str, float]:
    off = np.array([one.slices_off for one in group])
    distance_mm = np.array([one.distance_mm for one in group])
    return {
        "pointed at": len(group),
        "slice shows it": float((off == 0).mean()),
        "any slice of the joint would": float(np.mean([one.by_chance for one in group])),
        "within one slice": float((off <= 1).mean()),
        "distance median mm": percentile(distance_mm, 50),
        "distance p90 mm": percentile(distance_mm, 90),
    }


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The nearest-rank percentile, which infinite values do not spoil."""
    return float(np.sort(values)[max(0, int(np.ceil(percent / 100 * len(values))) - 1)])


def auc(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Area under the ROC curve; ties count half.

    Returns
    -------
    float
        NaN where the truth has only one class.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)[truth].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def balanced_accuracy(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Mean of sensitivity and specificity; NaN where the truth has only one class."""
    if truth.all() or not truth.any():
        return float("nan")
    return float((predicted[truth].mean() + (~predicted[~truth]).mean()) / 2)


def best_threshold(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """The threshold of the highest balanced accuracy, halfway between two scores.

    Returns
    -------
    float
        0.5 where the truth has only one class; always within 0.02 to 0.98.
    """
    if truth.all() or not truth.any():
        return 0.5
    order = np.sort(np.unique(scores))
    candidates = np.r_[(order[1:] + order[:-1]) / 2, 0.5]
    accuracy = [balanced_accuracy(truth, scores >= candidate) for candidate in candidates]
    return float(np.clip(candidates[int(np.argmax(accuracy))], 0.02, 0.98))
