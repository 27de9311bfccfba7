"""The node's reports are read back as findings; other documents are rejected."""

import secrets
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from models.findings import POSITIONS
from sij_node.config.profiles import Profile
from sij_node.domain.study import PatientIdentity
from sij_node.errors import PriorUnreadable
from sij_node.results.image_findings_sr import image_findings_report
from sij_node.results.prior_report import MAX_BYTES, read_prior_scores
from sij_node.results.provenance import to_part10
from sij_node.results.scores_sr import not_analysed_report
from tests.support.job_tables import made
from tests.support.mr_series import classic_series
from tests.support.prior_reports import VALUES, earlier_burden, earlier_findings, earlier_report
from tests.support.result_inputs import NETWORKS, context
from tests.support.small_study import drawn_study


def test_a_report_reads_back_to_its_28_scores_and_their_weights():
    read = read_prior_scores(earlier_report())

    assert list(read.findings) == earlier_findings()
    assert read.burden == earlier_burden()
    assert read.weights == {network.device_uid for network in NETWORKS}
    assert read.networks == ("contour 1.4.0", "lesion 2.1.0")
    assert read.patient == PatientIdentity("4711", "HOSPITAL")
    assert read.study_uid == "1.2.9.20230301"
    assert str(read.studied) == "2023-03-01"


@pytest.mark.parametrize(
    "profile",
    [
        {"language": "de"},
        {"report_class": "comprehensive"},
        {"scores_title": "imaging measurement report"},
    ],
    ids=str,
)
def test_whatever_the_profile_the_scores_are_the_same(profile):
    made_by = context(profile=Profile(name="other", **profile))

    assert list(read_prior_scores(earlier_report(made_by=made_by)).findings) == earlier_findings()


def test_an_archive_may_have_passed_it_on_in_implicit_vr():
    read, buffer = dcmread(BytesIO(earlier_report())), BytesIO()
    read.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    read.save_as(buffer, implicit_vr=True, little_endian=True)

    assert list(read_prior_scores(buffer.getvalue()).findings) == earlier_findings()


def test_a_revision_names_what_it_replaces():
    first = earlier_report()
    before = read_prior_scores(first)
    _, series_uid, sop_class_uid, uid = before.report
    result = replace(made("scores"), sop_instance_uid=uid, sop_class_uid=sop_class_uid)
    result = replace(result, series_uid=series_uid)
    again = replace(context(), predecessors=(result,), revision=2)

    assert read_prior_scores(earlier_report(made_by=again)).replaces == {uid}


def test_reports_of_something_else_are_left_aside():
    images = classic_series(VALUES)
    notice = not_analysed_report("pair-missing", "No STIR.", images, context(()))
    study = drawn_study()
    drawn = image_findings_report(study.series[0], study.findings, context())

    assert read_prior_scores(to_part10(notice, "NODE")) is None
    assert read_prior_scores(to_part10(drawn, "NODE")) is None
    assert read_prior_scores(to_part10(images[0], "NODE")) is None


def without_a_group(report):
    del measured(report)[-1]


def a_group_twice(report):
    groups = measured(report)
    groups[-1] = groups[0]


def another_lesion(report):
    (finding,) = [i for i in measured(report)[0].ContentSequence if named(i) == "121071"]
    finding.ConceptCodeSequence[0].CodeValue = "dandruff"


def no_threshold(report):
    group = measured(report)[3]
    group.ContentSequence = [i for i in group.ContentSequence if named(i) != "threshold"]


def impossible(report):
    (number,) = [i for i in measured(report)[0].ContentSequence if named(i) == "122157"]
    number.MeasuredValueSequence[0].NumericValue = "101"


def words_for_a_number(report):
    (number,) = [i for i in measured(report)[0].ContentSequence if named(i) == "122157"]
    number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "mm"


def no_content(report):
    del report.ContentSequence


def named(item):
    return item.ConceptNameCodeSequence[0].CodeValue


def measured(report):
    return next(i for i in report.ContentSequence if named(i) == "126010").ContentSequence


@pytest.mark.parametrize(
    "change",
    [
        without_a_group,
        a_group_twice,
        another_lesion,
        no_threshold,
        impossible,
        words_for_a_number,
        no_content,
    ],
)
def test_a_report_that_is_not_whole_is_never_compared(change):
    report = dcmread(BytesIO(earlier_report()))
    change(report)

    with pytest.raises(PriorUnreadable) as error:
        read_prior_scores(to_part10(report, "NODE"))

    assert "4711" not in str(error.value)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_bytes_are_unreadable_or_read_and_nothing_else_happens(data):
    report = earlier_report()
    content = bytearray(report[: data.draw(st.integers(0, len(report)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=6)):
        if content:
            content[at] = data.draw(st.integers(0, 255))

    try:
        read = read_prior_scores(bytes(content))
    except PriorUnreadable:
        return
    assert read is None or {one.position for one in read.findings} == set(POSITIONS)


@pytest.mark.parametrize(
    "content", [b"", secrets.token_bytes(500), b"\0" * 128 + b"DICM", b"\0" * (MAX_BYTES + 1)]
)
def test_what_is_no_dicom_file_is_unreadable(content):
    with pytest.raises(PriorUnreadable):
        read_prior_scores(content)


def test_sequences_without_end_are_unreadable():
    report = earlier_report()
    beginning = report[: report.index(b"\x40\x00\x30\xa7SQ")]
    nested = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000

    with pytest.raises(PriorUnreadable):
        read_prior_scores(beginning + nested)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_report_in_the_words_of_earlier_versions_is_read_as_before(language):
    kept = Path(__file__).parent / "data" / f"scores_report_2026_11_{language}.dcm"

    read = read_prior_scores(kept.read_bytes())

    assert list(read.findings) == earlier_findings()
    assert read.burden == ()
    assert read.weights == {network.device_uid for network in NETWORKS}
    assert str(read.studied) == "2023-03-01"
