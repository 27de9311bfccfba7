from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contour_tracing import WalkedContour, evenly_spaced
from models.findings import Side
from trainer.evaluation.contour_judgement import ContourOutcome, Judgement, SlicePlace, judged
from trainer.evaluation.contour_summary import (
    Resampling,
    grouped,
    percentile_estimate,
    quality_use,
    summary,
)
from trainer.evaluation.error_figure import draw_distributions
from trainer.metrics.contour_error import MISSED, ContourError
from trainer.prepared_cases import StoredCase

LINE = evenly_spaced(np.array([[40.0, 60.0], [90.0, 75.0]]), 16)
SLICES = 9


def case_showing(right_on_t1, seed=1):
    """Nine T1 and nine STIR slices; the right joint is on some T1 slices, half a mm a pixel."""
    contours = np.full((2 * SLICES, 2, 16, 2), np.nan, np.float32)
    contours[list(right_on_t1), 0] = LINE
    return StoredCase(
        seed,
        np.zeros((2 * SLICES, 224, 224), np.uint8),
        contours,
        np.full(2 * SLICES, 0.5, np.float32),
        np.full(2 * SLICES, 0.25, np.float32),
        np.tile(np.arange(SLICES) * 4.0, 2),
        SLICES,
        "plain",
        {},
        np.zeros(28, np.int8),
        True,
    )


def guess(number, side=Side.RIGHT, shift_px=0.0, quality=0.9):
    return WalkedContour(number, side, LINE + np.array([0.0, shift_px]), quality, True)


def found_on(*guesses):
    return {(one.slice_index, one.side): one for one in guesses}


def test_every_true_contour_and_every_false_one_is_judged_once():
    case = case_showing(range(2, 7))

    judgements = judged(case, found_on(*(guess(n) for n in (2, 3, 4, 5, 8)), guess(12, Side.LEFT)))

    outcomes = [one.outcome for one in judgements]
    assert outcomes.count(ContourOutcome.FOUND) == 4
    assert outcomes.count(ContourOutcome.MISSED) == 1
    assert outcomes.count(ContourOutcome.FALSE) == 2
    assert {(one.sequence, one.slice_index) for one in judgements if one.side is Side.LEFT} == {
        ("STIR", 3)
    }


def test_errors_are_in_millimetres_of_the_patient():
    (one,) = judged(case_showing([4]), found_on(guess(4, shift_px=3.0)))

    assert one.error.rms == pytest.approx(1.5, rel=0.05)
    assert one.error.ends == pytest.approx(1.5)
    assert (one.network_px_mm, one.native_px_mm) == (0.5, 0.25)


def test_slices_are_placed_among_those_that_show_the_joint():
    places = [one.place for one in judged(case_showing(range(8)), {})]

    assert places == [
        SlicePlace.BORDER,
        SlicePlace.ANTERIOR,
        SlicePlace.ANTERIOR,
        SlicePlace.MIDDLE,
        SlicePlace.MIDDLE,
        SlicePlace.POSTERIOR,
        SlicePlace.POSTERIOR,
        SlicePlace.BORDER,
    ]


def judgement(subject=1, rms=0.5, outcome=ContourOutcome.FOUND, quality=0.9, **changes):
    error = MISSED if outcome is ContourOutcome.MISSED else ContourError(rms, rms, rms, rms)
    one = Judgement(
        subject,
        "plain",
        "T1",
        3,
        Side.RIGHT,
        SlicePlace.MIDDLE,
        outcome,
        error,
        0.5,
        0.25,
        quality,
    )
    return replace(one, **changes)


def test_a_missed_contour_stays_in_every_percentile():
    judgements = [judgement() for _ in range(9)] + [judgement(outcome=ContourOutcome.MISSED)]

    of = summary(judgements, Resampling.of([1]))

    assert (of.contours, of.missed, of.false) == (10, 1, 0)
    assert of.missed_fraction.value == pytest.approx(0.1)
    assert of.errors["rms"]["mm"][90].value == pytest.approx(0.5)
    assert of.errors["rms"]["mm"][95].value == np.inf
    assert of.below_1_5_mm.value == pytest.approx(0.9)


def test_errors_are_given_in_native_and_in_network_pixels_too():
    of = summary([judgement(rms=1.0)], Resampling.of([1])).errors["rms"]

    assert [of[unit][50].value for unit in ("mm", "native px", "224 px")] == [1.0, 4.0, 2.0]


def test_false_contours_are_counted_for_each_true_one():
    judgements = [judgement() for _ in range(4)] + [judgement(outcome=ContourOutcome.FALSE)]

    of = summary(judgements, Resampling.of([1]))

    assert (of.contours, of.false) == (4, 1)
    assert of.false_fraction.value == pytest.approx(0.25)


def test_a_false_contour_next_to_the_joint_is_not_away_from_it():
    case = case_showing(range(3, 7))

    judgements = judged(case, found_on(*(guess(n) for n in range(2, 9))))

    of = summary(judgements, Resampling.of([1]))
    assert (of.false_fraction.value, of.false_away_fraction.value) == (3 / 4, 1 / 4)


def test_patients_not_contours_are_drawn_anew_for_an_interval():
    """One of two patients is bad: whether he is drawn at all decides the percentile."""
    judgements = [judgement(1, 0.5)] * 40 + [judgement(2, 9.0)] * 40

    interval = summary(judgements, Resampling.of([1, 2])).errors["rms"]["mm"][75]

    assert (interval.low, interval.high) == (0.5, 9.0)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.integers(0, 5)), min_size=1, max_size=40),
    st.sampled_from([50, 75, 90, 95]),
)
def test_an_interval_holds_only_values_that_were_measured(rows, percent):
    values = np.array([value for value, _ in rows])
    subjects = [subject for _, subject in rows]

    found = percentile_estimate(values, subjects, percent, Resampling.of(subjects))

    assert {found.value, found.low, found.high} <= set(values.tolist())
    assert found.low <= found.high


def test_the_same_judgements_give_the_same_interval():
    judgements = [judgement(n % 5, 0.1 * n) for n in range(30)]

    one, two = (summary(judgements, Resampling.of(range(5))) for _ in range(2))

    assert one == two


def test_groups_share_out_the_true_contours():
    judgements = [judgement(sequence=name) for name in ("T1", "STIR", "STIR")]

    groups = grouped(judgements, Resampling.of([1]))["sequence"]

    assert {name: of.contours for name, of in groups.items()} == {"STIR": 2, "T1": 1}


def test_a_quality_that_falls_with_the_error_is_useful():
    judgements = [judgement(rms=0.1 * n, quality=1 - 0.02 * n) for n in range(1, 40)]
    judgements.append(judgement(outcome=ContourOutcome.FALSE, quality=0.2))

    use = quality_use(judgements)

    assert use.rank_correlation == pytest.approx(-1)
    assert list(use.by_quarter) == sorted(use.by_quarter, reverse=True)
    assert use.false_quality < use.true_quality


def test_the_same_distributions_are_the_same_picture(tmp_path):
    methods = {"ours": [judgement(rms=0.1 * n) for n in range(1, 20)]}

    for name in ("one.svg", "two.svg"):
        draw_distributions(methods, tmp_path / name)

    picture = (tmp_path / "one.svg").read_text()
    assert picture == (tmp_path / "two.svg").read_text()
