import itertools

import numpy as np
import pytest

from models.delineation import Delineation
from models.findings import QUADRANTS, Region, Side
from models.orientation import carried
from models.regions import BAND_MM, REGION_LABELS, ZONE_MM, joint_zones, region_label_map
from models.volume import Volume
from tests.support.oriented_volumes import coronal_affine, reordered, two_joints

ORDERS = [
    (lying, flips)
    for lying in (False, True)
    for count in range(4)
    for flips in itertools.combinations(range(3), count)
]


def volume(**geometry):
    return Volume(np.zeros((4, 120, 150), np.float32), coronal_affine(**geometry))


def labels_of(upright, slices=range(1, 3)):
    return region_label_map(upright, two_joints(upright, slices))


def mean_position(upright, labels, side, region):
    places = np.argwhere(labels == REGION_LABELS[side, region])
    return upright.to_patient(places).mean(axis=0)


@pytest.mark.parametrize("geometry", [{}, {"tilt_deg": 30}, {"tilt_deg": 20, "turn_deg": 10}])
@pytest.mark.parametrize("side", list(Side))
def test_the_ilium_is_lateral_and_the_upper_half_is_towards_the_head(geometry, side):
    upright = volume(**geometry)
    labels = labels_of(upright)

    x, _, z = np.transpose([mean_position(upright, labels, side, r) for r in QUADRANTS])

    outwards = x if side is Side.LEFT else -x
    assert min(outwards[:2] - outwards[2:]) > 5
    assert z[0] > z[1] + 10
    assert z[2] > z[3] + 10


@pytest.mark.parametrize(("lying", "flips"), ORDERS)
def test_the_order_of_voxels_does_not_move_a_region(lying, flips):
    upright = volume(tilt_deg=25)
    native = reordered(upright, lying, flips)
    drawn = two_joints(upright, range(1, 3))

    found = region_label_map(native, carried(drawn, upright, native))

    tagged = Volume(region_label_map(upright, drawn).astype(np.float32), upright.affine)
    expected = reordered(tagged, lying, flips).voxels
    assert (found != expected).mean() < 1e-4


def test_slices_without_a_contour_have_no_region():
    labels = labels_of(volume(), range(1, 3))

    assert not labels[[0, 3]].any()
    assert labels[1].any()
    assert labels[2].any()


def test_zones_reach_twelve_millimetres_and_the_band_two():
    upright = volume()
    labels = labels_of(upright)
    row = labels[1, 60]
    column_mm = upright.spacing_mm[2]
    left = (row > len(REGION_LABELS) // 2).sum() * column_mm
    band = (row == REGION_LABELS[Side.LEFT, Region.JOINT]).sum() * column_mm

    assert left == pytest.approx(2 * ZONE_MM, abs=2.0)
    assert band == pytest.approx(2 * BAND_MM, abs=1.6)


def test_a_zone_that_leaves_the_image_is_cut_at_its_border():
    narrow = Volume(np.zeros((2, 120, 64), np.float32), coronal_affine())

    labels = labels_of(narrow, range(1))

    assert labels.shape == narrow.voxels.shape


def test_joint_zones_number_one_side_from_one_to_five():
    labels = labels_of(volume())

    zones = joint_zones(labels, Side.LEFT)

    assert set(np.unique(zones)) == {0, 1, 2, 3, 4, 5}
    assert ((zones > 0) == (labels > 5)).all()


def test_no_contours_give_an_empty_map():
    assert not region_label_map(volume(), Delineation(())).any()
