import itertools

import numpy as np
import pytest

from models.delineation import Contour, Delineation
from models.findings import Side
from models.orientation import canonical
from models.roi import RoiRules, Sighting, cut, joint_boxes, slices_within
from models.volume import Volume
from tests.support.oriented_volumes import coronal_affine, reordered, two_joints

SHAPE = (7, 140, 170)
RULES = RoiRules(margin_mm=10, size_px=64)


def sighting(slices=range(2, 5), shape=SHAPE, **geometry):
    volume = Volume(np.zeros(shape, np.float32), coronal_affine(**geometry))
    return Sighting(volume, two_joints(volume, slices))


def lateral_ramp(volume):
    """Intensity rises by one for each millimetre to the patient's left."""
    indices = np.stack(np.indices(volume.voxels.shape), axis=-1)
    return volume.to_patient(indices)[..., 0].astype(np.float32)


@pytest.mark.parametrize("geometry", [{}, {"tilt_deg": 35}, {"turn_deg": 12}])
@pytest.mark.parametrize("side", list(Side))
def test_the_ilium_is_on_the_first_columns_on_both_sides(geometry, side):
    seen = sighting(**geometry)
    box = joint_boxes([seen, seen], RULES)[side]

    square = cut(seen.volume, lateral_ramp(seen.volume), box, RULES.size_px)[0].numpy()

    outwards = square if side is Side.LEFT else -square
    middle = outwards[32, 16:48]
    assert (np.diff(middle) < 0).all()


def test_a_box_holds_its_contours_and_the_margin():
    seen = sighting()

    for side, box in joint_boxes([seen, seen], RULES).items():
        points = np.concatenate(
            [
                seen.volume.to_patient(np.insert(c.points, 0, c.slice_index, axis=1))
                for c in seen.delineation.of(side)
            ]
        )
        away = np.abs(points @ np.stack([box.across, box.down], axis=1) - box.centre_mm)
        assert away.max() == pytest.approx(box.half_mm - RULES.margin_mm, abs=1e-6)


def test_without_margin_the_box_is_the_paper_s():
    seen = sighting()

    box = joint_boxes([seen, seen], RoiRules(margin_mm=0))[Side.LEFT]

    assert box.half_mm == pytest.approx(25, abs=0.01)


def test_a_turned_patient_is_made_level():
    seen = sighting(turn_deg=0)
    turn = np.radians(9)
    leaning = []
    middle = np.array(SHAPE[1:]) / 2
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for contour in seen.delineation.contours:
        points = (contour.points - middle) @ rotation.T + middle
        leaning.append(Contour(contour.slice_index, contour.side, points, 1.0))
    turned = Sighting(seen.volume, Delineation(tuple(leaning)))

    boxes = joint_boxes([turned, turned], RULES)

    found = np.degrees(np.arctan2(boxes[Side.RIGHT].across[2], boxes[Side.RIGHT].across[0]))
    assert abs(found) == pytest.approx(9, abs=0.01)
    heights = [
        turned.volume.to_patient([c.slice_index, *c.points[0]]) @ boxes[c.side].down
        for c in turned.delineation.contours
    ]
    assert np.ptp(heights) < 0.01


def test_the_rotation_is_never_larger_than_allowed():
    seen = sighting()
    slanted = Delineation(
        tuple(
            Contour(
                c.slice_index, c.side, c.points + np.array([80.0 * (c.side is Side.LEFT), 0]), 1.0
            )
            for c in seen.delineation.contours
        )
    )

    box = joint_boxes([Sighting(seen.volume, slanted)] * 2, RULES)[Side.RIGHT]

    assert np.degrees(np.arccos(box.across[0])) == pytest.approx(20, abs=0.01)


def test_one_stray_contour_does_not_blow_up_the_box():
    seen = sighting(range(1, 6))
    sane = joint_boxes([seen, seen], RULES)[Side.LEFT].half_mm
    stray = Delineation(
        tuple(
            Contour(c.slice_index, c.side, c.points - [0, 50], 1.0)
            if (c.slice_index, c.side) == (3, Side.LEFT)
            else c
            for c in seen.delineation.contours
        )
    )

    box = joint_boxes([Sighting(seen.volume, stray), seen], RULES)[Side.LEFT]

    assert box.half_mm == pytest.approx(sane, abs=2)


def test_both_sequences_are_cut_from_the_same_place_in_the_patient():
    t1 = sighting(tilt_deg=20)
    fine = coronal_affine((3.0, 0.5, 0.5), 20, 0, (-70, -8, 55))
    stir = Sighting(Volume(np.zeros((9, 230, 280), np.float32), fine), Delineation(()))
    box = joint_boxes([t1, stir], RULES)[Side.LEFT]

    one = cut(t1.volume, lateral_ramp(t1.volume), box, 64)
    other = cut(stir.volume, lateral_ramp(stir.volume), box, 64)

    np.testing.assert_allclose(one[0].numpy(), other[0].numpy(), atol=1e-3)


def test_only_slices_showing_the_joint_and_one_each_side_are_kept():
    seen = sighting(range(2, 5))

    box = joint_boxes([seen, seen], RULES)[Side.RIGHT]

    assert list(slices_within(seen.volume, box)) == [1, 2, 3, 4, 5]


def test_a_joint_that_was_not_seen_has_no_box():
    seen = sighting()
    right = Sighting(seen.volume, Delineation(seen.delineation.of(Side.RIGHT)))

    assert set(joint_boxes([right, right], RULES)) == {Side.RIGHT}


@pytest.mark.parametrize("flips", list(itertools.combinations(range(3), 2)))
def test_flipped_volumes_give_the_same_squares(flips):
    voxels = np.random.default_rng(5).random(SHAPE).astype(np.float32)
    upright = Volume(voxels, coronal_affine(tilt_deg=15))
    native = canonical(reordered(upright, True, flips))
    squares = []
    for volume in (upright, native):
        seen = Sighting(volume, two_joints(volume, range(2, 5)))
        box = joint_boxes([seen, seen], RULES)[Side.LEFT]
        squares.append(cut(volume, volume.voxels, box, 64).numpy())

    np.testing.assert_allclose(squares[0], squares[1], atol=1e-4)
