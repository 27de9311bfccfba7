"""The summary as pictures: a score sheet first, then key images, and no name in any of them."""

from dataclasses import replace

import numpy as np
import pytest

from models.findings import POSITIONS, Finding, Lesion, Presence, Region, Side
from models.weights import INTENDED_USE, OWN_INTENDED_USE
from sij_node.config.profiles import Profile
from sij_node.domain.prior_comparison import SincePrior
from sij_node.results import joint_diagram as diagram
from sij_node.results.joint_diagram import Mark, Patch
from sij_node.results.language import ENGLISH, GERMAN
from sij_node.results.provenance import NOT_CLINICAL, to_part10
from sij_node.results.secondary_capture import HEIGHT, MARGIN, WIDTH, pages, summary
from tests.support.mr_series import STIR_TIMES, classic_series
from tests.support.prior_reports import earlier
from tests.support.result_inputs import analysed_study, context, findings

VALUES = np.arange(5 * 16 * 12, dtype=np.uint16).reshape(5, 16, 12)
STUDY = analysed_study(classic_series(VALUES), classic_series(VALUES, "1.2.3.5", **STIR_TIMES))
SINGLE = Profile(name="old", summary_class="single-frame")


@pytest.fixture(scope="module")
def pictures():
    return [np.asarray(page) for page in pages(STUDY.series, STUDY.findings, context())]


def test_the_score_sheet_comes_first_then_every_positive_site(pictures):
    assert len(pictures) == 1 + 3
    assert {picture.shape for picture in pictures} == {(HEIGHT, WIDTH, 3)}


def test_the_margin_is_left_to_the_viewer(pictures):
    for picture in pictures:
        inner = picture.copy()
        inner[MARGIN:-MARGIN, MARGIN:-MARGIN] = 0
        assert inner.max() == 0


REMARKS = [
    GERMAN.fat_saturated_t2_used,
    GERMAN.low_confidence.format(reasons="; ".join(GERMAN.low_confidence_reasons.values())),
]


def test_what_a_reader_must_know_is_on_the_score_sheet(pictures):
    sheet, *others = (
        np.asarray(page) for page in pages(STUDY.series, STUDY.findings, context(), REMARKS)
    )
    changed = np.argwhere((sheet != pictures[0]).any(axis=-1))

    assert len(changed) > 1000
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert pictures[0][top : bottom + 1, left : right + 1].max() == 0  # nothing is written over
    assert all(np.array_equal(*pair) for pair in zip(others, pictures[1:], strict=True))


def test_long_prior_comparisons_never_overlap_other_text():
    others = tuple(earlier(f"{year}0101") for year in range(1990, 2020))
    since = SincePrior(earlier(), others, True, ("late", "unreadable", "another patient"))
    few, many = (
        np.asarray(pages(STUDY.series, STUDY.findings, replace(context(), since=each))[0])
        for each in (SincePrior(earlier(), (), True), since)
    )
    changed = np.argwhere((few != many).any(axis=-1))

    assert changed[:, 0].min() > 90  # below the title
    assert changed[:, 0].max() < 226  # above the diagram
    assert changed[:, 1].max() < WIDTH - MARGIN


def test_a_cards_texts_are_given_in_the_destinations_language():
    (made,) = summary(
        STUDY.series, STUDY.findings, context(profile=Profile(name="ward", language="de"))
    )

    assert made.ImageComments == "An Phantomen trainiert, nicht für den klinischen Gebrauch."
    assert {INTENDED_USE, OWN_INTENDED_USE} <= set(GERMAN.intended_uses)


def test_another_score_makes_another_score_sheet():
    changed = [Finding(f.position, 0.0, f.threshold) for f in findings()]
    one, other = (pages(STUDY.series, each, context())[0] for each in (findings(), changed))

    assert np.asarray(one).tobytes() != np.asarray(other).tobytes()


def test_one_object_holds_all_pictures():
    (made,) = summary(STUDY.series, STUDY.findings, context())

    assert made.NumberOfFrames == 4
    assert made.PageNumberVector == [1, 2, 3, 4]
    assert len(made.PixelData) == 4 * HEIGHT * WIDTH * 3
    assert made.BurnedInAnnotation == "NO"
    assert made.ImageComments == NOT_CLINICAL


def test_an_archive_without_the_class_gets_one_object_for_each_picture(pictures):
    made = summary(STUDY.series, STUDY.findings, context(profile=SINGLE))

    assert [one.InstanceNumber for one in made] == [1, 2, 3, 4]
    assert len({one.SOPInstanceUID for one in made}) == 4
    assert len({one.SeriesInstanceUID for one in made}) == 1
    assert [one.PixelData for one in made] == [picture.tobytes() for picture in pictures]


def test_the_same_inputs_make_the_same_bytes():
    made = [summary(STUDY.series, STUDY.findings, context())[0] for _ in range(2)]

    assert to_part10(made[0], "N") == to_part10(made[1], "N")


def shapes_of(found):
    return diagram.shapes({finding.position: finding for finding in found}, ENGLISH.letters)


def with_one_lesion(side, region, lesion):
    return [
        Finding(
            p, 0.9 if (p.side, p.head.region, p.head.lesion) == (side, region, lesion) else 0.1, 0.5
        )
        for p in POSITIONS
    ]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("region", [r for r in Region if r is not Region.JOINT])
def test_a_lesion_colours_its_own_quadrant_on_its_own_side(side, region):
    drawn = shapes_of(with_one_lesion(side, region, Lesion.EROSION))

    tints = diagram.TINTS.values()
    (patch,) = [s for s in drawn if isinstance(s, Patch) and s.fill in tints]
    (mark,) = [s for s in drawn if isinstance(s, Mark) and s.fill]
    x, y = np.mean(patch.corners, axis=0)
    assert (x < diagram.WIDTH / 2) == (side is Side.RIGHT)
    assert (y < diagram.HEIGHT / 2) == str(region).startswith("upper")
    joint = [
        np.mean(s.corners, axis=0)[0]
        for s in drawn
        if isinstance(s, Patch) and np.ptp([corner[1] for corner in s.corners]) > 40
    ]
    at_joint = min(joint) if side is Side.RIGHT else max(joint)
    lateral = abs(x - diagram.WIDTH / 2) > abs(at_joint - diagram.WIDTH / 2)
    assert lateral == str(region).endswith("ilium")
    assert patch.fill == diagram.TINTS[Lesion.EROSION]
    assert (mark.fill, mark.letter) == (diagram.COLOURS[Lesion.EROSION], "E")


def test_the_diagram_marks_every_position_and_fills_present_ones():
    marks = [shape for shape in shapes_of(findings()) if isinstance(shape, Mark)]
    present = sum(finding.presence is Presence.PRESENT for finding in findings())

    assert len(marks) == len(POSITIONS)
    assert sum(mark.fill is not None for mark in marks) == present
    assert [mark.letter for mark in marks].count("?") == 1


def test_a_joint_that_was_not_evaluable_is_grey():
    unknown = [Finding(p, None if p.side is Side.LEFT else 0.1, 0.5) for p in POSITIONS]
    grey = [s for s in shapes_of(unknown) if isinstance(s, Patch) and s.fill == diagram.UNKNOWN]

    assert len(grey) == 5
    assert all(x >= diagram.WIDTH / 2 for patch in grey for x, _ in patch.corners)
