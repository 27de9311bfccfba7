import pytest
import torch
from torch import nn

from models.analyser import fold_batch_norm
from models.contour_unet import ContourArchitecture, ContourUNet
from models.findings import HEADS, Lesion
from models.lesion_resnet34 import (
    WHOLE_ZONE,
    LesionArchitecture,
    LesionResNet34,
    Pooling,
    global_mean,
    levelled,
    zone_averages,
)

SMALL_CONTOUR = ContourArchitecture(width=4, levels=3, fold=2)


def lesion_network(pooling=Pooling.ZONES, kernel_depth=3, sees_zones=False):
    torch.manual_seed(0)
    network = LesionResNet34(LesionArchitecture(4, kernel_depth, pooling, sees_zones))
    return settled(network)


def settled(network):
    """A network whose batch norms are not the identity."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval().requires_grad_(False)


def joints(count=2, slices=4, size=48):
    generator = torch.Generator().manual_seed(2)
    squares = torch.rand(count, slices, size, size, generator=generator)
    zones = torch.randint(0, 6, (count, slices, size, size), generator=generator).to(torch.uint8)
    return squares, zones, torch.ones(count, slices, dtype=torch.bool)


@pytest.mark.parametrize("fold", [1, 2])
def test_the_contour_network_answers_with_eight_maps_of_the_image_s_size(fold):
    network = ContourUNet(ContourArchitecture(4, 3, fold)).eval()

    assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 8, 64, 64)


@pytest.mark.parametrize("pooling", list(Pooling))
@pytest.mark.parametrize("kernel_depth", [1, 3])
@pytest.mark.parametrize("sees_zones", [False, True])
def test_padded_slices_never_change_the_answer(pooling, kernel_depth, sees_zones):
    network = lesion_network(pooling, kernel_depth, sees_zones)
    squares, zones, present = joints()
    padding = torch.full((2, 3, 48, 48), 0.7)

    alone = network.encode(squares, zones, present)
    padded = network.encode(
        torch.cat([squares, padding], 1),
        torch.cat([zones, torch.ones_like(padding, dtype=torch.uint8)], 1),
        torch.cat([present, torch.zeros(2, 3, dtype=torch.bool)], 1),
    )

    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("slices", [1, 7])
def test_any_number_of_slices_gives_fourteen_logits_a_joint(slices):
    network = lesion_network()

    described = network.encode(*joints(slices=slices))

    assert network(described, described).shape == (2, len(HEADS))


def test_the_papers_network_has_34_weighted_layers_and_512_features():
    network = LesionResNet34(LesionArchitecture())
    convolutions = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv3d) and "downsample" not in name
    ]

    assert len(convolutions) + 1 == 34
    assert network.architecture.features == 512
    assert network.heads.in_features == 1024


def test_a_change_in_one_quadrant_changes_only_its_pooled_features():
    features = torch.zeros(1, 3, 2, 8, 8)
    zones = torch.zeros(1, 2, 8, 8, dtype=torch.uint8)
    zones[:, :, :4, :4], zones[:, :, 4:, 4:] = 1, 4
    features[:, :, 1, :4, :4] = 5

    summary = zone_averages(features, zones, torch.ones(1, 2, dtype=torch.bool)).summary

    assert summary[0, 0].tolist() == [2.5] * 3 + [5] * 3
    assert not summary[0, 3].any()
    assert summary[0, 5, 0] == pytest.approx(1.25)


def test_the_strongest_cell_and_slice_are_not_averaged_with_the_others():
    features = torch.zeros(1, 1, 2, 8, 8)
    zones = torch.zeros(1, 2, 8, 8, dtype=torch.uint8)
    zones[:, :, :4, :4], zones[:, :, 4:, 4:] = 1, 4
    features[:, :, 1, 2, 3], features[:, :, 1, 0, 5] = 5, 9

    summary = zone_averages(features, zones, torch.ones(1, 2, dtype=torch.bool), True).summary

    assert summary[0, 0].tolist() == [5 / 16, 5]
    assert not summary[0, 3].any()


@pytest.mark.parametrize(("slices", "read"), [(3, {0, 1, 2}), (5, {1, 2, 3})])
def test_sclerosis_is_not_read_on_the_end_slices_of_a_joint_on_many_slices(slices, read):
    zones = torch.zeros(1, slices + 2, 8, 8, dtype=torch.uint8)
    zones[:, 1:-1, :4] = 1
    present = torch.ones(1, slices + 2, dtype=torch.bool)
    whole, quadrant = set(), set()
    for at in range(slices):
        features = torch.zeros(1, 1, slices + 2, 8, 8)
        features[:, :, 1 + at] = 5
        summary = zone_averages(features, zones, present, True, inner_slices=True).summary
        whole |= {at} if summary[0, WHOLE_ZONE].any() else set()
        quadrant |= {at} if summary[0, 0].any() else set()

    assert whole == read
    assert quadrant == set(range(slices))


def test_a_network_that_sees_the_surroundings_sees_a_lesion_that_fills_all_zones():
    squares, zones, present = joints()
    filled = torch.where(zones > 0, 3 * squares, squares)

    for sees, same in ((False, True), (True, False)):
        shape = LesionArchitecture(4, 1, Pooling.ZONES, sees_surroundings=sees)
        torch.manual_seed(0)
        network = settled(LesionResNet34(shape))
        inputs = [network._inputs(one, zones, present) for one in (squares, filled)]
        inside = (zones > 0)[:, None].expand_as(inputs[0])
        assert torch.allclose(*(one[inside] for one in inputs)) is same


@pytest.mark.parametrize("sees_zones", [False, True])
def test_only_a_network_that_sees_the_zones_sees_which_bone_is_which(sees_zones):
    network = lesion_network(sees_zones=sees_zones)
    squares, zones, present = joints()

    same = torch.equal(
        network.feature_maps(squares, zones, present),
        network.feature_maps(squares, torch.where(zones == 1, 3, zones), present),
    )

    assert same is not sees_zones


def test_a_brighter_scan_gives_the_same_answer():
    network = lesion_network()
    squares, zones, present = joints()

    torch.testing.assert_close(
        network.encode(squares * 1.7, zones, present),
        network.encode(squares, zones, present),
        atol=1e-4,
        rtol=1e-3,
    )


def test_a_joint_without_regions_is_not_levelled():
    squares, zones, present = joints()

    assert (levelled(squares, zones < 0, present) == squares).all()


def test_the_global_mean_is_over_present_slices():
    features = torch.arange(2.0).view(1, 1, 2, 1, 1).expand(1, 4, 2, 3, 3)

    assert (global_mean(features, torch.tensor([[True, False]])) == 0).all()
    assert (global_mean(features, torch.tensor([[True, True]])) == 0.5).all()


def test_sclerosis_pools_the_joint_and_quadrant_heads_their_quadrant():
    network = lesion_network()
    described = torch.zeros(1, 6, network.architecture.embedding)
    quiet = network(described, described)
    described[:, 0] = 1

    changed = (network(described, described) != quiet)[0]

    assert [HEADS[n].region for n in changed.nonzero()[:, 0]] == ["upper ilium"] * 3
    assert not changed[[head.lesion is Lesion.SCLEROSIS for head in HEADS].index(True)]


def test_folding_batch_norm_changes_no_answer_of_the_contour_network():
    network = settled(ContourUNet(SMALL_CONTOUR))
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    before = network(images)

    fold_batch_norm(network)

    torch.testing.assert_close(network(images), before, atol=1e-5, rtol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_folding_batch_norm_changes_no_answer_of_the_lesion_network():
    network = lesion_network()
    before = network.encode(*joints())

    fold_batch_norm(network)

    torch.testing.assert_close(network.encode(*joints()), before, atol=1e-5, rtol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in network.modules())


@pytest.mark.parametrize("shape", [{"width": 0}, {"kernel_depth": 2}])
def test_an_impossible_lesion_network_is_refused(shape):
    with pytest.raises(ValueError, match="width must be positive and kernel_depth odd"):
        LesionArchitecture(**shape)
