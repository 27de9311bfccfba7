"""The report: 28 scores a machine can read, a table a person can read, or the reason for none."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from models.findings import HEADS, POSITIONS, Lesion, OperatingPoint, Presence, Side
from sij_node import errors
from sij_node.config.profiles import Profile
from sij_node.dicom import codes
from sij_node.domain.prior_comparison import SincePrior
from sij_node.results.language import ENGLISH, GERMAN
from sij_node.results.provenance import NOT_CLINICAL, derived_uid, inputs_digest, to_part10
from sij_node.results.scores_sr import not_analysed_report, score_table, scores_report
from tests.support.mr_series import STIR_TIMES, classic_series, with_attributes
from tests.support.prior_reports import earlier
from tests.support.result_inputs import NETWORKS, burden, context, findings

VALUES = np.zeros((5, 4, 4), np.uint16)
IMAGES = [*classic_series(VALUES), *classic_series(VALUES, "1.2.3.5", **STIR_TIMES)]


def items(parent, concept):
    return [
        item
        for item in parent.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == concept.value
    ]


def groups(report):
    return items(items(report, codes.IMAGING_MEASUREMENTS)[0], codes.MEASUREMENT_GROUP)


def value(parent, concept):
    (item,) = items(parent, concept)
    if item.ValueType == "CODE":
        return item.ConceptCodeSequence[0].CodeMeaning
    return (
        item.get("TextValue")
        or item.get("UID")
        or float(item.MeasuredValueSequence[0].NumericValue)
    )


def test_every_position_can_be_read_back_with_its_probability_and_side():
    report = scores_report(findings(), IMAGES, context())

    for group, finding in zip(groups(report), findings(), strict=True):
        (site,) = items(group, codes.FINDING_SITE)
        assert value(group, codes.TRACKING_IDENTIFIER).lower() == str(finding.position)
        assert value(group, codes.PRESENCE) == codes.PRESENCES[finding.presence].meaning
        assert value(group, codes.FINDING) == codes.LESIONS[finding.position.head.lesion].meaning
        assert value(site, codes.LATERALITY).lower() == finding.position.side
        if finding.probability is not None:
            assert value(group, codes.PROBABILITY) == pytest.approx(100 * finding.probability)
        assert value(group, codes.THRESHOLD) == 50.0


def test_words_and_codes_of_the_side_agree_in_every_group():
    for group in groups(scores_report(findings(), IMAGES, context())):
        (site,) = items(group, codes.FINDING_SITE)
        side = value(site, codes.LATERALITY)
        assert value(group, codes.TRACKING_IDENTIFIER).startswith(side)
        assert value(group, codes.COMMENT).startswith(side)


def test_a_position_that_was_not_evaluable_has_a_reason_and_no_number():
    group = groups(scores_report(findings(), IMAGES, context()))[4]
    (probability,) = items(group, codes.PROBABILITY)

    assert len(probability.MeasuredValueSequence) == 0
    assert probability.NumericValueQualifierCodeSequence[0].CodeValue == codes.INDETERMINATE.value
    assert value(group, codes.PRESENCE) == "Presence Undetermined"


def test_the_table_has_a_line_for_each_head_that_names_both_sides():
    table = score_table({finding.position: finding for finding in findings()})

    assert table.count("\r\n") == len(HEADS) - 1 == table.count("\n")
    for line, head in zip(table.split("\r\n"), HEADS, strict=True):
        assert line.startswith(f"{head.lesion}, {head.region}".capitalize())
        assert " | R " in line
        assert " | L " in line
    first = table.split("\r\n")[0]
    assert "  " not in first  # HTML would make one space of several
    assert first.replace("\N{NO-BREAK SPACE}", " ").endswith(
        "R   0.0 % absent  | L  18.0 % absent  | threshold 50.0 %"
    )


def test_table_and_codes_say_the_same():
    report = scores_report(findings(), IMAGES, context())
    table = value(report, codes.FINDING).split("\r\n")

    for finding in findings():
        line = table[HEADS.index(finding.position.head)].split(" | ")
        cell = line[1 if finding.position.side is Side.RIGHT else 2]
        word = {
            Presence.PRESENT: "PRESENT",
            Presence.ABSENT: "absent",
            Presence.UNDETERMINED: "not evaluable",
        }[finding.presence]
        assert word in cell


def test_the_summary_lists_present_missing_and_intended_use():
    remark = "A T2 with fat saturation was used instead of STIR."
    summary = value(scores_report(findings(), IMAGES, context(), (remark,)), codes.SUMMARY)

    assert summary.startswith("RIGHT: oedema upper sacrum")
    assert "14 of 28 sites positive." in summary
    assert "Not evaluable: 1 of 28 sites." in summary
    assert remark in summary
    assert summary.endswith(NOT_CLINICAL)


def test_nothing_present_is_stated_in_words():
    none = [type(f)(f.position, 0.1, 0.5) for f in findings()]

    summary = value(scores_report(none, IMAGES, context()), codes.SUMMARY)

    assert summary.startswith("RIGHT: no lesions.\r\nLEFT: no lesions.\r\n")
    assert "0 of 28 sites positive." in summary


def test_every_image_that_was_used_is_named_as_evidence_once():
    report = scores_report(findings(), IMAGES, context())
    (study,) = report.CurrentRequestedProcedureEvidenceSequence

    named = [
        (series.SeriesInstanceUID, reference.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]
    assert sorted(named) == sorted((i.SeriesInstanceUID, i.SOPInstanceUID) for i in IMAGES)


def test_every_container_is_separate():
    def containers(item):
        for child in item.get("ContentSequence", ()):
            if child.ValueType == "CONTAINER":
                yield child
                yield from containers(child)

    report = scores_report(findings(), IMAGES, context())
    assert {c.ContinuityOfContent for c in (report, *containers(report))} == {"SEPARATE"}


def test_the_document_names_its_networks_by_their_weights():
    report = scores_report(findings(), IMAGES, context())

    assert [e.DeviceUID for e in report.ContributingEquipmentSequence] == [
        network.device_uid for network in NETWORKS
    ]
    assert "cd" * 32 in value(groups(report)[0], codes.ALGORITHM_PARAMETERS)
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == codes.SCHEME


def test_the_observer_changes_with_the_weights_and_the_tracking_does_not():
    report = scores_report(findings(), IMAGES, context())
    other = scores_report(findings(), IMAGES, context(NETWORKS[:1]))

    assert value(report, codes.OBSERVER_UID) != value(other, codes.OBSERVER_UID)
    assert report.SOPInstanceUID != other.SOPInstanceUID
    assert [value(g, codes.TRACKING_UID) for g in groups(report)] == [
        value(g, codes.TRACKING_UID) for g in groups(other)
    ]
    assert len({value(g, codes.TRACKING_UID) for g in groups(report)}) == len(POSITIONS)


def test_the_same_inputs_make_the_same_bytes_in_any_order():
    one = scores_report(findings(), IMAGES, context())
    again = scores_report(findings()[::-1], IMAGES[::-1], context())

    assert to_part10(one, "NODE") == to_part10(again, "NODE")


def test_the_procedure_of_the_study_is_the_procedure_reported():
    code = with_attributes(
        Dataset(), CodeValue="MRSIJ", CodingSchemeDesignator="99HOSP", CodeMeaning="MRT ISG"
    )
    images = classic_series(VALUES, ProcedureCodeSequence=[code])

    assert (
        value(scores_report(findings(), images, context()), codes.PROCEDURE_REPORTED) == "MRT ISG"
    )


def test_identity_and_request_are_copied_without_loss():
    issuer = with_attributes(Dataset(), LocalNamespaceEntityID="RIS")
    given = {
        "IssuerOfPatientID": "HOSPITAL",
        "AccessionNumber": "A77",
        "StudyID": "S9",
        "StudyDescription": "MRT ISG",
        "PatientAge": "044Y",
        "ReferringPhysicianName": "Arzt^Anna",
        "ClinicalTrialSubjectID": "T1",
    }
    images = classic_series(VALUES, IssuerOfAccessionNumberSequence=[issuer], **given)

    report = scores_report(findings(), images, context())

    assert {keyword: report[keyword].value for keyword in given} == given
    assert report.IssuerOfAccessionNumberSequence == [issuer]


def test_attributes_a_report_must_have_are_empty_where_the_images_lack_them():
    images = classic_series(VALUES, PatientBirthDate=None, StudyID=None, AccessionNumber=None)

    report = scores_report(findings(), images, context())

    assert [report[k].value for k in ("PatientBirthDate", "StudyID", "AccessionNumber")] == [""] * 3


def test_findings_that_are_not_one_for_each_position_are_refused():
    with pytest.raises(ValueError, match="28"):
        scores_report(findings()[:27], IMAGES, context())
    with pytest.raises(ValueError, match="28"):
        scores_report([*findings()[:27], findings()[0]], IMAGES, context())


def test_a_study_that_was_not_analysed_says_why_and_guesses_nothing():
    reason = "The study has no usable coronal STIR series."

    report = not_analysed_report("pair-missing", reason, IMAGES[:5], context(()))

    said = value(report, codes.SUMMARY).split("\r\n")
    assert said[1:4] == [
        "There is no usable pair of a T1 and a STIR series.",
        ENGLISH.advice["pair-missing"],
        f"Details: {reason}",
    ]
    (why,) = items(report, codes.REASON)
    assert why.ConceptCodeSequence[0].CodeValue == "pair-missing"
    assert {value(g, codes.PRESENCE) for g in groups(report)} == {"Presence Undetermined"}
    assert not any(items(g, codes.PROBABILITY) for g in groups(report))
    assert len(groups(report)) == len(POSITIONS)
    assert "ContributingEquipmentSequence" not in report


def test_a_notice_in_german_gives_the_reason_in_german():
    images, made_by = classic_series(VALUES), context((), Profile(name="ward", language="de"))
    for reason in codes.REASONS:
        report = not_analysed_report(reason, "Why.", images, made_by)
        said = items(report, codes.SUMMARY)[0].TextValue.splitlines()
        assert said == [
            GERMAN.not_analysed,
            GERMAN.reasons[reason],
            GERMAN.advice[reason],
            "Einzelheiten (englisch): Why.",
            "An Phantomen trainiert, nicht für den klinischen Gebrauch.",
        ]


def test_every_reason_of_a_rejection_has_a_meaning_of_its_own():
    def family(error):
        yield error
        for child in error.__subclasses__():
            yield from family(child)

    reasons = {e.reason_code for e in family(errors.InputRejected)} - {"input-rejected"}
    assert reasons == set(codes.REASONS)
    assert all(len(text) <= 64 for text in codes.REASONS.values())


def test_scores_and_refusals_of_one_study_have_different_uids():
    made = [
        scores_report(findings(), IMAGES, context()),
        not_analysed_report("pair-missing", "x", IMAGES, context()),
        not_analysed_report("joint-not-found", "x", IMAGES, context()),
    ]

    assert len({r.SOPInstanceUID for r in made} | {r.SeriesInstanceUID for r in made}) == 6


def test_uids_are_valid_and_follow_from_every_part():
    uid = derived_uid("a", "bc")

    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    assert uid == derived_uid("a", "bc") != derived_uid("ab", "c")


def test_the_digest_of_the_inputs_does_not_depend_on_their_order():
    used = [("1.2", "aa"), ("1.3", "bb")]

    assert inputs_digest(used) == inputs_digest(used[::-1]) != inputs_digest(used[:1])


def test_the_private_codes_fit_their_value_representations():
    written = [*codes.LESIONS.values(), codes.SCORES_TITLE, codes.THRESHOLD, codes.REASON]

    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in written)


def test_criteria_are_called_unmet_only_if_every_site_was_evaluable():
    oedema = {POSITIONS[0]: frozenset({2, 3})}

    (whole,) = ENGLISH.criteria_met(oedema, complete=True)
    (part,) = ENGLISH.criteria_met(oedema, complete=False)

    assert "Maksymowych 2021 active lesion not met" in whole
    assert "ASAS 2016 positive MRI met" in part
    assert "not met" not in part
    assert ENGLISH.criteria_met({}, complete=False) == []
    assert ENGLISH.criteria_met(None, complete=True) == []


def test_definitions_are_research_aids_in_every_language():
    for wording in (ENGLISH, GERMAN):
        (said,) = wording.criteria_met({}, complete=True)
        assert said.count(wording.not_met) == 3
    assert "keine Diagnose" in said


def burden_items(report):
    (container,) = items(report, codes.BURDEN_SCORES)
    return container.ContentSequence


def test_each_score_of_lesion_burden_has_its_band_and_range():
    report = scores_report(findings(), IMAGES, context(), burden=burden())

    for item, score in zip(burden_items(report), burden(), strict=True):
        assert item.ConceptNameCodeSequence[0].CodeValue == codes.BURDENS[score.name].value
        numbers = [
            value(item, name)
            for name in (codes.BURDEN_VALUE, codes.BURDEN_LOW, codes.BURDEN_HIGH, codes.BURDEN_MOST)
        ]
        assert numbers == [score.value, score.low, score.high, score.most]
        assert not items(item, codes.CHANGE)


def test_a_change_of_burden_is_coded_beside_the_prior_score():
    since = SincePrior(earlier(), (), False)
    report = scores_report(findings(), IMAGES, replace(context(), since=since), burden=burden())

    first, *others = burden_items(report)
    assert value(first, codes.PRIOR_BURDEN) == 30
    assert value(first, codes.CHANGE) == "Decreased beyond measurement error"
    assert {value(one, codes.CHANGE) for one in others} == {"Within measurement error"}
    changed = "SPARCC inflammation decreased (30 → 10); others within measurement error."
    assert f"Scores since then: {changed}" in value(report, codes.SUMMARY)


def test_a_score_of_other_weights_is_named_but_not_compared():
    since = SincePrior(earlier(), (), True)
    report = scores_report(findings(), IMAGES, replace(context(), since=since), burden=burden())

    first = burden_items(report)[0]
    assert value(first, codes.PRIOR_BURDEN) == 30
    assert not items(first, codes.CHANGE)
    assert "→ 10" not in value(report, codes.SUMMARY)


def test_the_summary_has_the_scores_in_one_line_marked_as_research():
    lines = value(
        scores_report(findings(), IMAGES, context(), burden=burden()), codes.SUMMARY
    ).splitlines()

    (line,) = [line for line in lines if "SPARCC" in line]
    assert line == (
        "Research scores: SPARCC inflammation 10 of 48 (7–14; depth and intensity not scored), "
        "SSS fat 11 of 40 (7–16), SSS erosion 12 of 40 (7–18)."
    )


def test_a_study_without_these_scores_has_no_word_of_them():
    report = scores_report(findings(), IMAGES, context())

    assert not items(report, codes.BURDEN_SCORES)
    assert "SPARCC" not in value(report, codes.SUMMARY)


def test_every_group_and_the_text_name_the_operating_point():
    chosen = [
        replace(one, operating_point=OperatingPoint.SPECIFIC)
        if one.position.head.lesion is Lesion.EROSION
        else one
        for one in findings()
    ]
    report = scores_report(chosen, IMAGES, context())

    for group, finding in zip(groups(report), chosen, strict=True):
        code = items(group, codes.OPERATING_POINT)[0].ConceptCodeSequence[0].CodeValue
        assert code == finding.operating_point
    assert "Operating point: balanced (erosion specific)." in value(report, codes.SUMMARY)
