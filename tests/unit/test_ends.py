import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.ends import clear_peaks, peaks
from trainer.fields import heatmaps

SIZE = 96


def heat(*ends):
    """Gaussians of the given (row, column, height) in one heatmap."""
    places = torch.tensor([[row, column] for row, column, _ in ends]).float()
    each = heatmaps(places, torch.full((len(ends),), 4.0), SIZE)
    heights = torch.tensor([height for *_, height in ends]).float()
    return (heights[:, None, None] * each).amax(dim=0).numpy()


def test_every_clear_peak_is_found_the_highest_first():
    (found,) = clear_peaks(heat((20.0, 30.0, 0.6), (70.0, 40.0, 0.9), (50.0, 80.0, 0.02))[None], 3)

    places, heights = found
    np.testing.assert_allclose(places, [[70, 40], [20, 30]], atol=0.3)
    np.testing.assert_allclose(heights, [0.9, 0.6], atol=0.02)


def test_no_more_peaks_are_given_than_asked_for():
    maps = heat((20.0, 30.0, 0.6), (70.0, 40.0, 0.9), (50.0, 80.0, 0.5))[None]

    assert [len(places) for places, _ in clear_peaks(maps, 2)] == [2]


def test_an_empty_heatmap_still_has_one_place():
    ((places, heights),) = clear_peaks(np.zeros((1, SIZE, SIZE), np.float32), 3)

    assert places.shape == (1, 2)
    assert heights == [0]


@given(st.floats(10, 85), st.floats(10, 85))
def test_a_single_peak_is_the_same_peak_for_both_searches(row, column):
    maps = heat((row, column, 1.0))[None]

    ((places, _),) = clear_peaks(maps, 3)

    np.testing.assert_array_equal(places, peaks(maps)[0])
