"""Summary statistics of contours: error percentiles, missed and false shares, with intervals.

Intervals are 95 % percentile intervals of a bootstrap over whole patients, because the contours
of one patient are correlated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from trainer.evaluation.contour_judgement import ContourOutcome, Judgement, SlicePlace
from trainer.metrics.contour_error import percentile

PERCENTS = (50, 75, 90, 95)
RESAMPLES = 1000
MEASURES = ("rms", "symmetric_rms", "hausdorff95", "ends")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often each patient is drawn in each resample, ``(resamples, patients)``."""

    patients: tuple[int, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, patients: Sequence[int], seed: int = 0) -> "Resampling":
        """Resamples of the given patients, reproducible by seed."""
        each = tuple(sorted(set(patients)))
        share = np.full(len(each), 1 / len(each))
        drawn = np.random.default_rng(seed).multinomial(len(each), share, RESAMPLES)
        return cls(each, drawn)

    def weights(self, subjects: Sequence[int]) -> NDArray[np.int64]:
        """How often each row is drawn, by its subject, ``(resamples, rows)``."""
        number = {patient: place for place, patient in enumerate(self.patients)}
        return self.counts[:, [number[subject] for subject in subjects]]


def percentile_estimate(
    values: Values, subjects: Sequence[int], percent: float, resampling: Resampling
) -> Estimate:
    """A nearest-rank percentile; infinite values are ranked last."""
    order = np.argsort(values, kind="stable")
    drawn = resampling.weights(subjects)[:, order].cumsum(axis=1)
    drawn = drawn[drawn[:, -1] > 0]
    wanted = np.ceil(percent / 100 * drawn[:, -1:])
    found = np.sort(values[order][(drawn >= wanted).argmax(axis=1)])
    low, high = (percentile(found, at) for at in (2.5, 97.5))
    return Estimate(percentile(values, percent), low, high)


def share_estimate(
    counted: NDArray[np.bool_],
    among: NDArray[np.bool_],
    subjects: Sequence[int],
    resampling: Resampling,
) -> Estimate:
    """Ratio of `counted` rows to `among` rows."""
    drawn = resampling.weights(subjects)
    shares = (drawn @ counted) / np.maximum(drawn @ among, 1)
    low, high = np.percentile(shares, (2.5, 97.5))
    return Estimate(float(counted.sum() / max(1, among.sum())), float(low), float(high))


@dataclass(frozen=True)
class Summary:
    """Summary of many (slice, joint) pairs.

    Parameters
    ----------
    contours
        True ones, missed ones included.
    missed_fraction, false_fraction
        Missed and false contours per true one.
    false_away_fraction
        False contours that are not on a slice next to the joint, for each true one.
    errors
        By measure, unit ("mm", "native px", "224 px") and percent; missed contours included.
    below_1_5_mm
        Share of true contours whose RMS error (the paper's) is below 1.5 mm.
    """

    patients: int
    contours: int
    missed: int
    false: int
    missed_fraction: Estimate
    false_fraction: Estimate
    false_away_fraction: Estimate
    below_1_5_mm: Estimate
    errors: Mapping[str, Mapping[str, Mapping[int, Estimate]]]


UNITS: Mapping[str, Callable[[Judgement], float]] = {
    "mm": lambda _: 1.0,
    "native px": lambda one: one.native_px_mm,
    "224 px": lambda one: one.network_px_mm,
}


def summary(judgements: Sequence[Judgement], resampling: Resampling) -> Summary:
    """Summarise the contours of one method.

    Parameters
    ----------
    judgements
        With at least one true contour.
    resampling
        Of all evaluated patients, including those without a row here.
    """
    subjects = [one.subject for one in judgements]
    missed = np.array([one.outcome is ContourOutcome.MISSED for one in judgements])
    false = np.array([one.outcome is ContourOutcome.FALSE for one in judgements])
    away = np.array([one.place is SlicePlace.OUTSIDE for one in judgements])
    true = [one for one in judgements if one.outcome is not ContourOutcome.FALSE]
    near = np.array([one.error.rms < 1.5 for one in judgements])
    return Summary(
        len(set(subjects)),
        len(true),
        int(missed.sum()),
        int(false.sum()),
        share_estimate(missed, ~false, subjects, resampling),
        share_estimate(false, ~false, subjects, resampling),
        share_estimate(false & away, ~false, subjects, resampling),
        share_estimate(near, ~false, subjects, resampling),
        {measure: _errors(true, measure, resampling) for measure in MEASURES},
    )


def _errors(
    true: Sequence[Judgement], measure: str, resampling: Resampling
) -> dict[str, dict[int, Estimate]]:
    subjects = [one.subject for one in true]
    in_units = {
        unit: np.array([getattr(one.error, measure) / side(one) for one in true])
        for unit, side in UNITS.items()
    }
    return {
        unit: {p: percentile_estimate(values, subjects, p, resampling) for p in PERCENTS}
        for unit, values in in_units.items()
    }


GROUPS: Mapping[str, Callable[[Judgement], str]] = {
    "sequence": lambda one: one.sequence,
    "style": lambda one: one.style,
    "place of the slice": lambda one: str(one.place),
}


def grouped(
    judgements: Sequence[Judgement], resampling: Resampling
) -> dict[str, dict[str, Summary]]:
    """Summaries by sequence, style and position of the slice.

    Groups without a true contour, such as slices beside the joint, are left out.
    """
    return {name: _groups(judgements, key, resampling) for name, key in GROUPS.items()}


def _groups(
    judgements: Sequence[Judgement], key: Callable[[Judgement], str], resampling: Resampling
) -> dict[str, Summary]:
    names = sorted({key(one) for one in judgements if one.outcome is not ContourOutcome.FALSE})
    return {
        name: summary([one for one in judgements if key(one) == name], resampling) for name in names
    }


@dataclass(frozen=True)
class QualityUse:
    """How well a contour's quality predicts its error.

    Parameters
    ----------
    rank_correlation
        Spearman's, between quality and symmetric error of the found contours; -1 is ideal.
    by_quarter
        90th percentile of the symmetric error in mm, from the lowest quality quartile up.
    false_quality, true_quality
        Median quality of false contours and of found ones.
    """

    rank_correlation: float
    by_quarter: tuple[float, ...]
    false_quality: float
    true_quality: float


def quality_use(judgements: Sequence[Judgement]) -> QualityUse:
    """Compare the quality of contours with their error."""
    found = [one for one in judgements if one.outcome is ContourOutcome.FOUND]
    false = [one.quality for one in judgements if one.outcome is ContourOutcome.FALSE]
    quality = np.array([one.quality for one in found])
    error = np.array([one.error.symmetric_rms for one in found])
    quarters = np.array_split(error[np.argsort(quality, kind="stable")], 4)
    return QualityUse(
        float(spearmanr(quality, error).statistic) if len(found) > 2 else float("nan"),
        tuple(percentile(part, 90) if len(part) else float("nan") for part in quarters),
        float(np.median(false)) if false else float("nan"),
        float(np.median(quality)) if found else float("nan"),
    )
