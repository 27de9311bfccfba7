from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from models.findings import POSITIONS, Head, Lesion, Position, Region, Sequence, Side
from trainer.metrics.pointing import Pointing, pointing_scores
from trainer.phantom.anatomy import sample_pelvis
from trainer.phantom.case import PhantomPatient, quadrants_on
from trainer.phantom.drawn_lesion import DrawnLesion, drawn_lesion
from trainer.phantom.lesion_maps import V_MM, place_lesions
from trainer.phantom.paint import Painter, SamplePlane
from trainer.phantom.scan_plan import PatientPose, coronal_axes
from trainer.phantom.scanner import Pose, Slab
from trainer.phantom.style import LesionStyle
from trainer.phantom.tissue import TISSUES

LESIONS = [
    Position(Side.LEFT, Head(Lesion.OEDEMA, Region.UPPER_ILIUM)),
    Position(Side.RIGHT, Head(Lesion.FATTY_LESION, Region.LOWER_SACRUM)),
    Position(Side.LEFT, Head(Lesion.EROSION, Region.LOWER_ILIUM)),
    Position(Side.RIGHT, Head(Lesion.SCLEROSIS, Region.JOINT)),
    Position(Side.LEFT, Head(Lesion.ANKYLOSIS, Region.JOINT)),
]
MAPS = {
    Lesion.OEDEMA: "oedema_mm",
    Lesion.FATTY_LESION: "fatty_mm",
    Lesion.EROSION: "erosion_mm",
    Lesion.SCLEROSIS: "sclerosis_mm",
}
SHINE = (
    dict.fromkeys(TISSUES, 0.0)
    | dict.fromkeys(("red marrow", "yellow marrow"), 0.5)
    | dict.fromkeys(("oedema", "fatty lesion", "sclerosis", "inflamed erosion"), 1.0)
)


def patient_with(position, seed=4, forms=("lumpy",)):
    """One joint with a lesion, in a patient whose slices are planes of the pelvis frame."""
    rng = np.random.default_rng(seed)
    pelvis = sample_pelvis(rng)
    axes = coronal_axes(pelvis.sacral_tilt_rad)
    pose = Pose(np.stack([axes[:, 2], axes[:, 0], -axes[:, 1]], axis=1), np.array([3.0, -9, 20]))
    view = PatientPose(Slab(axes, pose.origin_mm, 21, 4.0, 4.4, 250.0, 256), pose)
    joint = pelvis.joints[position.side]
    quadrants = quadrants_on(joint, view.slab, pose)
    severity = dict.fromkeys(POSITIONS, 0) | {position: 2}
    lesions = place_lesions(rng, joint, quadrants, severity, LesionStyle(forms=forms))
    side = position.side
    return PhantomPatient(pelvis, {side: lesions}, {side: quadrants}, view, view)


def healed(patient, position):
    """The same patient without the lesion of a position."""
    ill = patient.lesions[position.side]
    outside = ~patient.quadrants[position.side].of(position.head.region)
    if position.head.lesion is Lesion.ANKYLOSIS:
        return replace(patient, lesions={position.side: replace(ill, ankylosis=ill.ankylosis * 0)})
    name = MAPS[position.head.lesion]
    whole = position.head.region is Region.JOINT
    banks = {
        bank: replace(getattr(ill, bank), **{name: getattr(getattr(ill, bank), name) * outside})
        if whole or getattr(ill, bank) is ill.bank(position.head.region)
        else getattr(ill, bank)
        for bank in ("ilium", "sacrum")
    }
    return replace(patient, lesions={position.side: replace(ill, **banks)})


def painted(patient, side, depth_mm):
    """Places, LPS, and what is painted there, on a plane at one depth."""
    joint = patient.pelvis.joints[side]
    x = joint.sign * np.arange(0, 90, dtype=np.float32)
    x, v = np.meshgrid(np.sort(x), V_MM[::-1])
    d, flat = np.full_like(x, depth_mm), np.zeros_like(x)
    painter = Painter(patient.pelvis, patient.lesions, SHINE, 0.9)
    image, _ = painter.paint(SamplePlane(x, d, v, flat, flat), side)
    return patient.t1.pose.to_patient(np.stack([x, d, v], axis=-1)), image


def changes(ill, well, side, depth_mm):
    """Where a plane is painted otherwise in two patients, LPS."""
    places, image = painted(ill, side, depth_mm)
    _, before = painted(well, side, depth_mm)
    return places[np.abs(image - before) > 0.05]


