"""A series that lacks images is recognised, and how many it lacks at least."""

import numpy as np
import pytest

from sij_node.dicom.series_extent import Incompleteness, signs_of_missing_images
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series, enhanced, oblique

PIXELS = np.zeros((9, 4, 4), np.uint16)


def t1(**more):
    return classic_series(PIXELS, "1.2.3.1", **T1_TIMES, **more)


def stir(**more):
    return classic_series(PIXELS, "1.2.3.2", **STIR_TIMES, **more)


def signs(*series, **more):
    return {sign: (name, count) for sign, name, count in signs_of_missing_images(*series, **more)}


def test_whole_series_show_no_sign():
    assert signs(t1(), stir()) == {}


def test_slices_in_a_gap_are_counted_by_position_and_by_number():
    found = signs(t1(), [one for at, one in enumerate(stir()) if at not in (3, 4, 6)])

    assert found == {
        Incompleteness.GAP_BETWEEN_SLICES: ("STIR", 3),
        Incompleteness.NUMBER_MISSING: ("STIR", 3),
    }


@pytest.mark.parametrize("there", [slice(3, None), slice(None, 6)], ids=["first", "last"])
def test_images_missing_at_an_end_are_counted_by_the_other_series(there):
    found = signs(t1()[there], stir())

    assert found[Incompleteness.LESS_COVERAGE] == ("T1", 3)


def test_stated_and_archived_numbers_are_compared_with_what_is_there():
    stated = t1(ImagesInAcquisition=9)[1:-1]
    found = signs(stated, stir()[1:-1], at_archive={"1.2.3.2": 9, "1.2.3.9": 50})

    assert found[Incompleteness.FEWER_THAN_STATED] == ("T1", 2)
    assert found[Incompleteness.FEWER_THAN_AT_ARCHIVE] == ("STIR", 2)


def test_other_images_of_the_series_count_with_it():
    guests = t1()[:2]

    assert signs(t1()[2:], stir()[:7], guests, at_archive={"1.2.3.1": 9, "1.2.3.2": 7}) == {}


def test_frames_of_an_enhanced_image_are_compared_with_a_classic_series():
    found = signs(t1(), [enhanced(PIXELS[:6], "1.2.3.2")])

    assert found == {Incompleteness.LESS_COVERAGE: ("STIR", 3)}


def test_series_in_other_planes_are_not_compared():
    assert signs(t1(), stir(cosines=oblique(30))[:5]) == {}
