"""A sender whose studies change is noticed; one whose studies vary as before is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.delineation import Contour, Delineation
from models.findings import Sequence, Side
from models.volume import Volume
from sij_node.domain.drift import (
    MIN_STUDIES,
    RECENT_STUDIES,
    REFERENCE_STUDIES,
    Histories,
    brightness_ratio,
    distance,
    input_figures,
    limit,
    mean_of,
    shifts,
)

LINE = np.array([[1.0, 2.0], [5.0, 2.5]])
values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40).map(np.array)


def studies(drawn: np.ndarray, name: str = "T1 pixel mm") -> list[dict[str, float]]:
    return [{name: float(value)} for value in drawn]


@given(values, values)
def test_the_distance_is_symmetric_and_between_nothing_and_all(first, second):
    assert 0 <= distance(first, second) <= 1
    assert distance(first, second) == pytest.approx(distance(second, first))
    assert distance(first, first) == 0


@given(values, values)
def test_the_distance_does_not_depend_on_the_unit(first, second):
    first, second = np.round(first), np.round(second)

    assert distance(first * 4.0, second * 4.0) == pytest.approx(distance(first, second))


@given(values)
def test_samples_with_no_value_in_common_are_as_far_apart_as_can_be(sample):
    assert distance(sample, sample + 3e6) == 1


def test_samples_of_one_scanner_are_hardly_ever_beyond_the_limit():
    random = np.random.default_rng(7)
    beyond = sum(
        distance(random.normal(size=REFERENCE_STUDIES), random.normal(size=RECENT_STUDIES))
        > limit(REFERENCE_STUDIES, RECENT_STUDIES)
        for _ in range(2000)
    )

    assert beyond == 0


def test_a_scanner_with_another_pixel_size_is_noticed():
    before = studies(np.full(REFERENCE_STUDIES, 0.5))
    mixed = studies(np.array([0.5] * 25 + [0.7] * 25))

    (shift,) = shifts(Histories(before, mixed))

    assert shift.is_beyond
    assert (shift.reference, shift.recent, shift.distance) == (0.5, pytest.approx(0.6), 0.5)


def test_a_lesion_that_is_suddenly_found_in_most_patients_is_noticed():
    before = studies(np.arange(REFERENCE_STUDIES) % 5 == 0, "oedema present")
    now = studies(np.arange(RECENT_STUDIES) % 5 != 0, "oedema present")

    (shift,) = shifts(Histories(before, now))

    assert shift.is_beyond
    assert shift.distance == pytest.approx(0.6)


def test_a_few_more_positive_patients_are_no_drift():
    before = studies(np.arange(REFERENCE_STUDIES) % 5 == 0, "oedema present")
    now = studies(np.arange(RECENT_STUDIES) % 4 == 0, "oedema present")

    (shift,) = shifts(Histories(before, now))

    assert not shift.is_beyond


def test_with_few_studies_no_drift_is_reported():
    assert shifts(Histories(studies(np.ones(MIN_STUDIES - 1)), studies(np.zeros(50)))) == ()
    assert shifts(Histories(studies(np.ones(50)), studies(np.zeros(MIN_STUDIES - 1)))) == ()


def test_the_mean_of_a_figure_that_no_study_has_is_not_nought():
    assert mean_of("oedema present", [{"erosion present": 1.0}]) is None
    assert mean_of("oedema present", [{"oedema present": 1.0}, {"oedema present": 0.0}]) == 0.5


def volume(scale: float = 1.0) -> Volume:
    random = np.random.default_rng(3)
    voxels = (random.random((20, 64, 64)) ** 3 * scale).astype(np.float32)
    return Volume(voxels, np.diag([4.4, 0.5, 0.5, 1.0]))


def test_stored_images_do_not_depend_on_the_scanners_scaling():
    assert brightness_ratio(volume(1.0).voxels) == pytest.approx(
        brightness_ratio(volume(4000.0).voxels), rel=1e-5
    )
    assert brightness_ratio(np.zeros((5, 8, 8), np.float32)) == 0


def test_the_record_says_how_images_lie_and_how_certain_contours_are():
    contours = Delineation((Contour(3, Side.LEFT, LINE, 0.5), Contour(3, Side.RIGHT, LINE, 1.0)))

    kept = input_figures(
        {Sequence.T1: (volume(), contours), Sequence.STIR: (volume(), Delineation(()))}
    )

    assert kept["T1 slices"] == 20
    assert kept["T1 contours"] == 2
    assert kept["T1 contour quality"] == 0.75
    assert kept["STIR contours"] == 0
    assert "STIR contour quality" not in kept
    assert all(isinstance(value, float) and np.isfinite(value) for value in kept.values())
    assert (kept["T1 pixel mm"], kept["T1 slice distance mm"]) == (0.5, 4.4)
