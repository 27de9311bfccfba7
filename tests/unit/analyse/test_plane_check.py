"""Planes that the header leaves in doubt are judged by the delineated joints."""

from itertools import product

import numpy as np
import pytest

from models.delineation import Contour, Delineation
from models.findings import Side
from models.orientation import carried
from models.volume import Volume
from sij_node.analyse.plane_check import is_along_sacrum
from tests.support.oriented_volumes import coronal_affine, reordered, two_joints


def volume(tilt_deg: float = 0.0, turn_deg: float = 0.0) -> Volume:
    voxels = np.zeros((7, 150, 160), np.float32)
    return Volume(voxels, coronal_affine(tilt_deg=tilt_deg, turn_deg=turn_deg))


def diverging(drawn: Delineation) -> Delineation:
    """Each contour with its upper end where its lower end was."""
    return Delineation(
        tuple(
            Contour(one.slice_index, one.side, np.column_stack([rows, columns[::-1]]), 1.0)
            for one in drawn.contours
            for rows, columns in [one.points.T]
        )
    )


ORDERS = list(product([False, True], [(), (0,), (1,), (2,), (0, 1, 2)]))


@pytest.mark.parametrize(("lying", "flips"), ORDERS)
@pytest.mark.parametrize("tilt_deg", [-20.0, 0.0, 40.0])
def test_converging_joints_are_along_the_sacrum_in_any_voxel_order(tilt_deg, lying, flips):
    upright = volume(tilt_deg, turn_deg=8.0)
    stored = reordered(upright, lying, flips)
    drawn = two_joints(upright, range(1, 6))

    assert is_along_sacrum([(carried(drawn, upright, stored), stored)])


@pytest.mark.parametrize(("lying", "flips"), ORDERS)
def test_diverging_joints_are_not(lying, flips):
    upright = volume(-20.0)
    stored = reordered(upright, lying, flips)
    drawn = diverging(two_joints(upright, range(1, 6)))

    assert not is_along_sacrum([(carried(drawn, upright, stored), stored)])


@pytest.mark.parametrize("side", Side)
def test_one_joint_alone_is_enough(side):
    upright = volume(-20.0)
    drawn = two_joints(upright, range(1, 6))

    assert is_along_sacrum([(Delineation(drawn.of(side)), upright)])
    assert not is_along_sacrum([(Delineation(diverging(drawn).of(side)), upright)])


def test_no_joint_or_parallel_joints_prove_nothing():
    upright = volume(-20.0)
    straight = [
        Contour(2, side, np.array([[20.0, column], [90.0, column]]), 1.0)
        for side, column in ((Side.RIGHT, 40.0), (Side.LEFT, 120.0))
    ]

    assert not is_along_sacrum([(Delineation(()), upright)])
    assert not is_along_sacrum([(Delineation(tuple(straight)), upright)])
