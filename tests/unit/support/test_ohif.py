"""The browser tests' eye for black viewports: it is not taken in by letters, frames or one grey."""

import numpy as np
import pytest

from tests.support.ohif import is_lit

SHAPE = (400, 600, 3)


def black() -> np.ndarray:
    return np.zeros(SHAPE, np.int16)


def black_with_letters_and_a_frame() -> np.ndarray:
    picture = black()
    picture[:3], picture[-3:], picture[:, :3], picture[:, -3:] = 255, 255, 255, 255
    picture[20:40, 20:160] = 230
    return picture


def one_grey() -> np.ndarray:
    return np.full(SHAPE, 90, np.int16)


@pytest.mark.parametrize("unlit", [black, black_with_letters_and_a_frame, one_grey])
def test_a_viewport_that_shows_no_image_is_not_lit(unlit):
    assert not is_lit(unlit())


def test_an_image_in_the_middle_of_a_black_viewport_is_lit():
    picture = black()
    grain = np.random.default_rng(1).normal(90, 30, (300, 300, 1))
    picture[50:350, 150:450] = grain.clip(0, 255)

    assert is_lit(picture)
