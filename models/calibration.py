"""Calibrates the lesion network: from each head's logit to a probability.

A trained network may be overconfident or biased. A scale and a shift per head correct its logit
without changing the ranking of joints. Both are fitted on cases held out from training and stored
on the model card together with a description of those cases.

Source: Platt scaling (1999); a shift of 0 makes it temperature scaling (Guo et al., ICML 2017).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import HEADS


@dataclass(frozen=True)
class Calibration:
    """Scale and shift of each head's logit.

    Parameters
    ----------
    scale
        14 positive factors, in the order of HEADS.
    shift
        14 log-odds, added after scaling.
    fitted_on
        Description of the cases that the calibration was fitted on.

    Raises
    ------
    ValueError
        If a value is missing or not finite, or a scale is not positive.
    """

    scale: tuple[float, ...] = (1.0,) * len(HEADS)
    shift: tuple[float, ...] = (0.0,) * len(HEADS)
    fitted_on: str = ""

    def __post_init__(self) -> None:
        numbers = np.array([*self.scale, *self.shift], dtype=float)
        if len(self.scale) != len(HEADS) or len(self.shift) != len(HEADS):
            raise ValueError(f"a calibration needs {len(HEADS)} scales and shifts")
        if not np.isfinite(numbers).all() or min(self.scale) <= 0:
            raise ValueError("a calibration needs finite scales and shifts, and positive scales")

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of logits, both of shape ``(…, 14)``."""
        return _sigmoid(logits.astype(np.float64) * np.array(self.scale) + np.array(self.shift))

    def of_head(self, number: int, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of one head's logits, of any shape."""
        return _sigmoid(logits.astype(np.float64) * self.scale[number] + self.shift[number])


def _sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -50, 50))))
