import numpy as np
import torch

from models.contour_maps import with_neighbours
from trainer.cases import GREY_PER_UNIT, StoredCase
from trainer.contour_training import slice_stock

OFFSETS = (0, -1, 1)


def case(seed, slices, stir_from):
    rng = np.random.default_rng(seed)
    nothing = np.zeros(slices, np.float32)
    return StoredCase(
        seed,
        rng.integers(0, 255, (slices, 4, 4), np.uint8),
        np.full((slices, 2, 16, 2), np.nan, np.float32),
        nothing,
        nothing,
        nothing.astype(float),
        stir_from,
        "plain",
        {},
        np.zeros(28, np.int8),
        True,
    )


def test_training_shows_each_slice_with_the_neighbours_that_the_node_will_see():
    cases = [case(1, 7, 3), case(2, 5, 2)]
    stock = slice_stock(cases)

    seen = stock.seen(torch.arange(12), OFFSETS)

    expected = [
        with_neighbours(one.network_images[part], OFFSETS) for one in cases for part in one.parts
    ]
    torch.testing.assert_close(seen, torch.cat(expected))
    assert seen.max() <= 255 / GREY_PER_UNIT
