"""Revisions: what changed names what it replaces, and what did not change is the same again."""

from dataclasses import replace

import numpy as np
from pydicom import Dataset

from sij_node.domain.job import Result
from sij_node.results.provenance import ResultContext, to_part10
from sij_node.results.revisions import Revision, in_history
from sij_node.results.scores_sr import not_analysed_report, scores_report
from tests.support.mr_series import STUDY, classic_series
from tests.support.result_inputs import NETWORKS, context, findings

IMAGES = classic_series(np.zeros((5, 4, 4), np.uint16))
OTHER = replace(context(), inputs_sha256="f" * 64)
THIRD = replace(context(), networks=NETWORKS[:1])


def given(report: Dataset, kind: str = "scores") -> Revision:
    """What the job table remembers of a report."""
    return (
        Result(
            sop_instance_uid=str(report.SOPInstanceUID),
            sop_class_uid=str(report.SOPClassUID),
            kind=kind,
            series_uid=str(report.SeriesInstanceUID),
            file_name="",
            sha256="",
            size_bytes=1,
            transfer_syntax_uid="",
        ),
    )


def scored(made_by: ResultContext, history: tuple[Revision, ...]) -> Dataset:
    return scores_report(findings(), IMAGES, in_history(made_by, STUDY, history))


def replaced_by(report: Dataset) -> list[str]:
    return [
        reference.ReferencedSOPInstanceUID
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def test_a_first_report_replaces_nothing():
    report = scored(context(), ())

    assert replaced_by(report) == []
    assert report.SeriesDescription == "SIJ lesion scores"


def test_other_inputs_make_a_report_that_names_the_one_before():
    first = scored(context(), ())
    second = scored(OTHER, (given(first),))

    assert replaced_by(second) == [first.SOPInstanceUID]
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    assert second.SeriesDescription == "SIJ lesion scores, revision 2"


def test_when_nothing_changed_the_same_bytes_are_made_again():
    first = scored(context(), ())
    second = scored(OTHER, (given(first),))
    history = (given(first), given(second))

    assert to_part10(scored(context(), history[:1]), "N") == to_part10(first, "N")
    assert to_part10(scored(OTHER, history), "N") == to_part10(second, "N")


def test_going_back_is_a_revision_of_its_own_so_that_the_newest_holds():
    first = scored(context(), ())
    second = scored(OTHER, (given(first),))
    history = (given(first), given(second))

    third = scored(context(), history)
    again = scored(context(), (*history, given(third)))

    assert third.SOPInstanceUID != first.SOPInstanceUID
    assert replaced_by(third) == [second.SOPInstanceUID]
    assert third.SeriesDescription == "SIJ lesion scores, revision 3"
    assert to_part10(again, "N") == to_part10(third, "N")


def test_a_revision_given_by_several_jobs_counts_once():
    first = scored(context(), ())
    second = scored(OTHER, (given(first),))

    third = scored(THIRD, (given(first), given(first), given(second), given(second)))

    assert replaced_by(third) == [second.SOPInstanceUID]
    assert third.SeriesDescription == "SIJ lesion scores, revision 3"


def test_the_same_analysis_after_another_history_is_another_document():
    first = scored(context(), ())

    assert scored(OTHER, (given(first),)).SOPInstanceUID != scored(OTHER, ()).SOPInstanceUID


def test_scores_replace_the_notice_that_there_were_none():
    notice = not_analysed_report("pair-missing", "No STIR.", IMAGES, context(()))
    report = scored(context(), (given(notice, "not analysed"),))

    assert replaced_by(report) == [notice.SOPInstanceUID]


def test_the_same_notice_is_made_again_and_another_reason_is_a_new_one():
    notice = not_analysed_report("pair-missing", "No STIR.", IMAGES, context(()))
    history = (given(notice, "not analysed"),)

    def again(reason_code: str) -> Dataset:
        made_by = in_history(context(()), STUDY, history, reason_code)
        return not_analysed_report(reason_code, "No STIR.", IMAGES, made_by)

    assert again("pair-missing").SOPInstanceUID == notice.SOPInstanceUID
    assert replaced_by(again("joint-not-found")) == [notice.SOPInstanceUID]


def test_a_document_replaces_only_one_of_its_own_kind():
    (result,) = given(scored(context(), ()))

    report = scored(OTHER, ((replace(result, kind="findings t1"),),))

    assert replaced_by(report) == []
