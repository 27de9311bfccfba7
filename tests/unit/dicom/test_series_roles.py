"""T1 and STIR are recognised by acquisition parameters, whatever the series description."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sij_node.dicom.acquisition_facts import acquisition_facts, series_facts
from sij_node.dicom.series_roles import SequenceRole, choose_pair, is_pair_complete, role_of
from sij_node.errors import PairMissing
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series, enhanced, oblique

PIXELS = np.zeros((5, 4, 4), np.uint16)
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


def facts(cosines=((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)), **attributes):
    return acquisition_facts(classic_series(PIXELS, cosines=cosines, **attributes)[0])


T1, STIR = facts(), facts(**STIR_TIMES)
FAT_SAT = facts(RepetitionTime=3500.0, EchoTime=70.0, ScanOptions="FS")

ROLES = [
    ("Siemens T1", {"ScanningSequence": "SE", "SequenceName": "*tse2d1_3"}, SequenceRole.T1),
    (
        "Siemens STIR",
        {**STIR_TIMES, "ScanOptions": "IR", "SequenceName": "*tir2d1_9"},
        SequenceRole.STIR,
    ),
    (
        "Siemens T2 FS",
        {"RepetitionTime": 4000, "EchoTime": 80, "ScanOptions": ["FS", "SAT1"]},
        SequenceRole.T2_FAT_SAT,
    ),
    (
        "Philips STIR named in Dutch",
        {**STIR_TIMES, "ScanningSequence": "IR", "SeriesDescription": "vetonderdrukt t1"},
        SequenceRole.STIR,
    ),
    (
        "Philips SPAIR",
        {"RepetitionTime": 3000, "EchoTime": 60, "ScanOptions": "SPAIR"},
        SequenceRole.T2_FAT_SAT,
    ),
    (
        "Philips T2 Dixon water",
        {
            "RepetitionTime": 3000,
            "EchoTime": 60,
            "ScanningSequence": "RM",
            "ImageType": ["DERIVED", "PRIMARY", "W", "W", "DERIVED"],
        },
        SequenceRole.T2_FAT_SAT,
    ),
    (
        "Philips T2 Dixon fat",
        {"RepetitionTime": 3000, "EchoTime": 60, "ImageType": ["DERIVED", "PRIMARY", "F"]},
        SequenceRole.OTHER,
    ),
    ("GE T1 with a zero TI", {"InversionTime": 0, "ScanOptions": "SK"}, SequenceRole.T1),
    (
        "GE STIR known by its TI alone",
        {"RepetitionTime": 4000, "EchoTime": 42, "InversionTime": 150},
        SequenceRole.STIR,
    ),
    (
        "GE ASPIR",
        {"RepetitionTime": 4000, "EchoTime": 66, "ScanOptions": ["FAST_GEMS", "ASPIR"]},
        SequenceRole.T2_FAT_SAT,
    ),
    (
        "Canon STIR",
        {**STIR_TIMES, "ScanningSequence": "IR", "SequenceName": "FIR"},
        SequenceRole.STIR,
    ),
    (
        "Canon FatSAT",
        {"RepetitionTime": 4000, "EchoTime": 66, "ScanOptions": "FatSAT"},
        SequenceRole.T2_FAT_SAT,
    ),
    ("T1 with fat suppression", {"ScanOptions": "FS"}, SequenceRole.OTHER),
    ("T2 without it", {"RepetitionTime": 4000, "EchoTime": 90}, SequenceRole.OTHER),
    ("FLAIR", {**STIR_TIMES, "InversionTime": 2500.0}, SequenceRole.OTHER),
    (
        "T1 gradient echo",
        {"RepetitionTime": 6, "EchoTime": 2, "ScanningSequence": "GR"},
        SequenceRole.OTHER,
    ),
    ("diffusion", {"ScanningSequence": ["EP", "SE"]}, SequenceRole.OTHER),
    ("localiser", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, SequenceRole.OTHER),
    ("localiser by name only", {"SeriesDescription": "3-plane loc"}, SequenceRole.OTHER),
    ("derived", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, SequenceRole.OTHER),
    ("phase image", {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, SequenceRole.OTHER),
    ("after contrast", {"ContrastBolusAgent": "Gadovist 7.5 ml"}, SequenceRole.OTHER),
    ("a form that says no contrast", {"ContrastBolusAgent": "NONE"}, SequenceRole.T1),
    ("knee", {"BodyPartExamined": "KNEE"}, SequenceRole.OTHER),
    ("filed under lumbar spine", {"BodyPartExamined": "LSPINE"}, SequenceRole.T1),
    ("a CT", {"Modality": "CT"}, SequenceRole.OTHER),
    ("own result", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, SequenceRole.OTHER),
    (
        "times removed, named TIRM",
        {"RepetitionTime": None, "EchoTime": None, "SeriesDescription": "tirm cor obl"},
        SequenceRole.STIR,
    ),
    (
        "times removed, named T1",
        {"RepetitionTime": None, "EchoTime": None, "SeriesDescription": "T1w ISG cor"},
        SequenceRole.T1,
    ),
    (
        "times removed, named T1 fs",
        {"RepetitionTime": None, "EchoTime": None, "SeriesDescription": "T1 fs cor"},
        SequenceRole.OTHER,
    ),
    ("times and name removed", {"RepetitionTime": None, "EchoTime": None}, SequenceRole.OTHER),
    (
        "STIR without its inversion time",
        {**STIR_TIMES, "InversionTime": None, "SeriesDescription": "STIR"},
        SequenceRole.STIR,
    ),
    ("inversion of unknown time", {**STIR_TIMES, "InversionTime": None}, SequenceRole.OTHER),
]


@pytest.mark.parametrize(("attributes", "role"), [c[1:] for c in ROLES], ids=[c[0] for c in ROLES])
def test_a_series_is_recognised_by_what_its_header_says(attributes, role):
    assert role_of(facts(**attributes)).role is role


def test_an_enhanced_image_is_recognised_by_its_functional_groups():
    found = acquisition_facts(enhanced(PIXELS))

    assert role_of(found).role is SequenceRole.STIR
    assert found.slices == acquisition_facts(enhanced(PIXELS), slices=1).slices == len(PIXELS)
    assert (found.repetition_time_ms, found.inversion_time_ms) == (4800.0, 220.0)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 60), st.floats(-15, 15))
def test_a_coronal_plane_tilted_along_the_sacrum_is_taken(tilt_deg, turn_deg):
    assert role_of(facts(cosines=oblique(tilt_deg, turn_deg))).role is SequenceRole.T1


@pytest.mark.parametrize(
    ("cosines", "word"),
    [(AXIAL, "axial"), (SAGITTAL, "sagittal"), (oblique(-50), "axial"), (oblique(63), "axial")],
    ids=["axial", "sagittal", "axial across the sacrum", "too far from coronal"],
)
def test_another_plane_is_refused_by_name(cosines, word):
    found = role_of(facts(cosines=cosines))

    assert found.role is SequenceRole.OTHER
    assert word in found.reason


def test_an_image_of_another_sop_class_is_refused_by_its_name():
    found = role_of(replace(T1, sop_class_uid="1.2.840.10008.5.1.4.1.1.7"))

    assert found.role is SequenceRole.OTHER
    assert "Secondary Capture Image" in found.reason


def test_the_side_from_which_a_plane_is_seen_does_not_matter():
    row, column = oblique(40)
    seen_from_behind = (tuple(-x for x in row), column)

    assert role_of(facts(cosines=seen_from_behind)).role is SequenceRole.T1


def test_a_header_of_nonsense_is_refused_not_guessed():
    found = role_of(facts(ImageOrientationPatient=None, RepetitionTime=None))

    assert found.role is SequenceRole.OTHER


def test_the_choice_gives_a_reason_for_every_series():
    choice = choose_pair({"1.1": T1, "1.2": STIR, "1.3": facts(cosines=AXIAL)})

    assert (choice.t1_series_uid, choice.stir_series_uid) == ("1.1", "1.2")
    assert not choice.stand_in
    assert set(choice.reasons) == {"1.1", "1.2", "1.3"}
    assert "used as STIR" in choice.reasons["1.2"]
    assert "axial" in choice.reasons["1.3"]


def test_fat_saturated_t2_is_used_only_if_there_is_no_stir():
    assert choose_pair({"1": T1, "2": FAT_SAT}).stand_in
    assert choose_pair({"1": T1, "2": FAT_SAT, "3": STIR}).stir_series_uid == "3"


def test_series_of_one_frame_of_reference_are_preferred_to_longer_ones():
    elsewhere = replace(T1, slices=30, frame_of_reference_uid="9.9")

    assert (
        choose_pair({"1": elsewhere, "2": replace(T1, slices=20), "3": STIR}).t1_series_uid == "2"
    )


@pytest.mark.parametrize(
    "better",
    [{"slices": 9}, {"pixel_spacing_mm": (0.3, 0.3)}, {"acquired": "20240102120000"}],
    ids=["more slices", "finer pixels", "acquired later"],
)
def test_the_better_of_two_candidates_is_taken_whatever_their_order(better):
    best = replace(T1, **better)

    for series in ({"1": best, "2": T1, "3": STIR}, {"3": STIR, "2": T1, "1": best}):
        assert choose_pair(series).t1_series_uid == "1"


def test_the_order_of_arrival_decides_nothing():
    images = classic_series(PIXELS, AcquisitionTime="101500")
    images[3].AcquisitionTime = "101700"

    assert series_facts(images) == series_facts(images[::-1])
    assert series_facts(images).slices == 5


@pytest.mark.parametrize(
    ("series", "missing"),
    [
        ({"1": T1}, "no usable coronal STIR series"),
        ({"2": STIR}, "no usable coronal T1 series"),
        ({}, "no usable coronal T1 and coronal STIR series"),
    ],
)
def test_a_missing_partner_is_named(series, missing):
    with pytest.raises(PairMissing, match=missing):
        choose_pair(series)


def test_a_missing_series_is_reported_with_what_was_received():
    with pytest.raises(PairMissing, match=r"1\.7: axial orientation \(90° from coronal\)"):
        choose_pair({"1": T1, "1.7": facts(cosines=AXIAL)})


def test_a_pair_is_complete_with_t1_and_stir_and_not_with_a_stand_in():
    assert is_pair_complete([T1, STIR])
    assert not is_pair_complete([T1, FAT_SAT])
    assert not is_pair_complete([T1])


def test_times_written_as_text_that_is_no_number_count_as_missing():
    image = classic_series(PIXELS)[0]
    del image.RepetitionTime
    image.add_new("RepetitionTime", "LO", "fast")

    assert acquisition_facts(image).repetition_time_ms is None


def test_a_t1_and_a_stir_differ_in_their_times_alone():
    assert replace(STIR, repetition_time_ms=T1_TIMES["RepetitionTime"]) != T1
