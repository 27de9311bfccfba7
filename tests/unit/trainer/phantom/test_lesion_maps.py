import numpy as np
import pytest
from scipy.ndimage import label

from models.findings import HEADS, POSITIONS, QUADRANTS, Head, Lesion, Position, Region, Side
from trainer.phantom.anatomy import sample_pelvis
from trainer.phantom.case import quadrants_on
from trainer.phantom.lesion_maps import (
    COUNTS,
    D_MM,
    FRACTIONS,
    V_MM,
    ZONE_MM,
    place_lesions,
    sample_severity,
    share_of_zone,
)
from trainer.phantom.paint import Painter, SamplePlane
from trainer.phantom.scan_plan import coronal_axes
from trainer.phantom.scanner import Pose, Slab
from trainer.phantom.style import PIT_FILLINGS, LesionStyle
from trainer.phantom.tissue import TISSUES

NOTHING = dict.fromkeys(POSITIONS, 0)


def patient(seed):
    rng = np.random.default_rng(seed)
    pelvis = sample_pelvis(rng)
    axes = coronal_axes(pelvis.sacral_tilt_rad)
    rotation = np.stack([axes[:, 2], axes[:, 0], -axes[:, 1]], axis=1)
    pose = Pose(rotation, np.zeros(3))
    slab = Slab(axes, np.zeros(3), 20, 4.0, 4.4, 250.0, 256)
    joint = pelvis.joints[Side.LEFT]
    return rng, pelvis, joint, quadrants_on(joint, slab, pose)


@pytest.mark.parametrize("grade", [1, 2, 3])
@pytest.mark.parametrize("lesion", [Lesion.OEDEMA, Lesion.FATTY_LESION])
@pytest.mark.parametrize("region", QUADRANTS)
def test_a_graded_lesion_fills_the_share_of_its_quadrant_that_earns_the_grade(
    grade, lesion, region
):
    rng, _, joint, quadrants = patient(grade + 10 * QUADRANTS.index(region))
    severity = NOTHING | {Position(Side.LEFT, Head(lesion, region)): grade}

    bone = place_lesions(rng, joint, quadrants, severity).bank(region)

    depth = bone.oedema_mm if lesion is Lesion.OEDEMA else bone.fatty_mm
    low, high = FRACTIONS[grade]
    assert low - 0.02 <= share_of_zone(depth, quadrants.of(region)) <= high + 0.02


def test_a_lesion_too_small_to_score_stays_below_the_first_grade():
    for seed in range(12):
        rng, _, joint, quadrants = patient(seed)

        lesions = place_lesions(rng, joint, quadrants, NOTHING)

        for region in QUADRANTS:
            share = share_of_zone(lesions.bank(region).oedema_mm, quadrants.of(region))
            assert share < FRACTIONS[1][0]


@pytest.mark.parametrize("grade", [1, 2, 3])
def test_erosions_are_counted_and_at_least_three_millimetres_wide(grade):
    rng, _, joint, quadrants = patient(grade)
    head = Head(Lesion.EROSION, Region.LOWER_ILIUM)

    lesions = place_lesions(rng, joint, quadrants, NOTHING | {Position(Side.LEFT, head): grade})

    pits, found = label(lesions.ilium.erosion_mm > 1.5)
    assert 1 <= found <= COUNTS[grade][1]
    assert all(np.count_nonzero(pits == k) >= 7 for k in range(1, found + 1))
    assert not lesions.sacrum.erosion_mm.any()


def test_upper_and_lower_half_share_no_point():
    _, _, _, quadrants = patient(3)

    assert quadrants.upper.any()
    assert quadrants.lower.any()
    assert not (quadrants.upper & quadrants.lower).any()


@pytest.mark.parametrize(("region", "grade"), [(Region.UPPER_ILIUM, 2), (Region.LOWER_SACRUM, 3)])
def test_the_painted_oedema_fills_about_the_share_its_map_says(region, grade):
    rng, pelvis, joint, quadrants = patient(5)
    severity = NOTHING | {Position(Side.LEFT, Head(Lesion.OEDEMA, region)): grade}
    ill = place_lesions(rng, joint, quadrants, severity)
    whole = place_lesions(np.random.default_rng(0), joint, quadrants, NOTHING)
    whole.ilium.oedema_mm[:] = whole.sacrum.oedema_mm[:] = 0
    ill.fluid[:] = 0
    signals = dict.fromkeys(("marrow", "red marrow", "yellow marrow", "fatty lesion"), 0.0)
    signals |= dict.fromkeys(
        ("muscle", "fat", "cortex", "cartilage", "fluid", "vessel", "gas", "bowel", "disc"), 0.0
    ) | {"oedema": 1.0, "sclerosis": 0.0, "ligament": 0.0, "inflamed erosion": 0.0}
    painter = Painter(pelvis, {Side.LEFT: ill}, signals, 0.9)
    painted = zone = 0.0
    iliac = region in (Region.UPPER_ILIUM, Region.LOWER_ILIUM)
    strength = max(ill.bank(region).oedema_opacity.max() * 0.85, 0.01)
    x, v = np.meshgrid(np.arange(10, 95, 1.0, np.float32), V_MM, indexing="xy")
    for row in range(0, len(D_MM), 2):
        flat = np.zeros_like(x)
        plane = SamplePlane(x, np.full_like(x, D_MM[row]), v, flat, flat)
        image, banks = painter.paint(plane, Side.LEFT)
        below = (1 if iliac else -1) * banks.across - (
            banks.ilium_gap if iliac else banks.sacrum_gap
        )
        here = quadrants.of(region)[row][:, None] & (below > 1) & (below < ZONE_MM)
        painted += float(image[here].sum()) / strength
        zone += float(here.sum())

    share = share_of_zone(ill.bank(region).oedema_mm, quadrants.of(region))
    assert painted / zone == pytest.approx(share, abs=0.15)


