"""Fits the calibration of the lesion network: one scale and one shift per lesion type.

All positions of a lesion are pooled; single positions have too few lesions for a fit of their own.

Source: Platt (1999), with weak regularisation so that a lesion that never occurs changes nothing.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.calibration import Calibration
from models.findings import HEADS, Lesion

Floats = NDArray[np.float64]

REGULARISATION = 1.0
"""Weight of the penalty on log scale and shift, in units of one joint's cross-entropy."""

HEADS_OF_LESION = {
    lesion: [number for number, head in enumerate(HEADS) if head.lesion is lesion]
    for lesion in Lesion
}
"""Indices of the heads of each lesion."""


def fitted_calibration(logits: Floats, targets: Floats, fitted_on: str) -> Calibration:
    """The calibration with the lowest cross-entropy.

    Parameters
    ----------
    logits
        Of joints not used for training, ``(joints, 14)``.
    targets
        0, 1, or NaN without a label, same shape.
    fitted_on
        Description of the joints.
    """
    fitted = np.zeros((len(HEADS), 3))
    for heads in HEADS_OF_LESION.values():
        known = ~np.isnan(targets[:, heads])
        labels = targets[:, heads][known]
        fitted[heads] = (*_pair(logits[:, heads][known], labels), _prevalence(labels))
    scale, shift, prevalence = (tuple(column) for column in fitted.T.tolist())
    return Calibration(scale, shift, fitted_on, prevalence)


def _prevalence(labels: Floats) -> float:
    """Share of positives, with half a case of each class added so that it is never 0 or 1."""
    return float((labels.sum() + 0.5) / (len(labels) + 1))


def _pair(logits: Floats, targets: Floats) -> tuple[float, float]:
    def cross_entropy(numbers: Floats) -> float:
        stretched = np.exp(numbers[0]) * logits + numbers[1]
        each = np.logaddexp(0, stretched) - targets * stretched
        return float(each.sum() + REGULARISATION * np.square(numbers).sum())

    found = minimize(cross_entropy, np.zeros(2), method="L-BFGS-B", bounds=[(-3, 3), (-8, 8)])
    return float(np.exp(found.x[0])), float(found.x[1])


def log_odds(probability: Floats) -> Floats:
    """Logits of probabilities, clipped to stay finite."""
    safe = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(safe / (1 - safe)))
