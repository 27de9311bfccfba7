import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.findings import Head, Lesion, Position, Region, Side
from models.mri_criteria import (
    Definition,
    active_lesions,
    any_met,
    definitions,
    longest,
    most_at_once,
    positive_mri,
    structural_lesions,
)


def at(side, lesion, region):
    return Position(side, Head(lesion, region))


RIGHT_OEDEMA = at(Side.RIGHT, Lesion.OEDEMA, Region.UPPER_ILIUM)
LOWER_OEDEMA = at(Side.RIGHT, Lesion.OEDEMA, Region.LOWER_SACRUM)
LEFT_EROSION = at(Side.LEFT, Lesion.EROSION, Region.LOWER_ILIUM)
LEFT_FAT = at(Side.LEFT, Lesion.FATTY_LESION, Region.UPPER_SACRUM)
LEFT_SCLEROSIS = at(Side.LEFT, Lesion.SCLEROSIS, Region.JOINT)


@pytest.mark.parametrize(
    ("seen", "consecutive", "positive"),
    [
        ({}, 0, False),
        ({RIGHT_OEDEMA: {4}}, 1, False),
        ({RIGHT_OEDEMA: {4, 6}}, 1, False),
        ({RIGHT_OEDEMA: {4, 5}}, 2, True),
        ({RIGHT_OEDEMA: {4}, LOWER_OEDEMA: {4}}, 1, True),
        ({RIGHT_OEDEMA: {4}, LOWER_OEDEMA: {5}}, 1, False),
        ({LEFT_EROSION: {4, 5, 6}}, 0, False),
    ],
)
def test_asas_asks_for_two_slices_or_two_places_on_one(seen, consecutive, positive):
    slices = {position: frozenset(numbers) for position, numbers in seen.items()}

    assert longest(slices, Lesion.OEDEMA) == consecutive
    assert any_met(positive_mri(slices)) is positive


def test_four_slice_quadrants_or_three_slices_in_a_row_are_active():
    spread = {RIGHT_OEDEMA: frozenset({1, 3}), LOWER_OEDEMA: frozenset({5, 7})}
    row = {RIGHT_OEDEMA: frozenset({3, 4, 5})}

    assert [one.met for one in active_lesions(spread)] == [True, False]
    assert [one.met for one in active_lesions(row)] == [False, True]
    assert not any_met(active_lesions({RIGHT_OEDEMA: frozenset({1, 2})}))


def test_structural_cut_offs_are_those_of_erosions_and_fatty_lesions():
    eroded = structural_lesions({LEFT_EROSION: frozenset({2, 3})})
    fatty = structural_lesions({LEFT_FAT: frozenset({1, 3, 5, 7, 9})})

    assert [one.met for one in eroded] == [False, True, False, False]
    assert [one.met for one in fatty] == [False, False, True, False]
    assert [one.needed for one in fatty] == [3, 2, 5, 3]


def test_a_joint_s_sclerosis_meets_no_cut_off():
    assert not any_met(structural_lesions({LEFT_SCLEROSIS: frozenset(range(9))}))


@given(st.frozensets(st.integers(0, 30)))
def test_the_longest_run_is_the_longest_stretch_without_a_gap(numbers):
    runs = [r for r in range(1, 32) for n in numbers if all(n + k in numbers for k in range(r))]

    assert longest({RIGHT_OEDEMA: numbers}, Lesion.OEDEMA) == max(runs, default=0)
    assert most_at_once({RIGHT_OEDEMA: numbers}, Lesion.OEDEMA) == bool(numbers)


def test_oedema_on_two_slices_is_a_positive_mri_and_not_yet_an_active_lesion():
    found = definitions({RIGHT_OEDEMA: frozenset({4, 5})})

    assert {one for one, criteria in found.items() if any_met(criteria)} == {
        Definition.POSITIVE_MRI
    }


def test_an_erosion_on_two_slices_is_a_structural_lesion_alone():
    found = definitions({LEFT_EROSION: frozenset({4, 5})})

    assert {one for one, criteria in found.items() if any_met(criteria)} == {Definition.STRUCTURAL}
