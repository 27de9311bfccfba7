import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.findings import POSITIONS, Side
from tests.support.phantom_studies import drawn_case
from trainer.phantom.anatomy import restyled, sample_pelvis
from trainer.phantom.case import PhantomOptions, make_case, training_options
from trainer.phantom.paint import Painter, SamplePlane
from trainer.phantom.scan_plan import coronal_axes, free_plan
from trainer.phantom.scanner import Pose, Slab, trace, visible_line
from trainer.phantom.style import sample_style

SMALL = PhantomOptions(slices=15, matrix=256)
SUMS_OF_SEED_3 = [36945553, 32060118, 29442337, 45969058, 41788274, 36222506]
POINTS_OF_SEED_3 = [769, 762]
GRADES_OF_SEED_3 = "0000011300000022102001210202"


@pytest.fixture(scope="module")
def case():
    return drawn_case(7, SMALL)


def turned(tilt_rad):
    axes = coronal_axes(tilt_rad)
    return np.stack([axes[:, 2], axes[:, 0], -axes[:, 1]], axis=1)


def test_the_same_seed_gives_the_same_patient(case):
    again = make_case(7, SMALL)

    assert np.array_equal(case.t1.voxels, again.t1.voxels)
    assert np.array_equal(case.stir.voxels, again.stir.voxels)
    assert case.severity == again.severity
    assert case.parameters == again.parameters
    assert all(
        np.array_equal(a.points, b.points)
        for a, b in zip(case.stir_truth.contours, again.stir_truth.contours, strict=True)
    )


def test_a_seed_gives_the_patient_that_networks_were_trained_on():
    """Sums of whole slices: another processor may round a voxel otherwise, but no more."""
    case = make_case(3, SMALL)
    slices = [volume.voxels[number] for volume in (case.t1, case.stir) for number in (0, 5, 10)]
    truths = (case.t1_truth, case.stir_truth)

    np.testing.assert_allclose(
        [image.sum(dtype=np.float64) for image in slices], SUMS_OF_SEED_3, rtol=1e-6
    )
    assert [sum(len(c.points) for c in truth.contours) for truth in truths] == POINTS_OF_SEED_3
    assert "".join(str(case.severity[position]) for position in POSITIONS) == GRADES_OF_SEED_3


def test_another_seed_gives_another_patient(case):
    assert not np.array_equal(case.t1.voxels, drawn_case(8, SMALL).t1.voxels)


def test_all_positions_have_a_severity_and_parameters_are_json(case):
    assert set(case.severity) == set(POSITIONS)
    assert json.loads(json.dumps(case.parameters)) == case.parameters


def test_left_is_where_x_is_positive_and_contours_run_downwards(case):
    for volume, delineation in ((case.t1, case.t1_truth), (case.stir, case.stir_truth)):
        means = {}
        for side in Side:
            contours = delineation.of(side)
            assert len(contours) >= 4
            lines = [
                volume.to_patient(np.insert(c.points, 0, c.slice_index, axis=1)) for c in contours
            ]
            assert all(line[0, 2] > line[-1, 2] for line in lines)
            means[side] = np.mean([line[:, 0].mean() for line in lines])
        assert means[Side.LEFT] - means[Side.RIGHT] > 50


def test_contour_points_lie_about_a_pixel_apart_within_the_image(case):
    for contour in case.t1_truth.contours:
        steps = np.linalg.norm(np.diff(contour.points, axis=0), axis=1)
        assert np.all((steps > 0.6) & (steps < 1.3))
        assert contour.points.min() >= 0
        assert contour.points.max() <= 255


