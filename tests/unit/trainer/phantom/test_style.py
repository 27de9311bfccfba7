import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.findings import POSITIONS, QUADRANTS, Head, Lesion, Position, Region, Side
from trainer.phantom.anatomy import restyled, sample_pelvis
from trainer.phantom.case import PhantomOptions, make_case, training_options
from trainer.phantom.contrast import sequence_signals
from trainer.phantom.lesion_maps import (
    D_MM,
    FRACTIONS,
    JOINT_FRACTIONS,
    V_MM,
    Quadrants,
    drawn_grades,
    place_lesions,
    sample_severity,
    share_of_zone,
)
from trainer.phantom.negatives import PLACES, other_region_slices
from trainer.phantom.scan_plan import free_flaws, free_plan, plausible_plan
from trainer.phantom.scanner import Slab, acquire, sample_texture, trace
from trainer.phantom.style import (
    BRIDGES,
    PIT_FILLINGS,
    LesionStyle,
    Shape,
    Style,
    sample_style,
)
from trainer.phantom.tissue import TISSUES, PulseSequence, pools, signal

NOTHING = dict.fromkeys(POSITIONS, 0)
T1 = PulseSequence(1.5, 600, 12)
STIR = PulseSequence(1.5, 5000, 50, 150, 100)


def whole_joint():
    """A surface of which the upper half is above, the lower below the middle."""
    inside = (np.abs(D_MM) < 20)[:, None] & (np.abs(V_MM) < 25)[None, :]
    upper = inside & (V_MM > 0)[None, :]
    return Quadrants(upper, inside & ~upper)


def joint():
    return sample_pelvis(np.random.default_rng(4)).joints[Side.LEFT]


@pytest.mark.parametrize("form", ["blob", "band"])
@pytest.mark.parametrize("grade", [1, 2, 3])
@pytest.mark.parametrize("lesion", [Lesion.OEDEMA, Lesion.FATTY_LESION])
def test_blobs_and_bands_fill_the_share_that_earns_their_grade(form, grade, lesion):
    quadrants, position = whole_joint(), Position(Side.LEFT, Head(lesion, Region.LOWER_ILIUM))
    severity = NOTHING | {position: grade}

    for seed in range(6):
        rng = np.random.default_rng(seed)
        lesions = place_lesions(rng, joint(), quadrants, severity, LesionStyle(forms=(form,)))
        bone = lesions.ilium
        start, depth = (
            (bone.oedema_start_mm, bone.oedema_mm)
            if lesion is Lesion.OEDEMA
            else (bone.fatty_start_mm, bone.fatty_mm)
        )
        low, high = FRACTIONS[grade]
        assert low - 0.03 <= share_of_zone(depth, quadrants.lower, start) <= high + 0.03
        assert drawn_grades(severity, Side.LEFT, lesions, quadrants)[position] == grade


@pytest.mark.parametrize("grade", [2, 3])
def test_a_sheet_of_sclerosis_is_of_one_depth_along_the_whole_joint(grade):
    quadrants, position = whole_joint(), Position(Side.LEFT, Head(Lesion.SCLEROSIS, Region.JOINT))
    rng, style = np.random.default_rng(3), LesionStyle(sclerosis_forms=("sheet",))

    lesions = place_lesions(rng, joint(), quadrants, NOTHING | {position: grade}, style)

    whole = quadrants.of(Region.JOINT)
    low, high = JOINT_FRACTIONS[grade]
    assert np.ptp(lesions.ilium.sclerosis_mm[whole]) == 0
    assert low <= share_of_zone(lesions.ilium.sclerosis_mm, whole) <= high
    assert not lesions.ilium.sclerosis_mm[~whole].any()


@pytest.mark.parametrize("form", BRIDGES)
@pytest.mark.parametrize(
    ("grade", "least", "most"), [(1, 0.2, 0.33), (2, 0.34, 0.66), (3, 0.67, 1)]
)
def test_bone_bridges_the_share_of_a_joint_that_its_grade_says(form, grade, least, most):
    quadrants, position = whole_joint(), Position(Side.LEFT, Head(Lesion.ANKYLOSIS, Region.JOINT))
    whole = quadrants.of(Region.JOINT)

    for seed in range(6):
        rng, style = np.random.default_rng(seed), LesionStyle(bridges=(form,))
        lesions = place_lesions(rng, joint(), quadrants, NOTHING | {position: grade}, style)
        assert least - 0.04 <= lesions.ankylosis[whole].mean() <= most + 0.04
        assert not lesions.ankylosis[~whole].any() or form == "patches"


