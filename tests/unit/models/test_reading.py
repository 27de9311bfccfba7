import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.findings import HEADS, POSITIONS, Finding, Head, Lesion, Position, Region, Side
from models.reading import (
    Definition,
    active_lesions,
    any_met,
    counted,
    definitions,
    longest,
    most_at_once,
    positive_mri,
    structural_lesions,
    study_reading,
)


def findings(present=(), unseen=()):
    return tuple(
        Finding(p, None if p in unseen else 0.9 if p in present else 0.1, 0.5) for p in POSITIONS
    )


def at(side, lesion, region):
    return Position(side, Head(lesion, region))


RIGHT_OEDEMA = at(Side.RIGHT, Lesion.OEDEMA, Region.UPPER_ILIUM)
LOWER_OEDEMA = at(Side.RIGHT, Lesion.OEDEMA, Region.LOWER_SACRUM)
LEFT_EROSION = at(Side.LEFT, Lesion.EROSION, Region.LOWER_ILIUM)
LEFT_FAT = at(Side.LEFT, Lesion.FATTY_LESION, Region.UPPER_SACRUM)
LEFT_SCLEROSIS = at(Side.LEFT, Lesion.SCLEROSIS, Region.JOINT)


def test_a_study_s_lesions_are_counted_over_both_joints_and_in_each():
    reading = study_reading(findings(present=(RIGHT_OEDEMA, LOWER_OEDEMA, LEFT_SCLEROSIS)))

    assert str(reading.counts[Lesion.OEDEMA]) == "2 of 8"
    assert str(reading.counts[Lesion.SCLEROSIS]) == "1 of 2"
    right, left = reading.joints
    assert (right.active, right.structural) == (2, 0)
    assert (left.active, left.structural) == (0, 1)


def test_a_joint_that_was_not_seen_is_not_counted_as_healthy():
    unseen = [position for position in POSITIONS if position.side is Side.LEFT]

    reading = study_reading(findings(present=(RIGHT_OEDEMA,), unseen=unseen))

    assert str(reading.counts[Lesion.OEDEMA]) == "1 of 4 seen (8)"
    assert [joint.seen for joint in reading.joints] == [True, False]


@given(st.sets(st.sampled_from(POSITIONS)), st.sets(st.sampled_from(POSITIONS)))
def test_joints_and_lesions_add_up_to_the_study(present, unseen):
    given_ = findings(present, unseen)

    reading, whole = study_reading(given_), counted(given_)

    assert whole.positions == len(POSITIONS)
    assert sum(count.present for count in reading.counts.values()) == whole.present
    assert sum(joint.active + joint.structural for joint in reading.joints) == whole.present
    assert sum(c.evaluable for j in reading.joints for c in j.counts.values()) == whole.evaluable


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


def test_every_head_is_active_or_structural():
    reading = study_reading(findings(present=POSITIONS))

    assert [joint.active + joint.structural for joint in reading.joints] == [len(HEADS)] * 2


def test_oedema_on_two_slices_is_a_positive_mri_and_not_yet_an_active_lesion():
    found = definitions({RIGHT_OEDEMA: frozenset({4, 5})})

    assert {one for one, criteria in found.items() if any_met(criteria)} == {
        Definition.POSITIVE_MRI
    }


def test_an_erosion_on_two_slices_is_a_structural_lesion_alone():
    found = definitions({LEFT_EROSION: frozenset({4, 5})})

    assert {one for one, criteria in found.items() if any_met(criteria)} == {Definition.STRUCTURAL}
