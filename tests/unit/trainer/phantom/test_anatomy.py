import numpy as np
import pytest

from models.findings import Side
from trainer.phantom.anatomy import sample_pelvis
from trainer.phantom.scan_plan import coronal_axes
from trainer.phantom.scanner import Pose, Slab, visible_line

PELVES = [sample_pelvis(np.random.default_rng(seed)) for seed in range(80)]
JOINTS = [pelvis.joints[side] for pelvis in PELVES for side in Side]


def apart_mm(pelvis, v):
    return sum(
        float(joint.smooth_distance(np.zeros(1), np.full(1, v))[0])
        for joint in pelvis.joints.values()
    )


@pytest.mark.parametrize(("v", "low", "high"), [(27.0, 95, 115), (-27.0, 60, 80)])
def test_joints_are_as_far_apart_as_in_people(v, low, high):
    assert low <= np.median([apart_mm(pelvis, v) for pelvis in PELVES]) <= high


def test_joints_converge_downwards_by_ten_to_twenty_five_degrees():
    angles = np.degrees(np.arctan([joint.slope for joint in JOINTS]))

    assert 10 <= np.median(angles) <= 25
    assert np.mean((angles > 8) & (angles < 28)) > 0.95


def test_the_joint_space_is_as_wide_as_in_people():
    spaces = [joint.space_mm for joint in JOINTS]

    assert np.mean(spaces) == pytest.approx(1.72, abs=0.35)
    assert 0.3 < np.std(spaces) < 0.8


def test_the_auricular_surface_has_two_limbs_at_a_right_angle():
    angles, cranial, caudal, widths = [], [], [], []
    for joint in JOINTS:
        up, down = (np.subtract(end, joint.apex) for end in (joint.cranial_end, joint.caudal_end))
        round_ends = 2 * joint.limb_radius_mm
        cranial.append(np.hypot(*up) + round_ends)
        caudal.append(np.hypot(*down) + round_ends)
        cosine = up @ down / np.hypot(*up) / np.hypot(*down)
        angles.append(np.degrees(np.arccos(cosine)))
        widths.append(round_ends)

    assert np.median(cranial) == pytest.approx(44, abs=4)
    assert np.median(caudal) == pytest.approx(56, abs=4)
    assert np.median(angles) == pytest.approx(93, abs=5)
    assert np.median(widths) == pytest.approx(20, abs=3)


def test_the_joint_is_seen_longest_in_the_middle():
    def lengths(at_mm):
        found = []
        for pelvis in PELVES[:30]:
            axes = coronal_axes(pelvis.sacral_tilt_rad)
            rotation = np.stack([axes[:, 2], axes[:, 0], -axes[:, 1]], axis=1)
            slab = Slab(axes, np.zeros(3), 3, 4.0, 4.4, 260.0, 256)
            line = visible_line(pelvis.joints[Side.LEFT], slab, Pose(rotation, np.zeros(3)), at_mm)
            found.append(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() if len(line) else 0)
        return np.median(found)

    front, middle, back = lengths(-17.0), lengths(3.0), lengths(13.0)

    assert 20 <= front <= 35
    assert 50 <= middle <= 65
    assert back < middle
