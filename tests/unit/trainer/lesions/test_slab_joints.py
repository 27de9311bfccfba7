"""Joints for lesion training from label slabs."""

import numpy as np
import pytest
import torch

from models.delineation import Contour, Delineation
from models.findings import HEADS, QUADRANTS, Lesion, Region, Side
from models.joint_unet import SQUARE_MM
from models.regions import REGIONS_PER_JOINT, joint_zones, region_label_map
from models.roi import RoiRules
from models.volume import Volume
from trainer.lesions.slab_joints import (
    SlabJoint,
    SlabShare,
    drawn_joints,
    slab_batch,
    slab_labels,
    with_contour_errors,
    with_focal_lesions,
    zones_along,
)
from trainer.phantom.appearance import lesion_pairs
from trainer.phantom.tissue_labels import TissueLabel

SIZE, SLICES = 132, 7
SHOWN = range(1, 6)


def a_line(slant=0.3, bow=4.0):
    share = torch.linspace(0, 1, 16)
    rows = 36 + 56 * share
    columns = 60 + slant * (rows - 64) + bow * torch.sin(torch.pi * share)
    return torch.stack([rows, columns], dim=1)


def the_lines():
    lines = torch.full((SLICES, 16, 2), torch.nan)
    lines[list(SHOWN)] = a_line()
    return lines


