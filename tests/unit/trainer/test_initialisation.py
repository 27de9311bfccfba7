from dataclasses import replace

import pytest
import torch

from models.contour_maps import contour_maps
from models.contour_unet import ContourArchitecture, ContourUNet
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34, Pooling
from trainer.experiment import ExperimentInvalid
from trainer.initialisation import copy_weights, widen, zero_output_layer

NARROW = ContourArchitecture(width=4, levels=3, fold=2)


def some_network(architecture):
    """A network whose normalisations have seen something."""
    torch.manual_seed(3)
    network = ContourUNet(architecture)
    for _ in range(3):
        network(torch.rand(2, len(architecture.slice_offsets), 32, 32))
    return network.eval()


@pytest.mark.parametrize("width", [4, 6, 8, 12])
@pytest.mark.parametrize("neighbours", [0, 1])
def test_a_wider_network_begins_by_saying_what_the_narrower_one_said(width, neighbours):
    before = some_network(NARROW)
    wider = some_network(ContourArchitecture(width, 3, 2, neighbours=neighbours))

    widen(before, wider, torch.Generator().manual_seed(0))

    images = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(
        contour_maps(wider, images, mirrored=False),
        contour_maps(before, images, mirrored=False),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_network_given_zones_starts_with_unchanged_answers():
    torch.manual_seed(3)
    shape = LesionArchitecture(2, 1, Pooling.ZONES)
    before = LesionResNet34(shape).eval()
    seeing = LesionResNet34(replace(shape, sees_zones=True)).eval()
    squares, present = torch.rand(1, 2, 32, 32), torch.ones(1, 2, dtype=torch.bool)
    zones = torch.randint(0, 6, (1, 2, 32, 32), dtype=torch.uint8)

    copy_weights(before, seeing, seed=0)

    torch.testing.assert_close(
        seeing.encode(squares, zones, present), before.encode(squares, zones, present)
    )


def test_a_new_network_begins_with_empty_maps():
    network = some_network(NARROW)

    zero_output_layer(network)

    assert not contour_maps(network, torch.rand(2, 1, 32, 32), mirrored=False).any()


def test_copies_of_a_channel_learn_different_things():
    before = some_network(NARROW)
    wider = some_network(ContourArchitecture(8, 3, 2))
    widen(before, wider, torch.Generator().manual_seed(0))

    wider.train()
    wider(torch.rand(2, 1, 32, 32)).square().mean().backward()

    slope = wider.down[0][0].weight.grad
    assert (slope[:4] - slope[4:]).norm() > 0.01 * slope.norm()


@pytest.mark.parametrize(
    "other",
    [ContourArchitecture(2, 3, 2), ContourArchitecture(8, 4, 2), ContourArchitecture(8, 3, 1)],
)
def test_only_width_and_neighbours_may_grow(other):
    with pytest.raises(ExperimentInvalid, match="only width and neighbours may grow"):
        widen(some_network(NARROW), ContourUNet(other), torch.Generator())


@pytest.mark.parametrize(
    "other",
    [
        LesionArchitecture(4, 1, Pooling.ZONES),
        LesionArchitecture(2, 3, Pooling.ZONES),
        LesionArchitecture(2, 1, Pooling.GLOBAL),
    ],
)
def test_a_lesion_network_of_another_shape_is_refused(other):
    before = LesionResNet34(LesionArchitecture(2, 1, Pooling.ZONES, sees_zones=True))

    with pytest.raises(ExperimentInvalid, match="cannot start from"):
        copy_weights(before, LesionResNet34(other), seed=0)
