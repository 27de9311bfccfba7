"""Scores of lesion burden that trials and rheumatologists read: SPARCC, SSS and Berlin sums.

They count the slices and quadrants that show a lesion, and are research aids. Items that the
networks cannot see are left out: depth and intensity of oedema, backfill, and ankylosis of joint
halves.

Each score comes with a 95 % band, from the probability of a lesion in each quadrant and, where one
is present, on each slice. Quadrants are independent given how ill the patient is, and slices given
how large the lesion is. Both are unknown and integrated over, so a doubtful quadrant counts more
beside clear lesions.

Source: doi:10.1002/art.21445 (SPARCC SIJ inflammation, six slices); doi:10.3899/jrheum.140519
(SPARCC SSS, five slices); doi:10.1136/ard.2010.147033 (Berlin, share of each quadrant).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.findings import QUADRANTS, Finding, Head, Lesion, Position, Side

Chances = NDArray[np.float64]
"""Probability of each value of a count or grade, from 0."""
SliceChances = Mapping[Position, Mapping[int, float]]
"""Probability that a slice shows a lesion, given that it is present: for each quadrant, by slice of
the sequence that `models.mri_criteria.counted_on` names; slices that do not show the quadrant have
none."""

BAND = 0.95
"""Probability that a score lies within its band."""
BERLIN_SHARES: Mapping[Lesion, tuple[float, float]] = {
    Lesion.OEDEMA: (0.72, 0.92),
    Lesion.FATTY_LESION: (0.72, 0.92),
}
"""Above these shares of its slices, a lesion is taken to fill 33 % and 66 % of the quadrant."""
BERLIN_GRADES = 3
PATIENT_SPREAD = 2.0
"""Standard deviation, between patients, of the log-odds that a quadrant has a lesion."""
EXTENT_SPREAD = 1.5
"""Standard deviation, between lesions, of the log-odds that a slice shows them."""
_NODES, _RAW_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _RAW_WEIGHTS / _RAW_WEIGHTS.sum()
"""Gauss-Hermite quadrature of a standard normal distribution."""
_LIMIT = 1e-6


class BurdenName(StrEnum):
    """The scores, by their published names."""

    SPARCC_INFLAMMATION = "SPARCC inflammation"
    SSS_FAT = "SPARCC SSS fat metaplasia"
    SSS_EROSION = "SPARCC SSS erosion"
    BERLIN_OEDEMA = "Berlin oedema"
    BERLIN_FAT = "Berlin fatty lesion"


@dataclass(frozen=True)
class BurdenRule:
    """How a score is counted.

    Parameters
    ----------
    lesion
        The lesion that is counted.
    slices
        Number of consecutive slices; 0 for a Berlin sum, which uses all.
    """

    lesion: Lesion
    slices: int = 0

    @property
    def most(self) -> int:
        """The largest value."""
        return (self.slices or BERLIN_GRADES) * len(QUADRANTS) * len(Side)


RULES: Mapping[BurdenName, BurdenRule] = {
    BurdenName.SPARCC_INFLAMMATION: BurdenRule(Lesion.OEDEMA, 6),
    BurdenName.SSS_FAT: BurdenRule(Lesion.FATTY_LESION, 5),
    BurdenName.SSS_EROSION: BurdenRule(Lesion.EROSION, 5),
    BurdenName.BERLIN_OEDEMA: BurdenRule(Lesion.OEDEMA),
    BurdenName.BERLIN_FAT: BurdenRule(Lesion.FATTY_LESION),
}


@dataclass(frozen=True)
class BurdenScore:
    """A score and its 95 % band.

    Parameters
    ----------
    value
        The median.
    low, high
        The band.

    Raises
    ------
    ValueError
        If they are not in order, or exceed the range of the score.
    """

    name: BurdenName
    value: int
    low: int
    high: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high <= self.most:
            raise ValueError(
                f"{self.name} {self.value} ({self.low}-{self.high}) is not within 0 to {self.most}"
            )

    @property
    def most(self) -> int:
        """The largest value of the score."""
        return RULES[self.name].most


class BurdenChange(StrEnum):
    """Change of a score since the prior study, compared with its measurement error."""

    INCREASED = "increased"
    DECREASED = "decreased"
    WITHIN_ERROR = "within measurement error"


def burden_change(before: BurdenScore, now: BurdenScore) -> BurdenChange:
    """Whether two scores of a patient differ by more than their measurement error.

    They do if the 95 % interval of the difference, from the bands of both, excludes 0.

    Source: Newcombe, Stat Med 1998;17:873, method 10 (interval of a difference from two intervals).
    """
    difference = now.value - before.value
    if difference > sqrt((now.value - now.low) ** 2 + (before.high - before.value) ** 2):
        return BurdenChange.INCREASED
    if -difference > sqrt((now.high - now.value) ** 2 + (before.value - before.low) ** 2):
        return BurdenChange.DECREASED
    return BurdenChange.WITHIN_ERROR


def burden_scores(
    findings: Iterable[Finding], slices: SliceChances, prevalence: Mapping[Lesion, float]
) -> tuple[BurdenScore, ...]:
    """The scores of a study; those that its slices do not allow are left out.

    Parameters
    ----------
    findings
        All of the study. Every quadrant must be evaluable for the lesion of a score.
    slices
        See `SliceChances`; a score of n slices needs n consecutive ones that show the joints.
    prevalence
        Share of quadrants with a lesion, which the probabilities assume.
    """
    present = {one.position: one.probability for one in findings}
    return tuple(
        score
        for name, rule in RULES.items()
        if (score := _score(name, present, slices, prevalence)) is not None
    )


def _score(
    name: BurdenName,
    present: Mapping[Position, float | None],
    slices: SliceChances,
    prevalence: Mapping[Lesion, float],
) -> BurdenScore | None:
    rule = RULES[name]
    window, quadrants = counted_slices(rule, slices), quadrants_of(rule.lesion)
    known = [chance for one in quadrants if (chance := present.get(one)) is not None]
    shown = [chances for one in quadrants if (chances := slices.get(one))]
    if window is None or len(known) < len(quadrants) or len(shown) < len(quadrants):
        return None
    counted = [_counted(rule, each, window) for each in shown]
    total = total_distribution(known, counted, prevalence[rule.lesion])
    low, value, high = quantiles(total, ((1 - BAND) / 2, 0.5, (1 + BAND) / 2))
    return BurdenScore(name, value, low, high)


def quadrants_of(lesion: Lesion) -> tuple[Position, ...]:
    """The eight quadrants of both joints, for a lesion."""
    return tuple(Position(side, Head(lesion, region)) for side in Side for region in QUADRANTS)


def counted_slices(rule: BurdenRule, slices: SliceChances) -> frozenset[int] | None:
    """The slices that a score counts; None if they do not suffice."""
    return central_slices([slices.get(one, {}) for one in quadrants_of(rule.lesion)], rule.slices)


def central_slices(quadrants: Sequence[Iterable[int]], count: int) -> frozenset[int] | None:
    """The consecutive slices that show most quadrants; of several, the most central ones.

    Parameters
    ----------
    quadrants
        The slices that show each quadrant.
    count
        Number of slices; 0 for all.

    Returns
    -------
    frozenset or None
        None if no `count` consecutive slices show a joint. Lesions do not enter the choice.
    """
    shown = [frozenset(one) for one in quadrants]
    seen = frozenset().union(*shown)
    if not count or not seen:
        return seen or None
    windows = [frozenset(range(first, first + count)) for first in sorted(seen)]
    complete = [one for one in windows if one <= seen]
    middle = sum(map(sum, shown)) / sum(map(len, shown))

    def preferred(window: frozenset[int]) -> tuple[int, float]:
        return sum(len(one & window) for one in shown), -abs(sum(window) / count - middle)

    return max(complete, key=preferred, default=None)


def total_distribution(
    present: Sequence[float], counted: Sequence[Chances], prevalence: float
) -> Chances:
    """Distribution of the sum over quadrants, integrated over how ill the patient is.

    Parameters
    ----------
    present
        Probability of a lesion in each quadrant, as if it were alone.
    counted
        Distribution of each quadrant's contribution if the lesion is present.
    prevalence
        Which `present` assumes.
    """
    evidence = odds(np.clip(present, _LIMIT, 1 - _LIMIT)) / odds(prevalence)
    usual = np.log(odds(prevalence)) * _flattened(PATIENT_SPREAD)
    likely, totals = [], []
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        prior = np.exp(usual + PATIENT_SPREAD * node)
        likely.append(weight * np.prod((1 + prior * evidence) / (1 + prior)))
        totals.append(_sum(prior * evidence / (1 + prior * evidence), counted))
    return np.average(totals, axis=0, weights=likely)


def _sum(present: Chances, counted: Sequence[Chances]) -> Chances:
    """Distribution of the sum of independent quadrants: nothing where no lesion is."""
    total = np.ones(1)
    for chance, of_quadrant in zip(present, counted, strict=True):
        mixed = chance * of_quadrant
        mixed[0] += 1 - chance
        total = np.convolve(total, mixed)
    return total


def _counted(rule: BurdenRule, shown: Mapping[int, float], window: frozenset[int]) -> Chances:
    """Distribution of a quadrant's contribution if the lesion is present."""
    chances = np.array([chance for number, chance in shown.items() if number in window])
    usual = np.log(odds(np.clip(chances, _LIMIT, 1 - _LIMIT))) * _flattened(EXTENT_SPREAD)
    counted = np.average(
        [poisson_binomial(1 / (1 + np.exp(-usual - EXTENT_SPREAD * node))) for node in _NODES],
        axis=0,
        weights=_WEIGHTS,
    )
    return counted if rule.slices else _grades(counted, BERLIN_SHARES[rule.lesion])