@pytest.mark.parametrize("position", LESIONS, ids=str)
def test_a_lesion_lies_exactly_where_it_changes_the_image(position):
    ill = patient_with(position)
    well = healed(ill, position)
    drawn = drawn_lesion(ill, position, Sequence.T1)
    changed, slices = [], []
    for offset in ill.t1.slab.offsets_mm():
        found = [changes(ill, well, position.side, offset + away) for away in (-4 / 3, 0, 4 / 3)]
        changed += found
        slices.append(sum(len(places) for places in found))
    there = np.concatenate(changed)

    too_far, _ = cKDTree(drawn.points_mm).query(there)
    not_painted, _ = cKDTree(there).query(drawn.points_mm)
    assert len(there) > 50
    assert np.percentile(too_far, 98) < 2.5
    assert np.percentile(not_painted, 95) < 1.5
    assert {number for number, count in enumerate(slices) if count > 20} <= drawn.slices
    assert drawn.slices <= {number for number, count in enumerate(slices) if count > 5}


@pytest.mark.parametrize("form", ["blob", "band"])
@pytest.mark.parametrize("position", LESIONS[:2], ids=str)
def test_blobs_and_bands_lie_where_they_change_what_is_painted(position, form):
    ill = patient_with(position, forms=(form,))
    well = healed(ill, position)
    offsets = ill.t1.slab.offsets_mm()
    there = np.concatenate([changes(ill, well, position.side, at) for at in offsets])

    drawn = drawn_lesion(ill, position, Sequence.T1)

    too_far, _ = cKDTree(drawn.points_mm).query(there)
    assert len(there) > 50
    assert np.percentile(too_far, 97) < 3


def test_where_nothing_was_drawn_there_is_no_slice_and_no_point():
    position = LESIONS[2]

    drawn = drawn_lesion(healed(patient_with(position), position), position, Sequence.STIR)

    assert not drawn.slices
    assert drawn.slices_off(3) == np.inf
    assert drawn.distance_mm(np.zeros(3)) == np.inf


def test_a_lesion_moves_with_the_patient_between_the_sequences():
    position, by = LESIONS[0], np.array([1.0, -2.0, 0.5])
    patient = patient_with(position)
    still = patient.t1
    moved = PatientPose(still.slab, Pose(still.pose.rotation, still.pose.origin_mm + by))

    t1, stir = (
        drawn_lesion(replace(patient, stir=moved), position, sequence) for sequence in Sequence
    )

    np.testing.assert_allclose(stir.points_mm, t1.points_mm + by)


def test_slices_that_count_the_other_way_hold_the_same_lesion():
    position = LESIONS[2]
    patient = patient_with(position)
    slab = patient.t1.slab
    turned = PatientPose(replace(slab, axes=slab.axes * [-1, 1, 1]), patient.t1.pose)

    t1, stir = (
        drawn_lesion(replace(patient, stir=turned), position, sequence) for sequence in Sequence
    )

    assert {slab.slices - 1 - number for number in stir.slices} == t1.slices
    np.testing.assert_array_equal(stir.points_mm, t1.points_mm)


def test_how_far_off_a_slice_and_a_place_are_is_counted_from_the_nearest():
    drawn = DrawnLesion(np.array([[0.0, 0, 0], [10, 0, 0]]), frozenset({4, 5}))

    assert [drawn.slices_off(number) for number in (2, 4, 7)] == [2, 0, 2]
    assert drawn.distance_mm(np.array([10.0, 3, 4])) == 5


def test_pointings_are_scored_for_each_lesion_and_together():
    scores = pointing_scores(
        [
            Pointing(Lesion.OEDEMA, 0, 1.0, 0.5),
            Pointing(Lesion.OEDEMA, 1, 3.0, 0.25),
            Pointing(Lesion.EROSION, np.inf, np.inf, 0.0),
        ]
    )

    assert set(scores) == {"oedema", "erosion", "all"}
    assert scores["oedema"] == {
        "pointed_at": 2,
        "slice_shows_it": 0.5,
        "any_slice_would": 0.375,
        "within_one_slice": 1.0,
        "distance_mm_p50": 1.0,
        "distance_mm_p90": 3.0,
    }
    assert scores["all"]["distance_mm_p90"] == np.inf
