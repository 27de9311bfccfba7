"""How logits become findings: calibration, thresholds, and what a site chooses about them.

A site chooses the purpose of the thresholds, which the model card has for each lesion, and may
state how frequent a lesion is among its patients. A stated prevalence changes the probabilities
and moves the thresholds alike, so that sensitivity, specificity and the lesions called present
stay the same.

Source: paper, "Results" (thresholds); `models.calibration`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models.calibration import Calibration, logit, sigmoid
from models.findings import HEADS, Lesion, OperatingPoint
from models.scoring_choice import DEFAULT_CHOICE, ScoringChoice
from models.weights import WeightsInvalid

THRESHOLDS: Mapping[OperatingPoint, str] = {
    OperatingPoint.BALANCED: "thresholds",
    OperatingPoint.SENSITIVE: "thresholds_sensitive",
    OperatingPoint.SPECIFIC: "thresholds_specific",
}
"""Names of the thresholds on the card; older cards have only the first."""


@dataclass(frozen=True)
class ScoringRules:
    """How the logits of the 14 heads become findings.

    Parameters
    ----------
    calibration
        Turns logits into probabilities.
    thresholds
        A lesion is called present at or above these probabilities.
    choice
        What the site chose.
    slices
        Calibration of the logits of single slices; None where the card has none.
    """

    calibration: Calibration
    thresholds: tuple[float, ...]
    choice: ScoringChoice = DEFAULT_CHOICE
    slices: Calibration | None = None

    @property
    def digest(self) -> str:
        """Digest of all of them."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def scoring_rules(
    settings: Mapping[str, Any], choice: ScoringChoice = DEFAULT_CHOICE
) -> ScoringRules:
    """The rules of a lesion network's card, as a site chose them.

    Raises
    ------
    WeightsInvalid
        If the card is incomplete, or lacks what the site chose.
    """
    fitted, thresholds = calibration_of(settings), _chosen_thresholds(settings, choice)
    stated = [choice.prevalence.get(head.lesion) for head in HEADS]
    try:
        calibration = fitted.with_prevalence(stated)
    except ValueError as error:
        raise WeightsInvalid(
            f"a prevalence is configured, but {error}: fit the calibration again with "
            "`python -m trainer calibrate`, or remove prevalence from [lesions]"
        ) from error
    moved = (new - old for new, old in zip(calibration.shift, fitted.shift, strict=True))
    return ScoringRules(
        calibration,
        tuple(_shifted(one, by) for one, by in zip(thresholds, moved, strict=True)),
        choice,
        _slice_calibration(settings),
    )


def _shifted(threshold: float, log_odds: float) -> float:
    return sigmoid(logit(threshold) + log_odds) if log_odds else threshold


def _chosen_thresholds(settings: Mapping[str, Any], choice: ScoringChoice) -> tuple[float, ...]:
    by_point = {point: thresholds_of(settings, point) for point in set(map(choice.point, Lesion))}
    return tuple(by_point[choice.point(head.lesion)][n] for n, head in enumerate(HEADS))


def thresholds_of(
    settings: Mapping[str, Any], point: OperatingPoint = OperatingPoint.BALANCED
) -> tuple[float, ...]:
    """The thresholds on a lesion network's card, one for each head, between 0 and 1.

    Raises
    ------
    WeightsInvalid
        If one is missing or out of range, or the card has none for the operating point.
    """
    stored = settings.get(THRESHOLDS[point], ())
    if not stored and point is not OperatingPoint.BALANCED:
        raise WeightsInvalid(
            f"the lesion network's card has no thresholds for the operating point {point}: choose "
            "them with `python -m trainer calibrate`, or set operating_point to balanced"
        )
    thresholds = tuple(float(value) for value in stored)
    if len(thresholds) != len(HEADS) or not all(0 < value < 1 for value in thresholds):
        raise WeightsInvalid(
            f"the lesion network's card needs {len(HEADS)} {THRESHOLDS[point]} between 0 and 1, "
            f"got {len(thresholds)}"
        )
    return thresholds


def calibration_of(settings: Mapping[str, Any]) -> Calibration:
    """The calibration on a lesion network's card; without one, logits are used unchanged.

    Raises
    ------
    WeightsInvalid
        If it is incomplete or not finite.
    """
    return _calibration(settings.get("calibration") or {}, "calibration")


def _slice_calibration(settings: Mapping[str, Any]) -> Calibration | None:
    stored = settings.get("slice_calibration")
    return _calibration(stored, "slice_calibration") if stored else None


def _calibration(stored: Mapping[str, Any], name: str) -> Calibration:
    try:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
        }
        return Calibration(**values)
    except (AttributeError, TypeError, ValueError) as error:
        raise WeightsInvalid(f"the lesion network's card has no valid {name}: {error}") from error