def the_labels(*spots):
    """Two bones beside the line, and discs of tissue as (tissue, row, column, radius)."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    middle = 60 + 0.3 * (rows - 64) + 4 * torch.sin(torch.pi * (rows - 36) / 56)
    image = torch.where(columns > middle, TissueLabel.ILIUM, TissueLabel.SACRUM)
    image[(columns - middle).abs() < 1.5] = TissueLabel.CARTILAGE
    for tissue, row, column, radius in spots:
        image[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = tissue
    return image.to(torch.uint8).expand(SLICES, 3, SIZE, SIZE).clone()


def positive(labels):
    found = slab_labels(labels, the_lines())
    return {(h.lesion, h.region): float(v) for h, v in zip(HEADS, found, strict=True) if v != 0}


def test_zones_are_those_that_the_node_cuts_along_the_same_contour():
    affine = np.diag([1.0, -SQUARE_MM, SQUARE_MM, 1.0])[[2, 0, 1, 3]]
    volume = Volume(np.zeros((1, SIZE, SIZE), np.float32), affine)
    contour = Contour(0, Side.LEFT, a_line().double().numpy(), 1.0)
    expected = joint_zones(region_label_map(volume, Delineation((contour,))), Side.LEFT)[0]

    found = zones_along(a_line()[None], SIZE)[0].numpy()

    assert set(np.unique(found)) == set(range(6))
    assert (found == expected).mean() > 0.99
    assert (found == expected)[expected > 0].mean() > 0.95


def test_a_slice_without_a_line_has_no_zones():
    zones = zones_along(the_lines(), SIZE)

    assert [bool(one.any()) for one in zones] == [n in SHOWN for n in range(SLICES)]


@pytest.mark.parametrize(
    ("tissue", "lesion"),
    [(TissueLabel.OEDEMA, Lesion.OEDEMA), (TissueLabel.FATTY_LESION, Lesion.FATTY_LESION)],
)
@pytest.mark.parametrize(
    ("row", "column", "region"),
    [
        (48, 66, Region.UPPER_ILIUM),
        (80, 76, Region.LOWER_ILIUM),
        (48, 52, Region.UPPER_SACRUM),
        (80, 60, Region.LOWER_SACRUM),
    ],
)
def test_a_lesion_counts_for_the_quadrant_in_which_it_lies(tissue, lesion, row, column, region):
    found = positive(the_labels((tissue, row, column, 5)))

    assert found == {(lesion, region): 1.0}


def test_a_lesion_too_small_to_tell_has_no_label():
    (value,) = positive(the_labels((TissueLabel.OEDEMA, 48, 66, 2.5))).values()

    assert np.isnan(value)


def test_an_erosion_at_the_joint_counts_for_its_bone_and_bone_across_it_is_ankylosis():
    eroded = the_labels((TissueLabel.EROSION, 48, 62, 3))
    fused = the_labels((TissueLabel.ILIUM, 64, 64, 8))

    assert positive(eroded)[Lesion.EROSION, Region.UPPER_ILIUM] == 1
    assert positive(fused) == {(Lesion.ANKYLOSIS, Region.JOINT): 1.0}


def test_healthy_joints_and_joints_far_from_a_lesion_are_negative():
    assert positive(the_labels()) == {}
    assert positive(the_labels((TissueLabel.OEDEMA, 120, 20, 6))) == {}


def test_contours_with_errors_stay_near_the_line_on_most_slices():
    generator = torch.Generator().manual_seed(1)
    off, missed, false = [], 0, 0
    for _ in range(200):
        drawn = with_contour_errors(the_lines(), generator)
        seen = ~drawn[:, 0, 0].isnan()
        missed += sum(not seen[n] for n in SHOWN)
        false += sum(bool(seen[n]) for n in range(SLICES) if n not in SHOWN)
        off += [
            float(torch.cdist(drawn[n], a_line()).min(dim=1).values.median()) * SQUARE_MM
            for n in SHOWN
            if seen[n]
        ]

    assert np.median(off) < 1.5
    assert 0 < missed < 0.1 * 200 * len(SHOWN)
    assert 0 < false < 200


def test_a_batch_holds_t1_and_stir_of_each_joint_with_the_ilium_first():
    labels = the_labels((TissueLabel.OEDEMA, 48, 66, 5))
    joint = SlabJoint(labels, the_lines(), slab_labels(labels, the_lines()))
    rules = RoiRules(size_px=64)

    generator = torch.Generator().manual_seed(4)
    _, present, found = slab_batch((joint,), 3, rules, generator)
    stacks = drawn_joints([joint] * 3, rules, generator)

    assert stacks.shape == (6, 2, SLICES, 64, 64)
    assert present.all()
    assert found.shape == (3, len(HEADS))
    columns = [(stacks[:, 1] == 1 + n).nonzero()[:, -1].float().mean() for n in range(4)]
    assert max(columns[:2]) < min(columns[2:])
    zones = stacks[3:, 1]
    upper_ilium = 1 + REGIONS_PER_JOINT.index(QUADRANTS[0])
    bright, marrow = (stacks[3:, 0][zones == one].mean() for one in (upper_ilium, 4))
    assert bright > marrow


def test_focal_lesions_lie_in_marrow_beside_the_joint_and_are_labelled():
    joint = SlabJoint(the_labels(), the_lines(), torch.zeros(len(HEADS)))
    generator = torch.Generator().manual_seed(7)

    drawn = [with_focal_lesions(joint, generator) for _ in range(40)]

    changed = [one for one in drawn if one is not joint]
    assert 10 < len(changed) < 30
    assert any((one.positive == 1).any() for one in changed)
    for one in changed:
        other = one.labels != joint.labels
        assert set(joint.labels[other].tolist()) <= {TissueLabel.ILIUM, TissueLabel.SACRUM}
        assert other.float().mean() < 0.1


def test_lesions_differ_from_marrow_as_they_do_on_t1_and_on_stir():
    labels = torch.full((16, 1, 1, 64, 64), int(TissueLabel.SACRUM), dtype=torch.uint8)
    labels[..., :32], labels[..., 52:] = TissueLabel.OEDEMA, TissueLabel.FATTY_LESION

    images = lesion_pairs(labels, torch.Generator().manual_seed(2))[:, 0]

    oedema, marrow, fat = (
        images[..., part].mean((1, 2)) for part in (slice(4, 28), slice(36, 48), slice(56, 62))
    )
    t1, stir = slice(0, 16), slice(16, 32)
    assert (oedema[stir] > marrow[stir]).float().mean() > 0.85
    assert (fat[t1] > marrow[t1]).float().mean() > 0.75
    assert (fat[stir] < marrow[stir]).float().mean() > 0.75


def test_a_share_of_a_batch_comes_from_slabs_only_where_there_are_any():
    joint = SlabJoint(the_labels(), the_lines(), torch.zeros(len(HEADS)))

    assert SlabShare((joint,), 0.6, RoiRules()).count(10) == 6
    assert SlabShare((), 0.6, RoiRules()).count(10) == 0
