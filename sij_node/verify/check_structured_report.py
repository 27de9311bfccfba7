"""Checks a structured report: all scores, or one series' findings marked on its images."""

from collections.abc import Sequence

from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.dicom.read_back.sr_content import Item
from sij_node.dicom.read_back.vocabulary import (
    IMAGING_MEASUREMENTS,
    MEASUREMENT_GROUP,
    TRACKING_UID,
)
from sij_node.errors import ResultsInconsistent
from sij_node.verify.check_image_findings import check_image_findings, graphics
from sij_node.verify.check_scores import check_scores
from sij_node.verify.expected_results import ExpectedResults


def check_report(report: Attributes, expected: ExpectedResults) -> None:
    """Compare a structured report with the findings.

    Raises
    ------
    ResultsInconsistent
        If it differs.
    """
    root = Item(report)
    groups = root.only(IMAGING_MEASUREMENTS).called(MEASUREMENT_GROUP)
    _check_tracking(groups)
    _check_evidence(root)
    if any(list(graphics(group)) for group in groups):
        check_image_findings(report, groups, expected)
    else:
        check_scores(root, groups, expected)


def _check_tracking(groups: Sequence[Item]) -> None:
    """Check that every measurement group has a tracking UID of its own."""
    tracked = [group.only(TRACKING_UID).attributes.text("UID") for group in groups]
    if len(set(tracked)) != len(tracked):
        raise ResultsInconsistent("Two measurement groups have the same tracking UID.")


def _check_evidence(root: Item) -> None:
    """Check that every referenced object is listed as evidence (PS3.3 C.17.2)."""
    listed = {
        reference.text("ReferencedSOPInstanceUID")
        for which in ("CurrentRequestedProcedure", "PertinentOther")
        for study in root.attributes.items(f"{which}EvidenceSequence")
        for series in study.items("ReferencedSeriesSequence")
        for reference in series.items("ReferencedSOPSequence")
    }
    for item in root.descendants():
        for reference in item.attributes.items("ReferencedSOPSequence"):
            uid = reference.text("ReferencedSOPInstanceUID")
            if uid not in listed:
                raise ResultsInconsistent(f"It references {uid}, which is not listed as evidence.")
