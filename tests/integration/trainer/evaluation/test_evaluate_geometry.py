"""Joints are found and delineated whatever the field of view, position, tilt and rotation."""

from pathlib import Path

import numpy as np
import pytest

from models.delineate import loaded_contour_network
from models.findings import Side
from trainer.evaluation.evaluate_geometry import (
    FIRST,
    GEOMETRIES,
    MATRIX,
    OPTIONS,
    ScanGeometry,
    geometry_table,
    judged_geometry,
)
from trainer.evaluation.evaluate_real import summary_of
from trainer.phantom.case import make_case

MOST_MISSED_PERCENT, FARTHEST_MM = 20, 3.0


@pytest.fixture(scope="module")
def network():
    return loaded_contour_network(Path("models/weights/contour"))


def planned(geometry: ScanGeometry):
    plans = []
    make_case(3, OPTIONS, lambda plan: plans.append(geometry.replanned(plan)) or plans[0])
    return plans[0].t1


@pytest.mark.parametrize("tilt_deg", [0, 45, 60])
def test_slices_are_tilted_towards_axial_and_rotated_within_their_plane(tilt_deg):
    view = planned(ScanGeometry(200, tilt_deg=tilt_deg, rotated_deg=20))

    normal, down, left = view.slab.axes.T
    assert np.degrees(np.arctan2(normal[2], normal[1])) == pytest.approx(tilt_deg)
    assert np.degrees(np.arccos(left[0])) == pytest.approx(20)
    assert down @ left == pytest.approx(0)
    assert view.slab.pixel_mm == pytest.approx(200 / MATRIX)


def test_the_image_is_moved_within_its_plane():
    view = planned(ScanGeometry(200, down_mm=30, left_mm=-40))

    moved = view.slab.axes.T @ (view.slab.centre_mm - view.pose.origin_mm)

    assert moved == pytest.approx([0, 30, -40])


def test_a_joint_outside_the_image_has_no_true_lines():
    case = make_case(FIRST, OPTIONS, GEOMETRIES["left joint cut off"].replanned)

    assert {one.side for one in case.t1_truth.contours} == {Side.RIGHT}


@pytest.mark.parametrize(
    "name",
    [
        "field of view 160 mm",
        "field of view 450 mm",
        "lower half cut off",
        "left joint cut off",
        "60 mm off-centre",
        "tilted by 60°",
        "rotated by 20°",
        "rotated by -20°",
    ],
)
def test_joints_are_found_and_delineated(name, network):
    rows = judged_geometry(*network, FIRST, GEOMETRIES[name])

    numbers = summary_of(rows)

    assert numbers["lines"] >= 15
    assert numbers["missed, %"][0] <= MOST_MISSED_PERCENT
    assert numbers["rms p75, mm"][0] < FARTHEST_MM


def test_the_table_has_a_row_for_each_geometry(network):
    rows = judged_geometry(*network, FIRST, ScanGeometry())

    table = geometry_table({"plain": summary_of(rows)})

    assert table.splitlines()[2].startswith("| plain | ")