def brightness(pelvis, lesions, bright, where):
    """Mean signal of a left joint in which only some tissues signals, over chosen distances."""
    signals = dict.fromkeys(TISSUES, 0.0) | dict.fromkeys(bright, 1.0)
    painter = Painter(pelvis, {Side.LEFT: lesions}, signals, 0.5)
    x, v = np.meshgrid(np.arange(10, 95, 0.5, np.float32), V_MM, indexing="xy")
    flat, seen = np.zeros_like(x), []
    for depth_mm in D_MM[30:70:4]:
        plane = SamplePlane(x, np.full_like(x, depth_mm), v, flat, flat)
        image, banks = painter.paint(plane, Side.LEFT)
        seen.append(image[where(banks) & (banks.outside_cartilage < -3)])
    return float(np.concatenate(seen).mean())


@pytest.mark.parametrize("tissue", PIT_FILLINGS)
def test_an_erosion_shines_as_what_fills_it(tissue):
    rng, pelvis, joint, quadrants = patient(7)
    severity = NOTHING | {Position(Side.LEFT, Head(Lesion.EROSION, r)): 3 for r in QUADRANTS}
    eroded = place_lesions(rng, joint, quadrants, severity, LesionStyle(pit_fillings=(tissue,)))
    eroded.ilium.erosion_fat[:] = eroded.sacrum.erosion_fat[:] = eroded.fluid[:] = 0

    def in_the_cortex(banks):
        return (banks.across > joint.space_mm / 2 + 0.5) & (banks.across < joint.space_mm / 2 + 2)

    shining = {other: brightness(pelvis, eroded, (other,), in_the_cortex) for other in PIT_FILLINGS}
    assert shining.pop(tissue) > 0.1
    assert max(shining.values()) < 0.03


def test_bone_that_bridges_a_joint_little_leaves_a_line_of_cortex():
    rng, pelvis, joint, quadrants = patient(8)
    severity = NOTHING | {Position(Side.LEFT, Head(Lesion.ANKYLOSIS, Region.JOINT)): 3}
    fused = place_lesions(rng, joint, quadrants, severity)

    def in_the_cortex(banks):
        return abs(abs(banks.across) - joint.space_mm / 2 - 0.8 * joint.cortex_mm) < 0.3

    def in_the_joint(banks):
        return abs(banks.across) < 0.4

    cortex, space = {}, {}
    for bridge_mm in (-0.3, 1.2):
        fused.bridge_mm = bridge_mm
        marrow = ("red marrow", "yellow marrow")
        cortex[bridge_mm] = brightness(pelvis, fused, marrow, in_the_cortex)
        space[bridge_mm] = brightness(pelvis, fused, marrow, in_the_joint)

    assert cortex[-0.3] < 0.8 * cortex[1.2]
    assert min(space.values()) > 0.5


def test_every_position_gets_a_berlin_grade():
    severity = sample_severity(np.random.default_rng(1), "mixed")

    assert set(severity) == set(POSITIONS)
    assert set(severity.values()) <= {0, 1, 2, 3}


def test_advanced_disease_has_more_lesions_than_early_disease():
    def positives(disease):
        return sum(
            grade > 0
            for seed in range(60)
            for grade in sample_severity(np.random.default_rng(seed), disease).values()
        )

    assert positives("early") < positives("mixed") < positives("advanced")


def test_lesions_of_one_quadrant_go_along_with_those_of_its_neighbour():
    head = {r: Head(Lesion.OEDEMA, r) for r in QUADRANTS}
    drawn = [sample_severity(np.random.default_rng(s), "mixed") for s in range(400)]
    upper, lower = (
        np.array([d[Position(Side.LEFT, head[r])] > 0 for d in drawn])
        for r in (Region.UPPER_ILIUM, Region.LOWER_ILIUM)
    )

    assert np.corrcoef(upper, lower)[0, 1] > 0.3


def test_an_unknown_stage_of_disease_is_named():
    with pytest.raises(ValueError, match="not 'late'"):
        sample_severity(np.random.default_rng(0), "late")


def test_heads_of_the_whole_joint_are_drawn_too():
    drawn = [sample_severity(np.random.default_rng(s), "advanced") for s in range(60)]
    joint_heads = [h for h in HEADS if h.region is Region.JOINT]

    assert all(any(d[Position(Side.RIGHT, h)] for d in drawn) for h in joint_heads)