def test_the_joint_is_darker_on_t1_than_the_marrow_beside_it(case):
    found = []
    for ill in (case, make_case(12, SMALL)):
        for contour in ill.t1_truth.contours:
            if len(contour.points) < 30:
                continue
            rows, columns = np.rint(contour.points[8:-8]).astype(int).T
            image = ill.t1.voxels[contour.slice_index]
            away = round(6 / ill.t1.spacing_mm[2])
            beside = (image[rows, columns - away] + image[rows, columns + away]) / 2
            found.append(np.median(image[rows, columns]) < np.median(beside))

    assert np.mean(found) > 0.8


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), tilt_deg=st.floats(0, 40), off_deg=st.floats(-6, 6))
def test_a_contour_lies_between_sacrum_and_ilium(seed, tilt_deg, off_deg):
    pelvis = sample_pelvis(np.random.default_rng(seed))
    pose = Pose(turned(np.deg2rad(tilt_deg)), np.array([4.0, -20.0, 31.0]))
    axes = coronal_axes(np.deg2rad(tilt_deg + off_deg))
    slab = Slab(axes, pose.origin_mm, 9, 4.0, 4.4, 260.0, 256)
    painter = Painter(pelvis, {}, {}, 1.0)
    for side, joint in pelvis.joints.items():
        line = visible_line(joint, slab, pose, 0.0)
        x, d, v = (a[None].astype(np.float32) for a in pose.to_pelvis(line[20:-20]).T)
        flat = np.zeros_like(x)
        banks = painter._banks(SamplePlane(x, d, v, flat, flat), joint)
        medial = painter._banks(SamplePlane(x - 7 * joint.sign, d, v, flat, flat), joint)
        lateral = painter._banks(SamplePlane(x + 7 * joint.sign, d, v, flat, flat), joint)
        between = banks.outside_cartilage < 0
        assert np.abs(banks.across[between]).max() < 0.1
        assert np.mean(medial.sacrum > 0) > 0.75
        assert np.mean(lateral.ilium > 0) > 0.75
        assert side is (Side.LEFT if x.mean() > 0 else Side.RIGHT)


@settings(max_examples=8, deadline=None)
@given(
    flip=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    tilt_deg=st.floats(0, 40),
    seed=st.integers(0, 1000),
)
def test_flipped_and_oblique_slabs_cut_the_joint_at_the_same_place(flip, tilt_deg, seed):
    pelvis = sample_pelvis(np.random.default_rng(seed))
    pose = Pose(turned(np.deg2rad(tilt_deg)), np.zeros(3))
    axes = coronal_axes(np.deg2rad(tilt_deg) + 0.05)
    plain = Slab(axes, np.zeros(3), 15, 4.0, 4.4, 260.0, 256)
    flipped = replace(plain, axes=axes * np.where(flip, -1, 1))

    expected, found = (centres(pelvis, slab, pose) for slab in (plain, flipped))

    assert np.allclose(expected, found, atol=0.15)


def centres(pelvis, slab, pose):
    contours = trace(pelvis.joints, slab, pose).contours
    return sorted(_in_patient(slab, contour).mean(axis=0).tolist() for contour in contours)


def _in_patient(slab, contour):
    at = np.insert(contour.points, 0, contour.slice_index, axis=1)
    return at @ slab.affine()[:3, :3].T + slab.affine()[:3, 3]


def test_a_slice_that_misses_the_cartilage_has_no_contour():
    pelvis = sample_pelvis(np.random.default_rng(2))
    pose = Pose(turned(0.4), np.zeros(3))
    slab = Slab(coronal_axes(0.4), np.zeros(3), 3, 4.0, 4.4, 250.0, 256)
    joint = pelvis.joints[Side.LEFT]

    assert len(visible_line(joint, slab, pose, 80.0)) == 0
    assert len(visible_line(joint, slab, pose, 0.0)) > 0


def test_joints_are_seen_on_about_as_many_slices_and_as_long_as_in_people():
    counts, longest = [], []
    for seed in range(40):
        pelvis = sample_pelvis(np.random.default_rng(seed))
        pose = Pose(turned(pelvis.sacral_tilt_rad), np.zeros(3))
        slab = Slab(coronal_axes(pelvis.sacral_tilt_rad), np.zeros(3), 24, 4.0, 4.4, 280.0, 280)
        contours = trace(pelvis.joints, slab, pose).of(Side.RIGHT)
        counts.append(len(contours))
        longest.append(max(len(c.points) for c in contours))

    assert 8 <= np.median(counts) <= 13
    assert 50 <= np.median(longest) <= 68


def test_without_joints_nothing_is_delineated_and_nothing_is_ill():
    case = make_case(7, replace(SMALL, without_joints=True, disease="advanced"))

    assert case.t1_truth.contours == case.stir_truth.contours == ()
    assert not any(case.severity.values())
    assert case.t1.voxels.std() > 0


def test_voxels_are_twelve_bit_integers(case):
    for volume in (case.t1, case.stir):
        assert volume.voxels.min() >= 0
        assert volume.voxels.max() <= 4095
        assert np.array_equal(volume.voxels, np.rint(volume.voxels))


def test_the_patient_moves_at_most_three_millimetres_between_sequences(case):
    assert np.linalg.norm(case.parameters["shift_mm"]) <= 3


STYLED = [(41, "plausible"), (42, "randomised"), (46, "randomised")]


