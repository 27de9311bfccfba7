"""Scores of lesion predictions with confidence intervals.

Visits of one patient are correlated, so intervals come from a bootstrap over whole patients.

Source: paper, "Results" (AUC, balanced accuracy, sensitivity and specificity on consensus
labels); Brier score; expected calibration error over ten bins.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.metrics.classification import auc, balanced_accuracy

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS = 10
HALF = 0.5


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """Predictions and labels of one lesion in one trial, a row per joint.

    Parameters
    ----------
    probability
        ``(joints, positions)``.
    called
        Whether the lesion is called present at the network's or fold's threshold, same shape.
    label
        1, 0, or NaN without a label, same shape.
    patient
        ``(joints,)``.
    """

    probability: Floats
    called: Bools
    label: Floats
    patient: NDArray[np.int64]

    def of(self, joints: NDArray[np.intp]) -> "LabelledPredictions":
        """Selected joints, with repetition if asked."""
        return LabelledPredictions(
            self.probability[joints], self.called[joints], self.label[joints], self.patient[joints]
        )

    def flat(self) -> tuple[Bools, Floats, Bools]:
        """Label, probability and call of every position that has a label."""
        known = ~np.isnan(self.label)
        return self.label[known] == 1, self.probability[known], self.called[known]


def scores_of(judged: LabelledPredictions) -> dict[str, float]:
    """All scores of one lesion; NaN if only one class occurs."""
    truth, probability, called = judged.flat()
    if not len(truth):
        return {"places": 0, "present": 0}
    at_half = probability >= HALF
    return {
        "places": len(truth),
        "present": int(truth.sum()),
        "auc": auc(truth, probability),
        "balanced_accuracy": balanced_accuracy(truth, at_half),
        "sensitivity": share(at_half[truth]),
        "specificity": share(~at_half[~truth]),
        "balanced_accuracy_own": balanced_accuracy(truth, called),
        "sensitivity_own": share(called[truth]),
        "specificity_own": share(~called[~truth]),
        "brier": float(np.square(probability - truth).mean()),
        "ece": calibration_error(truth, probability),
    }


def share(right: Bools) -> float:
    """Share of true values; NaN if there are none."""
    return float(right.mean()) if len(right) else float("nan")


def macro_auc(judged: LabelledPredictions) -> float:
    """Mean AUC over the positions where both classes occur."""
    each = []
    for place in range(judged.label.shape[1]):
        known = ~np.isnan(judged.label[:, place])
        each.append(auc(judged.label[known, place] == 1, judged.probability[known, place]))
    known_each = [value for value in each if not np.isnan(value)]
    return float(np.mean(known_each)) if known_each else float("nan")


def calibration_curve(truth: Bools, probability: Floats) -> list[tuple[float, float, int]]:
    """Mean probability, share present, and number of positions, by bin."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    return [
        (float(probability[mine].mean()), float(truth[mine].mean()), int(mine.sum()))
        for mine in (bins == number for number in range(BINS))
        if mine.any()
    ]


def calibration_error(truth: Bools, probability: Floats) -> float:
    """Expected calibration error: mean distance of the curve from the diagonal."""
    curve = calibration_curve(truth, probability)
    return sum(abs(said - share) * count for said, share, count in curve) / len(truth)


def calibration_error_at(truth: Bools, probability: Floats, prevalence: float) -> float:
    """Expected calibration error if the lesion had another prevalence.

    Positions with and without the lesion are weighted, which equals resampling them without end.

    Returns
    -------
    float
        NaN if only one class occurs.
    """
    if truth.all() or not truth.any():
        return float("nan")
    weight = np.where(truth, prevalence / truth.mean(), (1 - prevalence) / (~truth).mean())
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weight * (probability - truth))
    return float(np.abs(gaps).sum() / len(truth))


def resampled(patient: NDArray[np.int64], times: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Bootstrap resamples: joints of patients drawn with replacement."""
    rng = np.random.default_rng(seed)
    joints = [np.flatnonzero(patient == one) for one in np.unique(patient)]
    for _ in range(times):
        drawn = rng.integers(len(joints), size=len(joints))
        yield np.concatenate([joints[number] for number in drawn])


COUNTS = ("places", "present")


def intervals(judged: LabelledPredictions, times: int, seed: int) -> dict[str, list[float]]:
    """95 % bootstrap intervals of every score."""
    drawn = [scores_of(judged.of(joints)) for joints in resampled(judged.patient, times, seed)]
    found = {}
    names = [name for name in scores_of(judged) if name not in COUNTS]
    for name in names:
        values = np.array([one.get(name, np.nan) for one in drawn])
        if np.isfinite(values).any():
            found[name] = [float(v) for v in np.nanpercentile(values, (2.5, 97.5))]
    return found


def differences(
    ours: list[LabelledPredictions],
    theirs: list[LabelledPredictions],
    names: tuple[str, ...],
    times: int,
    seed: int,
) -> dict[str, list[float]]:
    """Mean difference over lesions, ours minus theirs, on the same joints, with 95 % interval.

    Parameters
    ----------
    ours, theirs
        One per lesion, in the same order and of the same joints.
    names
        Keys of `scores_of`.
    """
    patient = ours[0].patient
    middle = _mean_gaps(ours, theirs, names, np.arange(len(patient)))
    drawn = [_mean_gaps(ours, theirs, names, j) for j in resampled(patient, times, seed)]
    edges = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
    return {
        name: [float(middle[n]), float(edges[0, n]), float(edges[1, n])]
        for n, name in enumerate(names)
    }


def _mean_gaps(
    ours: list[LabelledPredictions],
    theirs: list[LabelledPredictions],
    names: tuple[str, ...],
    joints: NDArray[np.intp],
) -> Floats:
    gaps = []
    for one, other in zip(ours, theirs, strict=True):
        mine, yours = scores_of(one.of(joints)), scores_of(other.of(joints))
        gaps.append([mine.get(name, np.nan) - yours.get(name, np.nan) for name in names])
    return np.asarray(np.nanmean(gaps, axis=0))