def test_bone_between_two_heights_bridges_a_joint_from_front_to_back():
    quadrants, position = whole_joint(), Position(Side.LEFT, Head(Lesion.ANKYLOSIS, Region.JOINT))
    rng, style = np.random.default_rng(1), LesionStyle(bridges=("storey",))

    lesions = place_lesions(rng, joint(), quadrants, NOTHING | {position: 2}, style)

    inside = quadrants.of(Region.JOINT).any(axis=1)
    assert (lesions.ankylosis[inside] == lesions.ankylosis[inside][0]).all()
    assert 0 < lesions.ankylosis[inside][0].sum() < len(V_MM)


def test_an_erosion_is_filled_with_one_of_the_tissues_of_its_style():
    quadrants = whole_joint()
    position = Position(Side.LEFT, Head(Lesion.EROSION, Region.LOWER_ILIUM))
    severity, style = NOTHING | {position: 2}, LesionStyle(pit_fillings=("fluid", "cartilage"))

    filled = set()
    for seed in range(20):
        lesions = place_lesions(np.random.default_rng(seed), joint(), quadrants, severity, style)
        (number,) = np.unique(lesions.ilium.erosion_filling[quadrants.lower])
        filled.add(PIT_FILLINGS[number])

    assert filled == {"fluid", "cartilage"}


def test_what_no_slice_shows_earns_no_grade():
    empty = Quadrants(*(np.zeros((len(D_MM), len(V_MM)), bool) for _ in range(2)))
    severity = dict.fromkeys(POSITIONS, 3)
    lesions = place_lesions(np.random.default_rng(0), joint(), empty, severity)

    assert not any(drawn_grades(severity, Side.LEFT, lesions, empty).values())


def test_mechanical_oedema_is_graded_by_the_same_rule_as_any_other():
    quadrants, style = whole_joint(), LesionStyle(mechanical=True)
    drawn = 0
    for seed in range(20):
        lesions = place_lesions(np.random.default_rng(seed), joint(), quadrants, NOTHING, style)
        grades = drawn_grades(NOTHING, Side.LEFT, lesions, quadrants)
        for region in QUADRANTS:
            share = share_of_zone(lesions.bank(region).oedema_mm, quadrants.of(region))
            drawn += share > 0
            assert grades[Position(Side.LEFT, Head(Lesion.OEDEMA, region))] == int(share >= 0.04)
    assert drawn > 20


def test_balanced_patients_often_have_sclerosis_and_ankylosis():
    drawn = [sample_severity(np.random.default_rng(seed), "balanced") for seed in range(300)]

    for lesion in (Lesion.SCLEROSIS, Lesion.ANKYLOSIS):
        for side in Side:
            position = Position(side, Head(lesion, Region.JOINT))
            assert np.mean([grades[position] > 0 for grades in drawn]) > 0.2


def shining(seed, contrast):
    """What each tissue shines like on T1 and on STIR."""
    rng = np.random.default_rng(seed)
    style = Style(name="randomised", contrast=contrast, contrast_jitter=0.3)
    pelvis = sample_pelvis(rng)
    return [
        {
            tissue: abs(s.real + s.imag)
            for tissue, s in sequence_signals(rng, style, *of, pelvis).items()
        }
        for of in (("t1", T1), ("stir", STIR))
    ]


