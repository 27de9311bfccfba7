"""The results of a destination: exactly the objects of its profile, in order."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from models.delineation import Delineation
from sij_node.config.profiles import PRESETS, Profile, preset
from sij_node.results.build import AnalysedStudy, result_objects
from sij_node.results.provenance import to_part10
from tests.support.mr_series import STIR_TIMES, classic_series
from tests.support.result_inputs import analysed_study, context

VALUES = np.arange(5 * 16 * 12, dtype=np.uint16).reshape(5, 16, 12)
STUDY = analysed_study(classic_series(VALUES), classic_series(VALUES, "1.2.3.5", **STIR_TIMES))
KINDS = {
    "seg": ["seg t1", "seg stir"],
    "findings": ["findings t1", "findings stir"],
    "scores": ["scores"],
    "presentation": ["presentation t1", "presentation stir"],
    "summary": ["summary"],
    "pdf": ["pdf"],
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_what_it_lists_in_its_order(name):
    profile = preset(name)
    made = result_objects(STUDY, context(profile=profile))

    assert [one.kind for one in made] == [kind for each in profile.objects for kind in KINDS[each]]
    places = [profile.place_of(one.kind) for one in made]
    assert places == sorted(places)


def test_every_result_has_uids_a_series_and_a_number_of_its_own():
    made = [one.dataset for one in result_objects(STUDY, context(profile=preset("everything")))]

    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"):
        assert len({one[keyword].value for one in made}) == len(made)
    assert {one.StudyInstanceUID for one in made} == {"1.2.3"}


IDENTITIES = {
    "long": {
        "PatientName": "Ä" * 31 + "^" + "Β" * 32,
        "PatientID": "W" * 64,
        "IssuerOfPatientID": "Krankenhaus <Süd> & Nord",
        "AccessionNumber": "A" * 16,
        "StudyID": "#/\N{GREEK SMALL LETTER ALPHA} 1",
        "StudyDescription": "<b>&amp;",
    },
    "empty": {
        "PatientName": "",
        "PatientID": "",
        "AccessionNumber": "",
        "StudyID": "",
        "StudyDate": "",
        "PatientBirthDate": "",
    },
}


@pytest.mark.parametrize("identity", IDENTITIES.values(), ids=IDENTITIES)
def test_every_result_keeps_the_patient_and_the_study_of_its_images(identity):
    study = analysed_study(
        classic_series(VALUES, **identity),
        classic_series(VALUES, "1.2.3.5", **STIR_TIMES, **identity),
    )
    for one in result_objects(study, context(profile=preset("everything"))):
        read = dcmread(BytesIO(to_part10(one.dataset, "NODE")))
        assert {key: read[key].value or "" for key in identity} == identity


def test_every_result_says_what_it_is_not_for():
    for one in result_objects(STUDY, context(profile=preset("everything"))):
        said = [each.ContributionDescription for each in one.dataset.ContributingEquipmentSequence]
        assert said == ["Trained on phantoms, not for clinical use."] * 2


def test_a_series_on_which_nothing_was_seen_gets_no_object_of_its_own():
    t1, stir = STUDY.series
    blank = replace(stir, delineation=Delineation(()), regions=np.zeros_like(stir.regions))
    nowhere = [replace(finding, sight=None) for finding in STUDY.findings]
    study = AnalysedStudy((t1, blank), nowhere, ("No joint was seen on STIR.",))

    kinds = [one.kind for one in result_objects(study, context(profile=preset("everything")))]

    assert kinds == ["seg t1", "findings t1", "scores", "presentation t1", "summary", "pdf"]


def test_numbers_and_descriptions_are_those_of_the_profile():
    own = Profile(
        name="ward",
        objects=("scores", "pdf"),
        series_number=500,
        series_numbers={"pdf": 77},
        series_descriptions={"scores": "KI: ISG"},
        language="de",
        scores_title="imaging measurement report",
    )
    scores, pdf = (one.dataset for one in result_objects(STUDY, context(profile=own)))

    assert (scores.SeriesNumber, scores.SeriesDescription) == (500, "KI: ISG")
    assert (pdf.SeriesNumber, pdf.SeriesDescription) == (77, "ISG-Bericht")
    assert scores.ConceptNameCodeSequence[0].CodeValue == "126000"


def test_empty_frames_are_there_where_they_are_wanted():
    wanted = Profile(name="ward", objects=("seg",), empty_frames=True)
    t1, stir = STUDY.series
    regions = t1.regions.copy()
    regions[0] = 0
    study = replace(STUDY, series=(replace(t1, regions=regions), stir))
    few, many = (
        int(result_objects(study, context(profile=profile))[0].dataset.NumberOfFrames)
        for profile in (Profile(name="ward", objects=("seg",)), wanted)
    )

    assert (few, many) == (10 * (len(VALUES) - 1), 10 * len(VALUES))
