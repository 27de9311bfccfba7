"""From a head's logit to a probability that means what it says.

A network trained on some cases may be too sure, or on the whole too high or too low. Two numbers
for each head set that right: they stretch and shift its logit, which never changes the order of
two joints. They are found on cases that training did not see, and are kept on the card with the
words that say on which.

Source: Platt scaling (1999); a shift of 0 makes it temperature scaling (Guo et al., ICML 2017).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import HEADS


@dataclass(frozen=True)
class Calibration:
    """Stretch and shift of every head's logit.

    Parameters
    ----------
    scale
        14 positive factors, in the order of HEADS.
    shift
        14 log-odds that are added afterwards.
    fitted_on
        Which cases.

    Raises
    ------
    ValueError
        If a number is missing or not finite, or a factor is not positive.
    """

    scale: tuple[float, ...] = (1.0,) * len(HEADS)
    shift: tuple[float, ...] = (0.0,) * len(HEADS)
    fitted_on: str = ""

    def __post_init__(self) -> None:
        numbers = np.array([*self.scale, *self.shift], dtype=float)
        if len(self.scale) != len(HEADS) or len(self.shift) != len(HEADS):
            raise ValueError(f"a calibration has {len(HEADS)} scales and shifts")
        if not np.isfinite(numbers).all() or min(self.scale) <= 0:
            raise ValueError("a calibration's numbers are finite and its scales above 0")

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """What logits ``(…, 14)`` mean, likewise."""
        return _meant(logits.astype(np.float64) * np.array(self.scale) + np.array(self.shift))

    def of_head(self, number: int, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """What logits of one head mean, of any shape."""
        return _meant(logits.astype(np.float64) * self.scale[number] + self.shift[number])


def _meant(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -50, 50))))
