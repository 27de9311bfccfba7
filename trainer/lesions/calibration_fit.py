"""Finding the two numbers that make a head's probabilities mean what they say.

One pair for each lesion, from all its places together: single places have too few lesions for a
pair of their own.

Source: Platt (1999), with a little restraint so that a lesion that is never seen changes nothing.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.calibration import Calibration
from models.findings import HEADS, Lesion

Floats = NDArray[np.float64]

RESTRAINT = 1.0
"""What doubling a scale, or shifting by a log-odds, costs: like one joint's surprise."""

HEADS_OF_LESION = {
    lesion: [number for number, head in enumerate(HEADS) if head.lesion is lesion]
    for lesion in Lesion
}
"""Numbers of the heads of each lesion."""


def fitted_calibration(logits: Floats, targets: Floats, fitted_on: str) -> Calibration:
    """The calibration that fits best.

    Parameters
    ----------
    logits
        Of joints that training did not see, ``(joints, 14)``.
    targets
        0, 1 or NaN where nothing is known, same shape.
    fitted_on
        Which joints, in words.
    """
    scale, shift = np.ones(len(HEADS)), np.zeros(len(HEADS))
    for heads in HEADS_OF_LESION.values():
        known = ~np.isnan(targets[:, heads])
        scale[heads], shift[heads] = _pair(logits[:, heads][known], targets[:, heads][known])
    return Calibration(tuple(scale.tolist()), tuple(shift.tolist()), fitted_on)


def _pair(logits: Floats, targets: Floats) -> tuple[float, float]:
    def surprise(numbers: Floats) -> float:
        stretched = np.exp(numbers[0]) * logits + numbers[1]
        each = np.logaddexp(0, stretched) - targets * stretched
        return float(each.sum() + RESTRAINT * np.square(numbers).sum())

    found = minimize(surprise, np.zeros(2), method="L-BFGS-B", bounds=[(-3, 3), (-8, 8)])
    return float(np.exp(found.x[0])), float(found.x[1])


def log_odds(probability: Floats) -> Floats:
    """Logits of probabilities, those of 0 and 1 kept finite."""
    safe = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(safe / (1 - safe)))
