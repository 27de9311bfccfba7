"""SPARCC, SSS and Berlin scores with their bands, from the chances of quadrants and slices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.burden_scores import (
    RULES,
    BurdenChange,
    BurdenName,
    BurdenScore,
    burden_change,
    burden_scores,
    central_slices,
    poisson_binomial,
    quantiles,
    total_distribution,
)
from models.findings import POSITIONS, QUADRANTS, Finding, Head, Lesion, Position, Side

PREVALENCE = dict.fromkeys(Lesion, 0.2)
SPARCC = BurdenName.SPARCC_INFLAMMATION
SLICES = range(4, 14)
CHANCES = st.floats(0, 1)


def chances(of_slice=0.9, slices=SLICES):
    return {
        Position(side, Head(lesion, region)): dict.fromkeys(slices, of_slice)
        for side in Side
        for lesion in (Lesion.OEDEMA, Lesion.EROSION, Lesion.FATTY_LESION)
        for region in QUADRANTS
    }


def found(probability):
    """Findings with the same probability, or one for each position."""
    each = probability if callable(probability) else lambda _: probability
    return [Finding(position, each(position), 0.5) for position in POSITIONS]


def scores(probability, of_slices=None):
    made = burden_scores(found(probability), of_slices or chances(), PREVALENCE)
    return {one.name: one for one in made}


def test_a_patient_without_lesions_has_zero_and_one_full_of_them_nearly_all():
    none, all_of_it = scores(0.0), scores(1.0, chances(1.0))

    assert [(one.value, one.high) for one in none.values()] == [(0, 0)] * len(RULES)
    assert [one.value for one in all_of_it.values()] == [one.most for one in all_of_it.values()]


def test_the_ranges_are_those_of_the_items_that_are_scored():
    most = {name: rule.most for name, rule in RULES.items()}

    assert most[SPARCC] == 48
    assert most[BurdenName.SSS_FAT] == most[BurdenName.SSS_EROSION] == 40
    assert most[BurdenName.BERLIN_OEDEMA] == most[BurdenName.BERLIN_FAT] == 24


def test_only_the_lesion_of_a_score_counts():
    oedema = scores(lambda position: float(position.head.lesion is Lesion.OEDEMA))

    assert oedema[SPARCC].value > 0 < oedema[BurdenName.BERLIN_OEDEMA].value
    assert oedema[BurdenName.SSS_FAT].value == oedema[BurdenName.SSS_EROSION].value == 0


@pytest.mark.parametrize("side", Side)
def test_exchanging_the_sides_changes_no_sum(side):
    one_sided = scores(lambda position: 0.8 if position.side is side else 0.1)
    mirrored = scores(lambda position: 0.1 if position.side is side else 0.8)

    assert one_sided == mirrored


@given(st.lists(CHANCES, min_size=8, max_size=8), st.integers(0, 7), CHANCES)
def test_a_likelier_lesion_never_lowers_a_score(levels, which, higher):
    quadrants = [p for p in POSITIONS if p.head.lesion is Lesion.OEDEMA]
    raised = list(levels)
    raised[which] = max(levels[which], higher)
    chance_before, chance_after = (
        dict(zip(quadrants, one, strict=True)) for one in (levels, raised)
    )
    before = scores(lambda position: chance_before.get(position, 0.0))
    after = scores(lambda position: chance_after.get(position, 0.0))

    for name in (SPARCC, BurdenName.BERLIN_OEDEMA):
        assert after[name].value >= before[name].value
        assert after[name].high >= before[name].high
        assert 0 <= before[name].low <= before[name].value <= before[name].high <= RULES[name].most


@given(st.lists(CHANCES, max_size=12))
def test_counts_of_independent_events_have_their_mean_and_spread(chances_of_each):
    distribution, values = poisson_binomial(chances_of_each), np.arange(len(chances_of_each) + 1)

    assert distribution.sum() == pytest.approx(1)
    mean = distribution @ values
    assert mean == pytest.approx(sum(chances_of_each), abs=1e-9)
    assert distribution @ (values - mean) ** 2 == pytest.approx(
        sum(chance * (1 - chance) for chance in chances_of_each), abs=1e-9
    )


def test_a_doubtful_quadrant_counts_more_beside_clear_lesions():
    one_slice = [np.array([0.0, 1.0])] * 8

    ill, well = (
        total_distribution([0.5, *[other] * 7], one_slice, 0.2) @ np.arange(9) - 7 * other
        for other in (0.999, 0.001)
    )

    assert ill > 0.6 > 0.4 > well


def test_the_band_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    counted, inside = [np.array([0.0, 0.2, 0.3, 0.5])] * 8, 0
    for _ in range(300):
        ill = np.exp(np.log(0.25) * np.sqrt(1 + 0.346 * 4) + 2 * rng.standard_normal())
        there = rng.random(8) < ill / (1 + ill)
        logits = np.where(there, 1.0, -1.0) + rng.standard_normal(8)
        odds = 0.25 * np.exp(2 * logits)
        true = sum(rng.choice(4, p=counted[0]) for _ in range(there.sum()))
        total = total_distribution(odds / (1 + odds), counted, 0.2)
        low, high = quantiles(total, (0.025, 0.975))
        inside += low <= true <= high

    assert 0.93 <= inside / 300 <= 1


@pytest.mark.parametrize("slices", [range(5), [1, 2, 3, 5, 6, 7, 9]])
def test_too_few_consecutive_slices_allow_no_count_of_six(slices):
    assert SPARCC not in scores(0.5, chances(slices=slices))


def test_a_quadrant_that_was_not_evaluable_leaves_its_scores_out():
    lost = Position(Side.LEFT, Head(Lesion.OEDEMA, QUADRANTS[0]))

    names = scores(lambda position: None if position == lost else 0.5)

    assert set(names) == {BurdenName.SSS_FAT, BurdenName.SSS_EROSION, BurdenName.BERLIN_FAT}
    assert SPARCC not in scores(0.5, chances() | {lost: {}})


def test_the_slices_that_show_most_quadrants_are_counted_and_of_these_the_central_ones():
    full, upper = set(range(3, 12)), set(range(12))

    assert central_slices([upper, full], 5) == {4, 5, 6, 7, 8}
    assert central_slices([range(10)], 6) == {2, 3, 4, 5, 6, 7}
    assert central_slices([range(10)], 0) == set(range(10))
    assert central_slices([[], []], 0) is None


def score(value, low, high):
    return BurdenScore(SPARCC, value, low, high)


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (score(20, 16, 24), score(8, 5, 11), BurdenChange.DECREASED),
        (score(8, 5, 11), score(20, 16, 24), BurdenChange.INCREASED),
        (score(10, 6, 14), score(14, 10, 18), BurdenChange.WITHIN_ERROR),
        (score(10, 6, 14), score(16, 12, 20), BurdenChange.INCREASED),
        (score(0, 0, 0), score(0, 0, 0), BurdenChange.WITHIN_ERROR),
        (score(0, 0, 3), score(2, 0, 5), BurdenChange.WITHIN_ERROR),
    ],
)
def test_a_change_is_stated_only_beyond_measurement_error(before, now, change):
    assert burden_change(before, now) is change


@given(st.lists(st.integers(0, 48), min_size=6, max_size=6))
def test_a_change_reads_the_other_way_round_from_the_other_study(numbers):
    one, other = (
        score(value, low, high) for low, value, high in (sorted(numbers[:3]), sorted(numbers[3:]))
    )
    opposite = {
        BurdenChange.INCREASED: BurdenChange.DECREASED,
        BurdenChange.DECREASED: BurdenChange.INCREASED,
        BurdenChange.WITHIN_ERROR: BurdenChange.WITHIN_ERROR,
    }

    assert burden_change(other, one) is opposite[burden_change(one, other)]


@pytest.mark.parametrize(("value", "low", "high"), [(3, 4, 5), (6, 4, 5), (3, -1, 4), (48, 40, 49)])
def test_a_score_outside_its_band_or_range_is_refused(value, low, high):
    with pytest.raises(ValueError, match="SPARCC inflammation"):
        score(value, low, high)
