import numpy as np
import torch

from models.contour_maps import with_neighbours
from trainer.augmentation import PAPER, Movement
from trainer.contours.contour_training import batches, slice_pool
from trainer.prepared_cases import GREY_PER_UNIT, StoredCase

OFFSETS = (0, -1, 1)


def case(seed, slices, stir_from, contours=None):
    rng = np.random.default_rng(seed)
    nothing = np.zeros(slices, np.float32)
    return StoredCase(
        seed,
        rng.integers(0, 255, (slices, 4, 4), np.uint8),
        np.full((slices, 2, 16, 2), np.nan, np.float32) if contours is None else contours,
        nothing,
        nothing,
        nothing.astype(float),
        stir_from,
        "plain",
        {},
        np.zeros(28, np.int8),
        True,
    )


def test_training_and_node_see_the_same_neighbouring_slices():
    cases = [case(1, 7, 3), case(2, 5, 2)]
    stock = slice_pool(cases)

    seen = stock.seen(torch.arange(12), OFFSETS)

    expected = [
        with_neighbours(one.network_images[part], OFFSETS) for one in cases for part in one.parts
    ]
    torch.testing.assert_close(seen, torch.cat(expected))
    assert seen.max() <= 255 / GREY_PER_UNIT


def showing(slices, *seen):
    contours = np.full((slices, 2, 16, 2), np.nan, np.float32)
    for side, there in enumerate(seen):
        contours[list(there), side] = 1.0
    return contours


def test_the_border_of_a_joint_is_the_slices_around_either_end():
    ends_apart = case(1, 12, 6, showing(12, (2, 3, 7, 8), (2, 3, 4, 7, 8)))

    border = slice_pool([ends_apart]).at_border.nonzero()[:, 0]

    assert border.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_consecutive_volumes_have_no_joint_border_between_them():
    until_the_last = case(1, 8, 4, showing(8, (2, 3), (2, 3)))

    assert slice_pool([until_the_last]).at_border.nonzero()[:, 0].tolist() == [1, 2]


def test_a_batch_has_its_share_of_borders_and_of_slices_without_a_joint():
    stock = slice_pool([case(1, 12, 6, showing(12, (1, 2, 3), (1, 2, 3)))])
    still = Movement(translation=0, scale=0, rotation_deg=0, flip=0)
    drawn = batches(stock, 10, OFFSETS, still, PAPER, torch.Generator().manual_seed(0))

    for _ in range(20):
        _, contours = next(drawn)
        shows = ~contours[:, 0, 0, 0].isnan()
        assert shows[:6].all()
        assert not shows[8:].any()