def odds(probability: ArrayLike) -> Chances:
    """Odds of probabilities between 0 and 1."""
    values = np.asarray(probability, float)
    return np.asarray(values / (1 - values))


def _flattened(spread: float) -> float:
    """Factor on log-odds that keeps a probability when they vary with a standard deviation.

    Source: Zeger et al., Biometrics 1988;44:1049 (c = 16 sqrt(3) / 15 pi, squared: 0.346).
    """
    return sqrt(1 + 0.346 * spread**2)


def _grades(counted: Chances, limits: tuple[float, float]) -> Chances:
    """Distribution of the Berlin grade of a lesion that is present, from its number of slices."""
    share = np.arange(len(counted)) / max(len(counted) - 1, 1)
    grade = 1 + sum((share > limit).astype(int) for limit in limits)
    return np.bincount(grade, counted, BERLIN_GRADES + 1).astype(np.float64)


def poisson_binomial(chances: Iterable[float]) -> Chances:
    """Distribution of the number of events that happen, each with its own probability."""
    counted = np.ones(1)
    for chance in chances:
        counted = np.convolve(counted, (1 - chance, chance))
    return counted


def quantiles(distribution: Chances, levels: Iterable[float]) -> tuple[int, ...]:
    """The smallest values whose cumulative probability reaches each level."""
    summed = np.cumsum(distribution) / distribution.sum()
    return tuple(int(np.searchsorted(summed, level - 1e-12)) for level in levels)