def are_in_order(on_t1, on_stir):
    return (
        on_t1["sclerosis"] < on_t1["marrow"]
        and on_stir["sclerosis"] < on_stir["marrow"] < on_stir["oedema"]
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_lesions_keep_the_order_of_their_contrasts(seed):
    on_t1, on_stir = shining(seed, "ordered")

    assert are_in_order(on_t1, on_stir)
    assert on_t1["oedema"] < on_t1["marrow"] < on_t1["fatty lesion"]
    assert on_stir["fatty lesion"] < on_stir["marrow"]


def test_lesions_keep_their_order_of_brightness_unless_marrow_is_dark():
    kept = [are_in_order(*shining(seed, "physics")) for seed in range(600)]

    assert np.mean(kept) > 0.99


def test_contrasts_without_order_are_marked_unreadable():
    assert not Style(contrast="free").lesions_readable
    assert Style(contrast="ordered").lesions_readable


@pytest.mark.parametrize("sequence", [T1, STIR])
def test_both_pools_together_are_the_signal(sequence):
    for tissue in TISSUES.values():
        both = pools(tissue, sequence)
        assert both.real + both.imag == pytest.approx(signal(tissue, sequence))


def test_only_fat_is_displaced_along_the_frequency_direction():
    rng = np.random.default_rng(0)
    slab = Slab(np.eye(3), np.zeros(3), 1, 4.0, 4.0, 128.0, 128)
    quiet = free_flaws(rng, "t1", slab)
    flaws = type(quiet)(
        (128, 128), 0.0, (0.0,) * 6, 0.0, 0.0, 0.0, 0.5, 1000, chemical_shift_px=3.0
    )
    ideal = np.zeros((1, 128, 128), np.complex64)
    ideal[0, 40, 40], ideal[0, 80, 80] = 1, 1j

    image = acquire(ideal, slab, flaws=flaws, noise_seed=1).voxels[0]

    assert np.unravel_index(image[:60].argmax(), image.shape) == (40, 40)
    assert image[80].argmax() == 83


def test_anatomical_variants_are_as_frequent_as_in_people():
    shapes = [sample_style(np.random.default_rng(s), "plausible").shape for s in range(600)]

    assert 0.12 < np.mean([any(shape.accessory_joint) for shape in shapes]) < 0.22
    assert 0.05 < np.mean([any(shape.iliosacral_complex) for shape in shapes]) < 0.13


def test_only_an_iliosacral_complex_bends_the_joint():
    pelvis = sample_pelvis(np.random.default_rng(1))
    d, v = np.meshgrid(np.arange(-30.0, 30), np.arange(-40.0, 40), indexing="ij")
    plain = pelvis.joints[Side.LEFT].distance_from_midline(d, v)
    look = Style().look

    def bent(shape):
        styled = restyled(pelvis, shape, look, np.random.default_rng(2))
        return styled.joints[Side.LEFT].distance_from_midline(d, v) - plain

    assert np.abs(bent(Shape(accessory_joint=(True, True)))).max() < 1e-6
    assert 2 < np.abs(bent(Shape(iliosacral_complex=(False, True)))).max() < 6


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_both_bones_reach_as_far_as_the_cartilage_between_them(seed):
    rng = np.random.default_rng(seed)
    style = sample_style(rng, "randomised")
    pelvis = restyled(sample_pelvis(rng), style.shape, style.look, rng)
    for one in pelvis.joints.values():
        assert one.distance_from_midline(np.zeros(1), np.array([-40.0]))[0] > 0
        assert one.cranial_end[1] + one.limb_radius_mm < min(pelvis.endplate_mm, pelvis.crest_mm)
        assert pelvis.sacrum_tip_mm is None or (
            pelvis.sacrum_tip_mm < one.caudal_end[1] - one.limb_radius_mm
        )


@pytest.mark.parametrize("place", sorted(PLACES))
def test_other_places_are_drawn_alike_in_both_sequences(place):
    slab = Slab(np.eye(3), np.zeros(3), 2, 4.0, 4.0, 240.0, 128)
    texture = sample_texture(np.random.default_rng(0))
    signals = dict.fromkeys(TISSUES, 1 + 0j)
    one, other = (
        other_region_slices(np.random.default_rng(8), place, signals, slab, texture, 2.0)
        for _ in range(2)
    )

    assert np.array_equal(one, other)
    assert np.isfinite(one).all()
    assert (place == "nothing") == (not one.any())


def test_free_plans_show_joints_and_vary_far_more_than_plausible_ones():
    free, usual = [], []
    for seed in range(16):
        pelvis = sample_pelvis(np.random.default_rng(seed))
        for found, plan in ((free, free_plan), (usual, plausible_plan)):
            view = plan(np.random.default_rng(seed), pelvis, None, None).t1
            seen = len(trace(pelvis.joints, view.slab, view.pose).contours)
            found.append((view.slab.field_of_view_mm, view.slab.slices, seen))

    assert np.ptp(free, axis=0)[0] > 2 * np.ptp(usual, axis=0)[0]
    assert {slices for _, slices, _ in usual} <= set(range(15, 25))
    assert min(slices for _, slices, _ in free) >= 10
    assert np.mean([seen > 4 for _, _, seen in free]) > 0.8


def test_a_whole_training_case_of_each_kind_can_be_drawn():
    for seed in (3, 1):
        case = make_case(seed, _small(training_options(seed)))
        assert case.t1.voxels.max() > 0
        assert case.t1.voxels.max() <= 2**16


def _small(options):
    return PhantomOptions(
        slices=3,
        matrix=160,
        disease=options.disease,
        style=options.style,
        without_joints=options.without_joints,
    )
