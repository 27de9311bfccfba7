"""The pipeline for one study, with fake networks."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pydicom import Dataset

from models.analyser import Analysis, NetworkIdentity, NoJointSeen
from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Finding, Side
from models.findings import Sequence as Kind
from models.quality_limits import ImageQuality
from models.regions import REGION_LABELS
from models.volume import Volume
from sij_node.analyse import pipeline
from sij_node.analyse.pipeline import Ports, ResultRecipient, StudyResults, analyse_study
from sij_node.config.profiles import Profile
from sij_node.config.settings import PriorityRule
from sij_node.domain.analysis_record import UsedNetwork
from sij_node.domain.job import Result
from sij_node.domain.prior_comparison import Priors
from sij_node.domain.study import ReceivedInstance, Refusal
from sij_node.errors import (
    ConflictingCopies,
    GeometryUnusable,
    JointNotFound,
    MixedPatients,
    PairMissing,
    ResultsInconsistent,
)
from sij_node.queue.completeness import readiness_of
from sij_node.results.provenance import to_part10
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series
from tests.support.prior_reports import earlier

FIRST_TIME = ResultRecipient()
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
VALUES = np.arange(8 * 6 * 5, dtype=np.uint16).reshape(8, 6, 5)
NETWORKS = (NetworkIdentity("contour", "1.0", "a" * 64, "Phantoms only.", "cpu"),)
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
SUMMARY = "1.2.840.10008.5.1.4.1.1.7"
MINIMAL_KINDS = ["summary", "scores", "seg t1", "seg stir"]


def t1_series() -> list[Dataset]:
    return classic_series(VALUES, "1.2.3.1", **T1_TIMES)


def stir_series() -> list[Dataset]:
    return classic_series(VALUES, "1.2.3.2", **STIR_TIMES)


class Stored:
    """A study as it lies in the spool."""

    def __init__(self, *series: Sequence[Dataset]) -> None:
        self.datasets = {str(one.SOPInstanceUID): one for images in series for one in images}
        self.received = [received(one) for one in self.datasets.values()]

    def analysed(
        self,
        analyse=None,
        conflicts: Sequence[Refusal] = (),
        destination: ResultRecipient = FIRST_TIME,
    ) -> StudyResults:
        ports = Ports(self.read, self.read, analyse or seeing_both_joints)
        return analyse_study(self.received, conflicts, ports, destination)

    def read(self, instance: ReceivedInstance) -> Dataset:
        return self.datasets[instance.sop_instance_uid]


def received(dataset: Dataset) -> ReceivedInstance:
    return ReceivedInstance(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_uid=str(dataset.StudyInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        patient_id=str(dataset.PatientID),
        issuer_of_patient_id=str(dataset.get("IssuerOfPatientID", "")),
        source_ae="PACS",
        file_name="",
        size_bytes=1,
        sha256=str(dataset.SOPInstanceUID),
        received_at=NOON,
    )


def seeing_both_joints(t1: Volume, stir: Volume) -> Analysis:
    t1_map, stir_map = (np.zeros(volume.voxels.shape, np.uint8) for volume in (t1, stir))
    for label in REGION_LABELS.values():
        t1_map[2, label % 6, label % 5] = label
        stir_map[3, label % 6, label % 5] = label
    findings = tuple(Finding(position, 0.25, 0.5) for position in POSITIONS)
    nothing = Delineation(())
    return Analysis(nothing, nothing, t1_map, stir_map, findings, NETWORKS, {})


def seeing_oedema_on_two_slices(t1: Volume, stir: Volume) -> Analysis:
    oedema = POSITIONS[0]
    return replace(seeing_both_joints(t1, stir), slices={oedema: frozenset({2, 3})})


def seeing_nothing(t1: Volume, stir: Volume) -> Analysis:
    raise NoJointSeen("no joint")


def kinds(results: StudyResults) -> list[str]:
    return [made.kind for made in results.objects]


def reason_in(results: StudyResults) -> str:
    notice = results.objects[0]
    return str([item.TextValue for item in notice.dataset.ContentSequence if "TextValue" in item])


def test_a_study_gives_a_summary_scores_and_segmentations():
    results = Stored(t1_series(), stir_series()).analysed()

    assert kinds(results) == MINIMAL_KINDS
    assert [made.dataset.SOPClassUID for made in results.objects] == [SUMMARY, SR, SEG, SEG]
    assert results.weights == "contour 1.0"


def test_each_segmentation_refers_to_the_series_it_lies_on():
    results = Stored(t1_series(), stir_series()).analysed()

    _, _, seg_t1, seg_stir = (made.dataset for made in results.objects)
    assert seg_t1.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.1"
    assert seg_stir.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.2"


def test_published_definitions_are_marked_as_research_aids():
    results = Stored(t1_series(), stir_series()).analysed(seeing_oedema_on_two_slices)

    (scores,) = (made.dataset for made in results.objects if made.kind == "scores")
    said = str([item.TextValue for item in scores.ContentSequence if "TextValue" in item])
    assert "Research aid, not a diagnosis" in said
    assert "ASAS 2016 positive MRI met; Maksymowych 2021 active lesion not met" in said


def test_the_order_of_arrival_changes_nothing():
    forward, backward = Stored(t1_series(), stir_series()), Stored(t1_series(), stir_series())
    backward.received.reverse()

    assert [one.dataset for one in forward.analysed().objects] == [
        one.dataset for one in backward.analysed().objects
    ]


def test_other_content_gets_other_uids():
    study, changed = Stored(t1_series(), stir_series()), Stored(t1_series(), stir_series())
    changed.received[0] = replace(changed.received[0], sha256="other")

    first, second = (
        {one.dataset.SOPInstanceUID for one in each.analysed().objects} for each in (study, changed)
    )
    assert first.isdisjoint(second)


def given(results: StudyResults) -> tuple[Result, ...]:
    """What the job table remembers of results."""
    return tuple(
        Result(
            sop_instance_uid=str(made.dataset.SOPInstanceUID),
            sop_class_uid=str(made.dataset.SOPClassUID),
            kind=made.kind,
            series_uid=str(made.dataset.SeriesInstanceUID),
            file_name="",
            sha256="",
            size_bytes=1,
            transfer_syntax_uid="",
        )
        for made in results.objects
    )


def test_the_destination_decides_what_is_made_and_in_which_words():
    profile = Profile(name="ward", objects=("scores", "seg", "pdf"), language="de")
    results = Stored(t1_series(), stir_series()).analysed(destination=ResultRecipient(profile))

    assert kinds(results) == ["scores", "seg t1", "seg stir", "pdf"]
    assert results.objects[0].dataset.SeriesDescription == "ISG-Läsionsscores"


def test_an_analysis_with_nothing_new_makes_the_same_files_again():
    study = Stored(t1_series(), stir_series())
    first = study.analysed()

    again = study.analysed(destination=ResultRecipient(history=(given(first),)))

    assert [one.content for one in again.objects] == [one.content for one in first.objects]


def test_a_late_image_makes_a_revision_that_names_the_report_before():
    study = Stored(t1_series(), stir_series())
    first = study.analysed()
    study.received[0] = replace(study.received[0], sha256="other")

    second = study.analysed(destination=ResultRecipient(history=(given(first),)))

    (series,) = scores_of(second).PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    before = scores_of(first)
    assert series.SeriesInstanceUID == before.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert all(one.dataset.SeriesDescription.endswith("revision 2") for one in second.objects)


def test_scores_follow_a_notice_that_something_was_missing():
    notice = Stored(t1_series()).analysed()

    results = Stored(t1_series(), stir_series()).analysed(
        destination=ResultRecipient(history=(given(notice),))
    )

    (series,) = scores_of(results).PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == notice.objects[0].dataset.SeriesInstanceUID


@pytest.fixture
def priors() -> Priors:
    return Priors((earlier(), earlier("20190101")))


def scores_of(results: StudyResults) -> Dataset:
    (report,) = [one.dataset for one in results.objects if one.kind == "scores"]
    return report


def words_in(results: StudyResults) -> str:
    items = scores_of(results).ContentSequence
    return "\n".join(item.TextValue for item in items if "TextValue" in item)


def tracking_uids(report: Dataset) -> list[str]:
    measured = report.ContentSequence[-1].ContentSequence
    return [i.UID for group in measured for i in group.ContentSequence if i.ValueType == "UIDREF"]


def test_a_study_is_compared_with_the_newest_prior(priors: Priors):
    results = Stored(t1_series(), stir_series()).analysed(
        destination=ResultRecipient(priors=priors)
    )

    assert "Compared with the prior study of 2023-03-01." in words_in(results)
    assert "Other prior results, not compared: 2019-01-01." in words_in(results)
    assert "scored with a different model (contour 1.4.0, lesion 2.1.0)" in words_in(results)


def test_a_prior_of_another_patient_is_not_compared():
    of_another = Priors((earlier(PatientID="4712"), earlier(IssuerOfPatientID="ELSEWHERE")))
    study = Stored(t1_series(), stir_series())

    results = study.analysed(destination=ResultRecipient(priors=of_another))

    assert [o.content for o in results.objects] == [o.content for o in study.analysed().objects]


def test_a_prior_found_later_makes_exactly_one_revision(priors: Priors):
    study = Stored(t1_series(), stir_series())
    first = study.analysed()
    history = (given(first),)

    second = study.analysed(destination=ResultRecipient(history=history, priors=priors))
    third = study.analysed(
        destination=ResultRecipient(history=(*history, given(second)), priors=priors)
    )

    assert "revision 2" in scores_of(second).SeriesDescription
    assert scores_of(first).SOPInstanceUID in str(scores_of(second).PredecessorDocumentsSequence)
    assert [one.content for one in third.objects] == [one.content for one in second.objects]


def test_priors_that_could_not_be_fetched_are_reported():
    late = ResultRecipient(Profile(name="all", based_on="everything"), priors=Priors((), ("late",)))

    results = Stored(t1_series(), stir_series()).analysed(destination=late)

    said = "Prior studies unavailable: no response from the archive in time."
    assert said in words_in(results)


def test_tracking_uids_follow_the_patient_and_need_the_key():
    def of(study_uid: str, patient: str, key: str) -> list[str]:
        images = [*t1_series(), *stir_series()]
        for image in images:
            image.StudyInstanceUID, image.PatientID = study_uid, patient
        study = Stored(images)
        ports = Ports(
            study.read,
            study.read,
            seeing_both_joints,
            pseudonym=lambda patient: key and f"{key} {patient.identifier}",
        )
        return tracking_uids(scores_of(analyse_study(study.received, (), ports)))

    one = of("1.2.3", "4711", "secret")

    assert len(set(one)) == len(POSITIONS)
    assert of("1.2.4", "4711", "secret") == one
    for study_uid, patient, key in (
        ("1.2.3", "4712", "secret"),
        ("1.2.3", "4711", "another"),
        ("1.2.3", "4711", ""),
        ("1.2.3", "", "secret"),
    ):
        assert set(of(study_uid, patient, key)).isdisjoint(one)
    assert of("1.2.4", "", "secret") != of("1.2.3", "", "secret")


@pytest.mark.parametrize("missing", ["T1", "STIR"])
def test_a_missing_series_is_answered_with_the_reason(missing: str):
    study = Stored(stir_series() if missing == "T1" else t1_series())

    results = study.analysed()

    assert kinds(results) == ["not analysed", "not analysed summary"]
    assert isinstance(results.rejected, PairMissing)
    assert missing in reason_in(results)


def test_a_missing_slice_is_answered_with_the_reason():
    results = Stored([*t1_series()[:3], *t1_series()[4:]], stir_series()).analysed()

    assert isinstance(results.rejected, GeometryUnusable)
    assert "slice is probably missing" in reason_in(results)


def test_two_patients_in_one_study_are_never_analysed():
    stir = stir_series()
    for image in stir:
        image.PatientID = "another"

    results = Stored(t1_series(), stir).analysed()

    assert isinstance(results.rejected, MixedPatients)


def test_two_issuers_are_two_patients():
    stir = stir_series()
    for image in stir:
        image.IssuerOfPatientID = "ELSEWHERE"

    assert isinstance(Stored(t1_series(), stir).analysed().rejected, MixedPatients)


def texts_in_scores(results: StudyResults) -> str:
    items = scores_of(results).ContentSequence
    return str([item.TextValue for item in items if "TextValue" in item])


def test_an_issuer_on_one_series_only_is_one_patient():
    stir = stir_series()
    for image in stir:
        del image.IssuerOfPatientID

    results = Stored(t1_series(), stir).analysed()

    assert results.rejected is None
    assert {made.dataset.IssuerOfPatientID for made in results.objects} == {"HOSPITAL"}


def test_a_series_of_another_patient_that_is_not_used_does_not_count():
    axial = classic_series(VALUES, "1.2.3.4", ((1, 0, 0), (0, 1, 0)), PatientID="another")

    assert Stored(t1_series(), stir_series(), axial).analysed().rejected is None


def test_a_single_frame_image_that_counts_its_frame_is_analysed():
    t1 = t1_series()
    for image in t1:
        image.NumberOfFrames = 1

    assert Stored(t1, stir_series()).analysed().rejected is None


@pytest.mark.parametrize("padding", [bytes(2), bytes(512)], ids=["two bytes", "a block"])
def test_pixel_data_with_padding_is_analysed(padding):
    t1 = t1_series()
    for image in t1:
        image.PixelData += padding

    assert Stored(t1, stir_series()).analysed().rejected is None


@pytest.mark.parametrize("uid", ["1.2.3.1.0", "1.2.3.1.99"], ids=["first", "last"])
def test_foreign_images_in_a_series_are_excluded_and_reported(uid):
    capture, localiser = t1_series()[:2]
    capture.SOPClassUID, capture.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", uid
    localiser.SOPInstanceUID = f"{uid}.1"
    localiser.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]

    results = Stored(t1_series(), stir_series(), [capture, localiser]).analysed()

    assert results.rejected is None
    assert "other images in the same series were left out (T1)" in texts_in_scores(results)


def test_a_t1_and_a_stir_under_one_series_uid_are_split():
    stir = stir_series()
    for image in stir:
        image.SeriesInstanceUID = "1.2.3.1"

    results = Stored(t1_series(), stir).analysed()

    assert results.rejected is None
    assert kinds(results) == MINIMAL_KINDS


def test_a_native_t1_is_used_beside_one_after_contrast():
    later = classic_series(
        VALUES, "1.2.3.5", SeriesDescription="T1 POST GAD", AcquisitionTime="110000"
    )

    results = Stored(t1_series(), later, stir_series()).analysed()

    seg = next(one.dataset for one in results.objects if one.kind == "seg t1")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.1"


def test_a_t1_acquired_after_a_contrast_series_is_reported():
    enhanced_first = classic_series(
        VALUES, "1.2.3.5", SeriesDescription="T1 +KM", AcquisitionTime="090000"
    )

    results = Stored(enhanced_first, t1_series(), stir_series()).analysed()

    assert "contrast enhancement cannot be excluded (T1, STIR)" in texts_in_scores(results)


def test_a_study_with_a_conflicting_copy_is_not_analysed():
    conflict = Refusal(NOON, "PACS", "10.0.0.1", "1.2.3.1.4", "1.2.3", 0xC001, "other content")

    results = Stored(t1_series(), stir_series()).analysed(conflicts=[conflict])

    assert isinstance(results.rejected, ConflictingCopies)


def test_images_of_another_region_are_refused_by_what_the_networks_see():
    results = Stored(t1_series(), stir_series()).analysed(seeing_nothing)

    assert isinstance(results.rejected, JointNotFound)
    assert kinds(results) == ["not analysed", "not analysed summary"]


def test_objects_that_are_no_images_are_left_aside():
    study = Stored(t1_series(), stir_series())
    report = replace(study.received[0], sop_class_uid=SR, sop_instance_uid="9", series_uid="9")
    study.received.append(report)

    assert kinds(study.analysed()) == MINIMAL_KINDS


def test_a_study_without_images_gets_no_rejection_notice():
    results = analyse_study([], [], Ports(pytest.fail, pytest.fail, seeing_nothing))

    assert results.objects == ()
    assert isinstance(results.rejected, PairMissing)


def seeing_left_on_the_right(t1: Volume, stir: Volume) -> Analysis:
    contours = tuple(
        Contour(2, side, np.array([[1.0, column], [4.0, column]]), 1.0)
        for side, column in ((Side.LEFT, 0.0), (Side.RIGHT, 4.0))
    )
    return replace(seeing_both_joints(t1, stir), t1=Delineation(contours))


def test_results_that_would_be_on_the_wrong_side_are_not_given_out():
    with pytest.raises(ResultsInconsistent, match="is called left and lies"):
        Stored(t1_series(), stir_series()).analysed(seeing_left_on_the_right)


def test_a_result_that_was_changed_on_its_way_is_not_given_out(monkeypatch):
    def another_patient(dataset: Dataset, source_ae: str) -> bytes:
        dataset.PatientID = "4712"
        return to_part10(dataset, source_ae)

    monkeypatch.setattr(pipeline, "to_part10", another_patient)
    with pytest.raises(ResultsInconsistent, match="PatientID"):
        Stored(t1_series(), stir_series()).analysed()
    with pytest.raises(ResultsInconsistent, match="PatientID"):
        Stored(t1_series()).analysed()


def test_what_was_checked_is_what_is_given_out():
    results = Stored(t1_series(), stir_series()).analysed()

    assert [made.content for made in results.objects] == [
        to_part10(made.dataset, "SIJ_NODE") for made in results.objects
    ]


def test_the_record_states_every_series_role_and_why():
    axial = classic_series(VALUES, "1.2.3.9", **T1_TIMES)
    for number, series in enumerate((stir := stir_series(), t1 := t1_series(), axial), 2):
        for image in series:
            image.SeriesNumber, image.SeriesDescription = number, f"series {number}"
    for image in axial:
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]

    record = Stored(axial, t1, stir).analysed().record

    assert [(one.number, one.role, one.used) for one in record.series] == [
        ("2", "STIR", True),
        ("3", "T1", True),
        ("4", "other", False),
    ]
    assert record.series[2].reason == "not used: axial orientation (90° from coronal)"
    assert record.series[0].description == "series 2"
    assert record.series[0].images == len(stir)


def test_the_record_holds_findings_networks_and_cautions():
    record = Stored(t1_series(), stir_series()).analysed().record

    assert [finding.position for finding in record.findings] == list(POSITIONS)
    assert record.networks == (UsedNetwork("contour", "1.0", "a" * 64, "Phantoms only."),)
    assert record.remarks == ()


def test_low_confidence_is_reported_and_changes_no_score():
    def seeing_noise(t1, stir):
        noisy = ImageQuality(Kind.STIR, Side.LEFT, 0.7, 8.0, 9, 0.6, 0.9)
        good = ImageQuality(Kind.T1, Side.LEFT, 0.7, 4.4, 9, 0.1, 0.9)
        return replace(seeing_both_joints(t1, stir), quality=(good, noisy))

    study = Stored(t1_series(), stir_series())
    doubted, sure = study.analysed(seeing_noise), study.analysed()

    assert doubted.record.remarks == (
        "Low confidence: large slice spacing (STIR); image noise (STIR).",
    )
    assert doubted.record.findings == sure.record.findings
    (report,) = [made.content for made in doubted.objects if made.kind == "scores"]
    assert b"large slice spacing (STIR)" in report
    german = study.analysed(
        seeing_noise, destination=ResultRecipient(Profile(name="ward", language="de"))
    )
    assert german.record.remarks == doubted.record.remarks  # pages are in English
    assert "großer Schichtabstand (STIR)" in texts_in_scores(german)


def test_the_record_of_a_rejected_study_lists_every_series_role():
    results = Stored(t1_series()).analysed()

    (series,) = results.record.series
    assert series.role == "T1"
    assert not series.used
    assert "no series to pair it with" in series.reason
    assert results.record.findings == ()


def test_no_patient_is_named_in_a_reason():
    stir = stir_series()
    for image in stir:
        image.PatientID = "another"

    rejected = Stored(t1_series(), stir).analysed().rejected

    assert "4711" not in str(rejected)
    assert "another" not in str(rejected)


def test_a_study_is_ready_once_both_series_have_begun_to_arrive():
    both, one = Stored(t1_series()[:1], stir_series()[:1]), Stored(t1_series())

    assert readiness_of(both.received, both.read, ()).has_pair
    assert not readiness_of(one.received, one.read, ()).has_pair


def test_the_highest_priority_rule_that_applies_decides():
    images = t1_series()
    for image in images:
        image.RequestedProcedurePriority = "stat"
        image.StationName = "MR2"
    rules = (
        PriorityRule(keyword="StationName", contains="MR2", priority=6),
        PriorityRule(keyword="RequestedProcedurePriority", contains="STAT", priority=9),
        PriorityRule(keyword="StationName", contains="MR9", priority=8),
    )
    study = Stored(images)

    assert readiness_of(study.received, study.read, rules).priority == 9
    assert readiness_of(study.received, study.read, rules[2:]).priority is None
