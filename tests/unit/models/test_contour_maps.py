import torch

from models.contour_maps import contour_maps, mirrored_maps, with_neighbours
from models.contour_unet import FIELD_COLUMN, FIELD_ROW, SOURCE, ContourArchitecture, ContourUNet

SIZE = 16


def test_mirroring_swaps_right_and_left_and_reverses_columns():
    maps = torch.zeros(1, 8, SIZE, SIZE)
    maps[0, SOURCE, 3, 2] = 1
    maps[0, FIELD_ROW] = 0.6
    maps[0, FIELD_COLUMN] = 0.8

    seen = mirrored_maps(maps)[0]

    assert seen[4 + SOURCE, 3, SIZE - 3] == 1
    torch.testing.assert_close(seen[4 + FIELD_ROW], torch.full((SIZE, SIZE), 0.6))
    torch.testing.assert_close(seen[4 + FIELD_COLUMN], torch.full((SIZE, SIZE), -0.8))
    assert not seen[:4].any()


def test_mirroring_twice_changes_nothing():
    maps = torch.randn(2, 8, SIZE, SIZE)

    torch.testing.assert_close(mirrored_maps(mirrored_maps(maps)), maps)


def test_mirrored_slices_give_mirrored_maps_when_both_are_seen():
    torch.manual_seed(0)
    network = ContourUNet(ContourArchitecture(2, 2, 2)).eval()
    images = torch.rand(3, 1, SIZE, SIZE)

    maps = contour_maps(network, images, mirrored=True)
    of_mirrored = contour_maps(network, images.flip(-1), mirrored=True)

    torch.testing.assert_close(mirrored_maps(of_mirrored), maps)


def test_slices_are_seen_alike_in_any_number_at_once():
    torch.manual_seed(0)
    network = ContourUNet(ContourArchitecture(2, 2, 2)).eval()
    images = torch.rand(5, 1, SIZE, SIZE)

    few, many = (contour_maps(network, images, mirrored=False, slices_at_once=n) for n in (2, 8))

    torch.testing.assert_close(few, many)


def test_each_slice_is_seen_with_its_neighbours_and_zeros_past_the_ends():
    images = torch.arange(1.0, 5).view(4, 1, 1, 1)

    stacks = with_neighbours(images, ContourArchitecture(neighbours=2).slice_offsets)

    assert stacks[:, :, 0, 0].tolist() == [
        [1, 0, 2, 0, 3],
        [2, 1, 3, 0, 4],
        [3, 2, 4, 1, 0],
        [4, 3, 0, 2, 0],
    ]
