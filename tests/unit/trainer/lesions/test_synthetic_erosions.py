import torch

from models.findings import HEADS, QUADRANTS, Lesion, Region
from models.regions import REGIONS_PER_JOINT
from trainer.lesions.synthetic_erosions import with_synthetic_erosions

JOINTS, SLICES, SIZE = 6, 8, 64
EROSIONS = [number for number, head in enumerate(HEADS) if head.lesion is Lesion.EROSION]


def straight_joints():
    """Joints down the middle of even bone: ilium on one side, sacrum on the other."""
    zones = torch.zeros(SIZE, SIZE)
    upper, lower = slice(8, 32), slice(32, 56)
    places = {
        Region.UPPER_ILIUM: (upper, slice(18, 30)),
        Region.LOWER_ILIUM: (lower, slice(18, 30)),
        Region.UPPER_SACRUM: (upper, slice(34, 46)),
        Region.LOWER_SACRUM: (lower, slice(34, 46)),
        Region.JOINT: (slice(8, 56), slice(30, 34)),
    }
    for region, place in places.items():
        zones[place] = 1 + REGIONS_PER_JOINT.index(region)
    stack = torch.stack([torch.ones(SIZE, SIZE), zones])[:, None].expand(-1, SLICES, -1, -1)
    return stack.expand(2 * JOINTS, -1, -1, -1, -1).clone()


def drawn(share=1.0, positive=None, seed=0):
    positive = torch.zeros(JOINTS, len(HEADS)) if positive is None else positive
    generator = torch.Generator().manual_seed(seed)
    return with_synthetic_erosions(straight_joints(), positive, share, generator)


def test_without_a_share_nothing_is_set():
    stacks, positive = drawn(share=0.0)

    assert torch.equal(stacks, straight_joints())
    assert not positive.any()


def test_a_synthetic_erosion_labels_only_its_own_quadrant_eroded():
    for seed in range(5):
        stacks, positive = drawn(seed=seed)
        changed = (stacks[:, 0] != 1).view(2, JOINTS, SLICES, SIZE, SIZE).any(dim=(0, 2))
        zones = straight_joints()[0, 1, 0]
        for number, head in enumerate(HEADS):
            inside = zones == 1 + REGIONS_PER_JOINT.index(head.region)
            for joint in range(JOINTS):
                if positive[joint, number]:
                    assert number in EROSIONS
                    assert changed[joint][inside].any()


def test_synthetic_erosions_lie_in_bone_and_joint_space_of_one_side():
    for seed in range(5):
        stacks, _ = drawn(seed=seed)
        changed = (stacks[:, 0] != 1).any(dim=1)
        outside = straight_joints()[0, 1, 0] == 0

        assert changed.any()
        assert not changed[:, outside].any()


def test_a_synthetic_erosion_stays_in_its_bones_half_of_the_joint_space():
    halves = {"ilium": slice(30, 32), "sacrum": slice(32, 34)}
    entered = 0
    for seed in range(20):
        stacks, positive = drawn(seed=seed)
        changed = (stacks[:, 0] != 1).view(2, JOINTS, SLICES, SIZE, SIZE).any(dim=(0, 2))
        for bone, half in halves.items():
            heads = [number for number in EROSIONS if bone in HEADS[number].region]
            there = positive[:, heads].any(dim=1)
            entered += changed[there][:, :, half].any()
            assert not changed[~there][:, :, half].any()
    assert entered


def test_pits_are_more_often_on_one_bone_than_on_both():
    alone = both = 0
    for seed in range(20):
        _, positive = drawn(seed=seed)
        ilium, sacrum = (
            positive[:, [n for n in EROSIONS if bone in HEADS[n].region]].any(dim=1)
            for bone in ("ilium", "sacrum")
        )
        alone += int((ilium ^ sacrum).sum())
        both += int((ilium & sacrum).sum())
    assert alone > 2 * both > 0


def test_some_spots_mean_nothing_and_lie_away_from_the_joint_space():
    zones = straight_joints()[0, 1, 0]
    joint_space = zones == 1 + REGIONS_PER_JOINT.index(Region.JOINT)
    spots = 0
    for seed in range(10):
        stacks, positive = drawn(seed=seed)
        changed = (stacks[:, 0] != 1).view(2, JOINTS, SLICES, SIZE, SIZE).any(dim=(0, 2))
        for joint in range(JOINTS):
            if changed[joint].any() and not positive[joint].any():
                spots += 1
                assert not changed[joint][joint_space].any()
    assert spots


def test_quadrants_of_which_nothing_is_known_stay_as_they_are():
    unknown = torch.full((JOINTS, len(HEADS)), torch.nan)

    stacks, positive = drawn(positive=unknown)

    assert torch.equal(stacks, straight_joints())
    assert positive.isnan().all()


def test_all_quadrants_get_pits_sooner_or_later():
    seen = torch.stack([drawn(seed=seed)[1].any(dim=0) for seed in range(20)]).any(dim=0)

    assert [number for number in range(len(HEADS)) if seen[number]] == EROSIONS
    assert len(EROSIONS) == len(QUADRANTS)
