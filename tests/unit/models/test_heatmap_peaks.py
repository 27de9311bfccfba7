import numpy as np
import pytest
import torch

from models.heatmap_peaks import peaks
from trainer.contours.target_fields import heatmaps

SIZE = 96


def heat(*ends):
    """Gaussians of the given (row, column, height) in one heatmap."""
    places = torch.tensor([[row, column] for row, column, _ in ends]).float()
    each = heatmaps(places, torch.full((len(ends),), 4.0), SIZE)
    heights = torch.tensor([height for *_, height in ends]).float()
    return (heights[:, None, None] * each).amax(dim=0).numpy()


@pytest.mark.parametrize("place", [(40.3, 25.8), (60.5, 70.25)])
def test_a_peak_is_found_between_pixels(place):
    (found,), (height,) = peaks(heat((*place, 1.0))[None])

    np.testing.assert_allclose(found, place, atol=0.35)
    assert 0.95 < height <= 1


def test_of_several_peaks_the_highest_is_found_on_every_heatmap():
    one = heat((20.0, 30.0, 0.6), (70.0, 40.0, 0.9))
    other = heat((20.0, 30.0, 0.8), (70.0, 40.0, 0.3))

    places, heights = peaks(np.stack([one, other]))

    np.testing.assert_allclose(places, [[70, 40], [20, 30]], atol=0.3)
    np.testing.assert_allclose(heights, [0.9, 0.8], atol=0.02)


def test_an_empty_heatmap_has_a_peak_without_height():
    _, heights = peaks(np.zeros((1, SIZE, SIZE), np.float32))

    assert heights == [0]
