import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.class_activation import (
    LogitContribution,
    SequenceFeatures,
    logit_contributions,
    single_slice_logits,
    strongest_point,
)
from models.findings import HEADS, Side
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34, Pooling, zone_of_head
from models.orientation import canonical
from models.roi import RoiRules, Sighting, cut, joint_boxes, on_slices, slices_within
from models.volume import Volume
from tests.support.oriented_volumes import coronal_affine, reordered, two_joints

SIZE = 48


SHAPES = {
    "global": LesionArchitecture(2, 1, Pooling.GLOBAL),
    "zones": LesionArchitecture(2, 1, Pooling.ZONES),
    "strongest cells": LesionArchitecture(2, 1, Pooling.ZONES, strongest_cells=True),
    "inner slices": LesionArchitecture(2, 1, Pooling.ZONES, inner_slices=True),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def network(shape=SHAPES["zones"], seed=0):
    torch.manual_seed(seed)
    made = LesionResNet34(shape).eval().requires_grad_(False)
    made.heads.weight.normal_()
    made.heads.bias.normal_()
    return made


def looked(seed, slices, absent=0, shape=SHAPES["zones"]):
    """Features that are often zero and often equal, zones that are not on every slice."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randint(-2, 4, (1, 16, slices, 3, 3), generator=generator).clamp(min=0)
    zones = torch.randint(0, 6, (1, slices, SIZE, SIZE), generator=generator).to(torch.uint8)
    empty = torch.rand(1, slices, 1, 1, generator=generator) < 0.3
    present = torch.arange(slices)[None] < slices - absent
    zones = zones.masked_fill(empty, 0)
    return SequenceFeatures(
        features.float() / 3, zones, present, shape.strongest_cells, shape.inner_slices
    )


def logits(of, seen):
    return of(*(of.pooled(one.features, one.zones, one.present) for one in seen))[0]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from(list(SHAPES.values())),
    seed=st.integers(0, 10_000),
    slices=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    absent=st.integers(0, 1),
)
def test_the_slices_contributions_add_up_to_the_logit_without_bias(shape, seed, slices, absent):
    net = network(shape, seed)
    seen = [looked(seed + n, count + absent, absent, shape) for n, count in enumerate(slices)]

    expected = logits(net, seen) - net.heads.bias

    for number in range(len(HEADS)):
        added = sum(one.per_slice.sum() for one in logit_contributions(net, number, seen))
        torch.testing.assert_close(added, expected[number], atol=1e-4, rtol=1e-4)


@shapes
def test_padding_slices_contribute_nothing(shape):
    seen = [looked(3, 5, 2, shape)] * 2

    for one in logit_contributions(network(shape), 0, seen):
        assert not one.per_slice[3:].any()
        assert one.per_slice[:3].any()


@pytest.mark.parametrize("shape", [SHAPES["zones"], SHAPES["strongest cells"]])
@pytest.mark.parametrize("number", range(len(HEADS)))
def test_the_slice_with_the_strongest_activation_is_pointed_at(number, shape):
    net = network(shape)
    net.heads.weight.abs_()
    t1, stir = (looked(n, 3 + n, 0, shape) for n in (1, 2))
    for one in (t1, stir):
        one.features.fill_(0.1)
    stir.zones[:, :, 16:32] = zone_of_head(number) % 5 + 1
    stir.features[:, :, 3, 1, 1] = 9

    point = strongest_point(logit_contributions(net, number, [t1, stir]))

    assert (point.sequence, point.slice_number) == (1, 3)
    assert 16 <= point.row < 32
    assert point.column == pytest.approx(23.5, abs=2)


def contribution(activation, inside):
    activation, inside = torch.tensor(activation)[None], torch.tensor(inside)[None]
    return LogitContribution(activation, 0.1 * activation, inside)


def test_there_is_no_point_if_no_slice_has_a_positive_contribution():
    against = contribution([[-1.0, -2.0], [0.0, 0.0]], np.ones((8, 8), bool))

    assert strongest_point([against, against]) is None


@shapes
@pytest.mark.parametrize("counted", [0, 1])
def test_a_slice_alone_gets_the_logit_of_the_network_for_that_slice(shape, counted):
    net, pooling = network(shape), shape.pooling
    seen = [looked(5, 4, 0, shape), looked(6, 3, 0, shape)]

    for number in (0, 7, 12, 13):
        alone = single_slice_logits(net, number, seen, counted)
        for at, said in enumerate(alone):
            whole = seen[counted]
            only = [*seen]
            only[counted] = SequenceFeatures(
                whole.features[:, :, [at]],
                whole.zones[:, [at]],
                whole.present[:, [at]],
                shape.strongest_cells,
            )
            zone = zone_of_head(number)
            shown = pooling is Pooling.GLOBAL or bool(whole.averages.seen[0, zone, at])
            expected = logits(net, only)[number] if shown else torch.tensor(-torch.inf)
            torch.testing.assert_close(said, expected)


@shapes
def test_a_padding_slice_alone_shows_nothing(shape):
    seen = [looked(1, 4, 1, shape), looked(2, 3, 0, shape)]
    alone = single_slice_logits(network(shape), 3, seen, 0)

    assert alone[-1] == -torch.inf
    assert torch.isfinite(alone).any()


def test_a_point_lies_within_its_zone_even_where_the_zone_bends():
    ring = np.ones((32, 32), bool)
    ring[4:28, 4:28] = False

    point = strongest_point([contribution(np.ones((4, 4)), ring)])

    assert ring[round(point.row), round(point.column)]


def test_a_point_is_drawn_to_the_strongest_part_of_its_zone():
    activation = np.zeros((4, 4))
    activation[1, 2] = 1
    zone = np.ones((32, 32), bool)

    free = strongest_point([contribution(activation, zone)])
    zone[:, 16:] = False
    fenced = strongest_point([contribution(activation, zone)])

    assert (free.row, free.column) == pytest.approx((11.5, 19.5), abs=1e-6)
    assert fenced.row == pytest.approx(11.5, abs=1e-6)
    assert 12 <= fenced.column <= 15


@pytest.mark.parametrize(("lying", "flips"), [(False, ()), (True, (0,)), (False, (0, 1, 2))])
@pytest.mark.parametrize("side", list(Side))
def test_a_spot_seen_in_the_square_is_found_again_in_the_patient(lying, flips, side):
    upright = Volume(np.zeros((7, 140, 170), np.float32), coronal_affine(tilt_deg=15, turn_deg=6))
    spot = (3, 71, 120 if side is Side.LEFT else 45)
    upright.voxels[spot] = 1
    given = reordered(upright, lying, flips)
    volume = canonical(given)
    seen = Sighting(volume, two_joints(volume, range(2, 5)))
    box = joint_boxes([seen, seen], RoiRules())[side]

    squares = cut(volume, volume.voxels, box, 200).numpy()
    number, *pixel = np.argwhere(squares == squares.max())[0]

    chosen = slices_within(volume, box)[[number]]
    at = on_slices(volume, chosen, box, np.array(pixel, float), 200)[0]
    found = volume.to_patient([chosen[0], *at])
    assert np.linalg.norm(found - upright.to_patient(spot)) < 0.5
    assert np.linalg.norm(given.to_patient(given.to_indices(found)) - found) < 1e-9
