"""How far a predicted contour lies from the true one.

A missed contour counts as infinitely far off in every percentile; it is never dropped.

Source: paper, "Results" (root mean square over closest points).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contour_tracing import Points, evenly_spaced

_DENSE = 192


@dataclass(frozen=True)
class ContourError:
    """Error of one predicted contour; infinite if it was missed.

    Parameters
    ----------
    rms
        Root mean square from each true landmark to the closest predicted point (the paper's).
    symmetric_rms
        The same over both directions, which also penalises a contour that is too long.
    hausdorff95
        95th percentile of the distances between the lines, the larger of both directions.
    ends
        Mean distance of the two ends.
    """

    rms: float
    symmetric_rms: float
    hausdorff95: float
    ends: float


MISSED = ContourError(np.inf, np.inf, np.inf, np.inf)


def contour_error(truth: Points, predicted: Points | None) -> ContourError:
    """Compare one contour with the truth; both ``(n, 2)`` or ``(n, 3)``, in any unit."""
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


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The nearest-rank percentile, which allows infinite values."""
    return float(np.sort(values)[max(0, int(np.ceil(percent / 100 * len(values))) - 1)])
