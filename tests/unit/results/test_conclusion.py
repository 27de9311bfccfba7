"""The conclusion: what each joint shows in one sentence, and what is new since the prior study."""

from itertools import product

import pytest

from models.findings import HEADS, POSITIONS, Finding, Head, Lesion, Position, Region, Side
from sij_node.dicom.read_back.vocabulary import heads_named, sides_named
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.results.conclusion import asas_criterion, conclusion, prior_changes
from sij_node.results.language import ENGLISH, GERMAN

LEFT_OEDEMA = [Position(Side.LEFT, head) for head in HEADS if head.lesion is Lesion.OEDEMA]
LEFT_SCLEROSIS = Position(Side.LEFT, Head(Lesion.SCLEROSIS, Region.JOINT))
RIGHT_EROSION = Position(Side.RIGHT, Head(Lesion.EROSION, Region.UPPER_ILIUM))


def with_lesions(*present: Position, unknown: tuple[Position, ...] = ()) -> list[Finding]:
    return [
        Finding(p, None if p in unknown else 0.9 if p in present else 0.1, 0.5) for p in POSITIONS
    ]


def test_each_joint_is_concluded_in_one_sentence():
    found = with_lesions(*LEFT_OEDEMA, LEFT_SCLEROSIS, RIGHT_EROSION)

    assert conclusion(found, True, ENGLISH) == (
        "RIGHT: erosion upper ilium.",
        "LEFT: oedema in all 4 quadrants; sclerosis.",
        "ASAS active sacroiliitis criterion: met (research).",
    )
    assert conclusion(found, False, GERMAN) == (
        "RECHTS: Erosion Ilium kranial.",
        "LINKS: Knochenmarködem in allen 4 Quadranten; Sklerose.",
        "ASAS-Kriterium der aktiven Sakroiliitis: nicht erfüllt (Forschung).",
    )


def test_sites_of_one_bone_are_named_together():
    assert conclusion(with_lesions(*LEFT_OEDEMA[:3]), None, ENGLISH)[1] == (
        "LEFT: oedema upper and lower ilium, upper sacrum."
    )


def test_a_joint_without_lesions_and_one_not_evaluable_differ():
    left = tuple(position for position in POSITIONS if position.side is Side.LEFT)

    assert conclusion(with_lesions(unknown=left), None, ENGLISH) == (
        "RIGHT: no lesions.",
        "LEFT: not evaluable.",
    )
    assert conclusion(with_lesions(unknown=left[:2]), None, ENGLISH)[1] == (
        "LEFT: no lesions (2 of 14 sites not evaluable)."
    )


@pytest.mark.parametrize("wording", [ENGLISH, GERMAN])
def test_every_combination_of_sites_can_be_read_back(wording):
    quadrants = [head for head in HEADS if head.lesion is Lesion.EROSION]
    for chosen in product((False, True), repeat=4):
        heads = {head for head, is_chosen in zip(quadrants, chosen, strict=True) if is_chosen}
        heads.add(Head(Lesion.ANKYLOSIS, Region.JOINT))
        found = with_lesions(*(Position(Side.LEFT, head) for head in heads))

        right, left = conclusion(found, None, wording)

        assert (heads_named(right), heads_named(left)) == (set(), heads)
        assert (sides_named(right), sides_named(left)) == ([Side.RIGHT], [Side.LEFT])


def test_changes_are_named_and_what_was_never_there_is_no_news():
    before = with_lesions(RIGHT_EROSION, LEFT_SCLEROSIS)
    now = with_lesions(*LEFT_OEDEMA, LEFT_SCLEROSIS)

    assert prior_changes(ComparedPrior("2023-03-01", tuple(before)), now, ENGLISH) == (
        "Compared with the prior study of 2023-03-01.",
        "New: left oedema in all 4 quadrants.",
        "Resolved: right erosion upper ilium.",
        "Persisting: left sclerosis.",
    )


def test_without_lesions_in_either_study_one_sentence_says_so():
    prior = ComparedPrior("2023-03-01", tuple(with_lesions()), True, ("lesion 0.4.0",))

    said = prior_changes(prior, with_lesions(unknown=(RIGHT_EROSION,)), ENGLISH)

    assert said[1:3] == ("No lesions then or now.", "Not comparable: 1 of 28 sites.")
    assert "different model (lesion 0.4.0)" in said[3]


def test_nothing_analysed_and_no_prior_lead_to_no_sentence():
    assert conclusion([], True, ENGLISH) == ()
    assert prior_changes(None, with_lesions(), ENGLISH) == ()


def test_the_criterion_is_called_unmet_only_if_every_site_was_evaluable():
    oedema = {LEFT_OEDEMA[0]: frozenset({2, 3})}

    assert asas_criterion(oedema, complete=False) is True
    assert asas_criterion({}, complete=True) is False
    assert asas_criterion({}, complete=False) is None
    assert asas_criterion(None, complete=True) is None
