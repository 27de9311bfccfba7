"""On which slices a joint is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.joint_presence import of_both_sequences, shown, slice_places
from models.orientation import canonical
from models.volume import Volume
from tests.support.oriented_volumes import coronal_affine, reordered

PLACES = np.array([0.0, 4.0, 8.0])
ODD_PLACES = np.array([2.0, 6.0])


def coronal(slices, first_mm, tilt_deg=20.0):
    """Oblique slices from front to back, 4 mm apart."""
    affine = coronal_affine(tilt_deg=tilt_deg, turn_deg=5)
    affine[:3, 3] += affine[:3, 0] * first_mm / 4
    return Volume(np.zeros((slices, 6, 5), np.float32), affine)


def sides(*certainty):
    """The same for both joints."""
    return np.repeat(np.array(certainty)[:, None], 2, axis=1)


@pytest.mark.parametrize(
    ("certainty", "expected"),
    [
        ([0, 0.9, 0.1, 0.9, 0], [False, True, True, True, False]),
        ([0.9, 0, 0, 0, 0.9, 0.9, 0.9, 0.9], [False, False, False, False, *[True] * 4]),
        ([0.9, 0.9, 0, 0, 0, 0.9, 0.9], [True, True, False, False, False, True, True]),
        ([0.1, 0.2], [False, False]),
    ],
)
def test_a_joint_is_one_piece(certainty, expected):
    assert shown(np.array(certainty), 0.5, contiguous=True).tolist() == expected


def test_slice_by_slice_nothing_is_filled_or_dropped():
    certainty = np.array([0, 0.9, 0.1, 0.9, 0])

    there = shown(certainty, 0.5, contiguous=False)

    assert there.tolist() == [False, True, False, True, False]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=24))
def test_certainty_alone_decides_whether_joints_are_shown(certainties):
    certainty = np.array(certainties)

    assert not shown(certainty, 1.0, contiguous=True).any()
    assert shown(certainty, -1.0, contiguous=True).all()


@pytest.mark.parametrize("lying", [False, True])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_slices_are_compared_where_they_lie_however_they_are_stored(lying, flips):
    t1, stir = coronal(3, 0), reordered(coronal(2, 2), lying, flips)

    here, there = slice_places((canonical(t1), canonical(stir)))

    np.testing.assert_allclose(there - here[0], [2, 6], atol=1e-9)


def test_slices_that_are_not_parallel_are_not_compared():
    t1, stir = coronal(3, 0), coronal(3, 0, tilt_deg=50)

    here, there = slice_places((t1, stir))

    assert np.isnan(there).all()
    own = sides(0.9, 0.9, 0.9), sides(0.1, 0.1, 0.1)
    for alone, agreed in zip(own, of_both_sequences(own, (here, there)), strict=True):
        np.testing.assert_array_equal(agreed, alone)


def test_each_joint_is_judged_by_both_sequences_in_the_same_place():
    t1 = np.array([[0.4, 0.4], [0.4, 0.4], [0.4, 0.4]])
    stir = np.array([[0.2, 0.9], [0.4, 0.4]])

    agreed, _ = of_both_sequences((t1, stir), (PLACES, ODD_PLACES))

    expected = np.sqrt(0.4 * np.array([[0.2, 0.9], [np.sqrt(0.08), 0.6], [0.4, 0.4]]))
    np.testing.assert_allclose(agreed, expected)


def test_a_slice_where_the_other_sequence_has_none_is_judged_alone():
    agreed, _ = of_both_sequences(
        (sides(0.4, 0.4, 0.4), sides(0.9, 0.9)), (np.array([0.0, 4.0, 20.0]), np.array([0.0, 4.0]))
    )

    np.testing.assert_allclose(agreed, sides(0.6, 0.6, 0.4))


def test_an_empty_sequence_does_not_hide_a_joint_clear_on_the_other():
    clear, spoilt = sides(0.8, 0.8, 0.8), sides(0.0, 0.0, 0.0)

    agreed, _ = of_both_sequences((clear, spoilt), (PLACES, PLACES))

    assert shown(agreed[:, 0], 0.3, contiguous=True).all()


def test_one_sequence_alone_is_judged_alone():
    own = sides(0.1, 0.7)

    (agreed,) = of_both_sequences([own], [np.array([0.0, 4.0])])

    np.testing.assert_array_equal(agreed, own)


@given(st.lists(st.floats(1e-4, 1), min_size=6, max_size=6))
def test_two_sequences_that_agree_change_nothing(certainties):
    own = np.array(certainties).reshape(3, 2)

    for agreed in of_both_sequences((own, own), (PLACES, PLACES)):
        np.testing.assert_allclose(agreed, own, atol=1e-9)
