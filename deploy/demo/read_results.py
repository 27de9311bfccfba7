"""Read the received results: the 28 findings of the report and the segmented regions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

TRACKING_IDENTIFIER, PROBABILITY, THRESHOLD, PRESENCE = "112039", "122157", "threshold", "121052"
SUMMARY, FINDING, MEASUREMENTS = "55112-7", "121071", "126010"
PRESENT = "Present"


@dataclass(frozen=True)
class ReportedFinding:
    """One measurement group of the report; probability in percent, None if not evaluable."""

    name: str
    probability: float | None
    threshold: float
    presence: str


def report_among(objects: list[Dataset]) -> Dataset:
    """The report of all scores among the received objects."""
    reports = (one for one in objects if one.SOPClassUID == Comprehensive3DSRStorage)
    return next(
        one for one in reports if any(_concept(item) == SUMMARY for item in one.ContentSequence)
    )


def segmentations_among(objects: list[Dataset]) -> list[Dataset]:
    """The segmentations among the received objects."""
    return [one for one in objects if one.SOPClassUID == SegmentationStorage]


def findings_of(report: Dataset) -> list[ReportedFinding]:
    """The findings of a report, in document order."""
    measurements = next(item for item in report.ContentSequence if _concept(item) == MEASUREMENTS)
    return [_finding(group) for group in measurements.ContentSequence]


def text_of(report: Dataset) -> str:
    """The report's plain text: summary and table."""
    return "\n\n".join(
        str(item.TextValue).replace("\r\n", "\n")
        for item in report.ContentSequence
        if _concept(item) in (SUMMARY, FINDING) and "TextValue" in item
    )


def masks_of(segmentation: Dataset) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Masks by source SOP Instance UID and segment label."""
    labels = {int(s.SegmentNumber): str(s.SegmentLabel) for s in segmentation.SegmentSequence}
    masks: dict[str, dict[str, NDArray[np.bool_]]] = {}
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for frame, mask in zip(groups, np.atleast_3d(segmentation.pixel_array), strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        masks.setdefault(str(source), {})[labels[number]] = mask.astype(bool)
    return masks


def _finding(group: Dataset) -> ReportedFinding:
    items = {_concept(item): item for item in group.ContentSequence}
    return ReportedFinding(
        name=str(items[TRACKING_IDENTIFIER].TextValue),
        probability=_value(items[PROBABILITY].MeasuredValueSequence),
        threshold=_value(items[THRESHOLD].MeasuredValueSequence) or 0.0,
        presence=str(items[PRESENCE].ConceptCodeSequence[0].CodeMeaning),
    )


def _value(measured: list[Dataset]) -> float | None:
    return float(measured[0].NumericValue) if measured else None


def _concept(item: Dataset) -> str:
    return (
        str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""
    )
