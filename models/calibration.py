"""Calibrates the lesion network: from each head's logit to a probability.

A trained network may be overconfident or biased. A scale and a shift per head correct its logit
without changing the ranking of joints. Both are fitted on cases held out from training and stored
on the model card together with a description of those cases.

Where lesions are rarer or more frequent than in those cases, a stated prevalence moves the shift.

Source: Platt scaling (1999); a shift of 0 makes it temperature scaling (Guo et al., ICML 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

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
    prevalence
        Share of these cases in which each head's lesion is present, 14 between 0 and 1; None on
        cards that do not state it.

    Raises
    ------
    ValueError
        If a value is missing or not finite, a scale is not positive, or a prevalence is not
        between 0 and 1.
    """

    scale: tuple[float, ...] = (1.0,) * len(HEADS)
    shift: tuple[float, ...] = (0.0,) * len(HEADS)
    fitted_on: str = ""
    prevalence: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        numbers = np.array([*self.scale, *self.shift], dtype=float)
        if len(self.scale) != len(HEADS) or len(self.shift) != len(HEADS):
            raise ValueError(f"a calibration needs {len(HEADS)} scales and shifts")
        if not np.isfinite(numbers).all() or min(self.scale) <= 0:
            raise ValueError("a calibration needs finite scales and shifts, and positive scales")
        shares = (0.5,) * len(HEADS) if self.prevalence is None else self.prevalence
        if len(shares) != len(HEADS) or not all(0 < share < 1 for share in shares):
            raise ValueError(f"a calibration needs {len(HEADS)} prevalences between 0 and 1")

    def with_prevalence(self, stated: Sequence[float | None]) -> "Calibration":
        """The calibration where lesions are more or less frequent than in the cases of the fit.

        Parameters
        ----------
        stated
            Prevalence of each head's lesion, 14 between 0 and 1; None keeps that of the fit.

        Raises
        ------
        ValueError
            If the prevalence of the fit is unknown.

        Notes
        -----
        The log-odds of a lesion rise by logit(stated) - logit(fit). This assumes that images of
        lesions, and images without, look alike in both populations.

        Source: Saerens et al., Neural Computation 2002, eq. 2.4; Elkan, IJCAI 2001, theorem 2.
        """
        if all(one is None for one in stated):
            return self
        if self.prevalence is None:
            raise ValueError("the prevalence among the cases of the fit is unknown")
        shift = tuple(
            number if new is None else number + logit(new) - logit(fitted)
            for number, new, fitted in zip(self.shift, stated, self.prevalence, strict=True)
        )
        prevalence = tuple(
            fitted if new is None else new
            for new, fitted in zip(stated, self.prevalence, strict=True)
        )
        return replace(self, shift=shift, prevalence=prevalence)

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of logits, both of shape ``(…, 14)``."""
        return _sigmoids(logits.astype(np.float64) * np.array(self.scale) + np.array(self.shift))

    def of_head(self, number: int, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of one head's logits, of any shape."""
        return _sigmoids(logits.astype(np.float64) * self.scale[number] + self.shift[number])


def logit(probability: float) -> float:
    """Log-odds of a probability between 0 and 1."""
    return log(probability / (1 - probability))


def sigmoid(log_odds: float) -> float:
    """Probability of log-odds, between 0 and 1 exclusively."""
    return float(np.clip(1 / (1 + exp(-log_odds)), 1e-9, 1 - 1e-9))


def _sigmoids(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -50, 50))))
