import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.findings import Side
from models.orientation import canonical, carried
from models.preprocess import SquareFrame, network_slices, normalised
from models.volume import Volume
from tests.support.oriented_volumes import coronal_affine, reordered, two_joints

ORDERS = [
    (lying, flips)
    for lying in (False, True)
    for count in range(4)
    for flips in itertools.combinations(range(3), count)
]


def upright_volume(tilt_deg=20.0, turn_deg=0.0, shape=(5, 12, 16)):
    voxels = np.random.default_rng(0).random(shape).astype(np.float32)
    return Volume(voxels, coronal_affine(tilt_deg=tilt_deg, turn_deg=turn_deg))


@pytest.mark.parametrize(("lying", "flips"), ORDERS)
@pytest.mark.parametrize(("tilt_deg", "turn_deg"), [(0, 0), (25, 0), (40, 12), (-30, -20)])
def test_every_order_of_the_same_voxels_has_the_same_canonical_form(
    lying, flips, tilt_deg, turn_deg
):
    upright = upright_volume(tilt_deg, turn_deg)

    found = canonical(reordered(upright, lying, flips))

    np.testing.assert_array_equal(found.voxels, upright.voxels)
    np.testing.assert_allclose(found.affine, upright.affine, atol=1e-9)


def test_a_canonical_volume_runs_to_the_left_the_feet_and_the_back():
    affine = canonical(reordered(upright_volume(), True, (0, 2))).affine

    assert affine[0, 2] > 0
    assert affine[2, 1] < 0
    assert affine[1, 0] > 0


@pytest.mark.parametrize(("lying", "flips"), ORDERS)
def test_carried_contours_stay_where_they_are_in_the_patient(lying, flips):
    upright = upright_volume()
    native = reordered(upright, lying, flips)
    drawn = two_joints(upright, range(1, 3))

    there = carried(drawn, upright, native)
    back = carried(there, native, upright)

    for before, after, returned in zip(drawn.contours, there.contours, back.contours, strict=True):
        np.testing.assert_allclose(
            native.to_patient(np.insert(after.points, 0, after.slice_index, axis=1)),
            upright.to_patient(np.insert(before.points, 0, before.slice_index, axis=1)),
            atol=1e-9,
        )
        np.testing.assert_allclose(returned.points, before.points, atol=1e-9)
        assert (returned.slice_index, returned.side) == (before.slice_index, before.side)


@given(
    rows=st.integers(1, 600),
    columns=st.integers(1, 600),
    point=st.tuples(st.floats(-50, 650), st.floats(-50, 650)),
)
def test_points_go_to_the_network_and_back_unchanged(rows, columns, point):
    frame = SquareFrame(rows, columns)
    place = np.array(point)

    np.testing.assert_allclose(frame.to_image(frame.to_network(place)), place, atol=1e-8)


@pytest.mark.parametrize("shape", [(64, 64), (60, 100), (101, 64)])
def test_a_bright_spot_is_where_the_frame_says(shape):
    rows, columns = np.indices(shape)
    spot = np.array([22.0, 40.0])
    image = np.exp(-((rows - spot[0]) ** 2 + (columns - spot[1]) ** 2) / 18).astype(np.float32)
    volume = Volume(np.stack([image, image]), coronal_affine())
    weights = network_slices(volume)[0, 0].double().numpy()
    weights[weights < 0.2] = 0

    centre = [(weights * at).sum() / weights.sum() for at in np.indices(weights.shape)]

    np.testing.assert_allclose(centre, SquareFrame(*shape).to_network(spot), atol=0.05)


def test_normalisation_forgets_the_scanner_s_scale():
    voxels = np.random.default_rng(1).gamma(2, 50, (4, 80, 80)).astype(np.float32)

    np.testing.assert_allclose(normalised(voxels * 7 + 100), normalised(voxels), atol=1e-4)


def test_a_flat_volume_becomes_zeros():
    assert not normalised(np.full((2, 8, 8), 5, np.float32)).any()


def test_the_patient_s_left_is_on_the_last_columns_of_a_canonical_volume():
    upright = upright_volume(shape=(5, 90, 150))
    native = reordered(upright, True, (1,))

    found = carried(two_joints(native, range(2, 3)), native, canonical(native))

    right, left = (found.on(2, side).points[:, 1].mean() for side in Side)
    assert right < left