@pytest.fixture(scope="module", params=STYLED, ids=str)
def styled(request):
    seed, style = request.param
    return make_case(seed, PhantomOptions(slices=10, matrix=160, disease="balanced", style=style))


def test_contours_of_every_style_lie_on_the_joint_that_was_drawn(styled):
    patient = styled.patient
    for volume, truth, view in (
        (styled.t1, styled.t1_truth, patient.t1),
        (styled.stir, styled.stir_truth, patient.stir),
    ):
        for contour in truth.contours:
            joint = patient.pelvis.joints[contour.side]
            indices = np.insert(contour.points, 0, contour.slice_index, axis=1)
            x, d, v = view.pose.to_pelvis(volume.to_patient(indices)).T
            off = joint.sign * x - joint.distance_from_midline(d, v)
            assert np.abs(off).max() < 0.3
            assert np.all(np.diff(v) < 0)


def test_styles_say_what_they_are_and_are_json(styled):
    assert json.loads(json.dumps(styled.parameters)) == styled.parameters
    assert styled.parameters["style"]["name"] in {"plausible", "randomised"}
    assert set(styled.severity) == set(POSITIONS)


def test_a_styled_patient_is_the_same_for_the_same_seed():
    options = PhantomOptions(slices=4, matrix=160, style="randomised")

    one, other = (make_case(11, options) for _ in range(2))

    assert np.array_equal(one.stir.voxels, other.stir.voxels)
    assert one.parameters == other.parameters


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    flip=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    style=st.sampled_from(["plausible", "randomised"]),
)
def test_contours_lie_on_their_side_in_any_style_and_orientation(seed, flip, style):
    rng = np.random.default_rng(seed)
    chosen = sample_style(rng, style)
    pelvis = restyled(sample_pelvis(rng), chosen.shape, chosen.look, rng)
    view = free_plan(rng, pelvis, 12, 320).stir
    slab = replace(view.slab, axes=view.slab.axes * np.where(flip, -1, 1))
    for contour in trace(pelvis.joints, slab, view.pose).contours:
        joint = pelvis.joints[contour.side]
        x, d, v = view.pose.to_pelvis(_in_patient(slab, contour)).T
        assert np.abs(joint.sign * x - joint.distance_from_midline(d, v)).max() < 0.3
        assert np.all(joint.sign * x > 0)
        assert v[0] > v[-1]


def test_an_image_that_is_cut_keeps_its_contours_within_itself():
    rng = np.random.default_rng(5)
    pelvis = sample_pelvis(rng)
    pose = Pose(turned(0.3), np.zeros(3))
    slab = Slab(coronal_axes(0.3), np.zeros(3), 9, 4.0, 4.4, 260.0, 256, (120, 256))
    whole = replace(slab, shape=None)

    cut, uncut = (trace(pelvis.joints, one, pose) for one in (slab, whole))

    assert all(c.points[:, 0].max() <= 119 and c.points[:, 0].min() >= 0 for c in cut.contours)
    assert np.allclose(
        _in_patient(slab, cut.contours[0])[0], _in_patient(whole, uncut.contours[0])[0], atol=1
    )


def test_training_meets_every_style_and_sometimes_no_joint_at_all():
    options = [training_options(seed) for seed in range(300)]
    names = [sample_style(np.random.default_rng([s, 7]), "any").name for s in range(300)]

    assert 0.05 < np.mean([o.without_joints for o in options]) < 0.16
    assert 0.32 < names.count("plausible") / 300 < 0.48


def test_elsewhere_nothing_is_delineated_and_no_lesion_can_be_learnt():
    case = make_case(
        3, PhantomOptions(slices=4, matrix=160, style="randomised", without_joints=True)
    )

    assert case.t1_truth.contours == ()
    assert not any(case.severity.values())
    assert not case.lesions_readable


def test_an_unknown_style_is_named():
    with pytest.raises(ValueError, match="not 'baroque'"):
        make_case(1, PhantomOptions(style="baroque"))


def test_two_visits_of_a_patient_share_anatomy_but_not_grades():
    grades = tuple(position % 4 for position in range(len(POSITIONS)))
    visits = [
        make_case(seed, replace(SMALL, pelvis_seed=70, severity=grades)) for seed in (701, 702)
    ]

    assert visits[0].parameters["pelvis"] == visits[1].parameters["pelvis"]
    assert tuple(visits[0].severity[position] for position in POSITIONS) == grades
    assert not np.array_equal(visits[0].t1.voxels, visits[1].t1.voxels)
