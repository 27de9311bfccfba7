"""Reads the findings back from a scores report that this node created earlier.

Reports come from an archive and are not trusted: incomplete reports and those of other systems
are distinguished from those that can be compared.

Source: DICOM PS3.3 C.17.2 (SR Document General); PS3.16 TID 1501.
"""

import struct
from collections.abc import Iterable
from io import BytesIO

from pydicom import dcmread

from models.burden_scores import BurdenScore
from models.findings import POSITIONS, Finding, OperatingPoint
from sij_node.dicom.headers import READING_ERRORS
from sij_node.dicom.read_back.positions import position_of
from sij_node.dicom.read_back.result_reader import Attributes, read_result
from sij_node.dicom.read_back.sr_content import Item
from sij_node.dicom.read_back.vocabulary import (
    BURDEN_LIMITS,
    BURDEN_SCORES,
    BURDENS,
    IMAGING_MEASUREMENTS,
    MEASUREMENT_GROUP,
    OPERATING_POINT,
    OPERATING_POINTS,
    PROBABILITY,
    SCORES_TITLES,
    THRESHOLD,
)
from sij_node.domain.prior_comparison import PriorScores, StudyDate
from sij_node.domain.study import InstanceReference, PatientIdentity
from sij_node.errors import PriorUnreadable, ResultsInconsistent
from sij_node.results.provenance import to_part10

MAX_BYTES = 4_000_000
"""Fifty times the size of our own reports."""
_BROKEN = (*READING_ERRORS, struct.error, LookupError, ResultsInconsistent)
"""What reading a damaged or foreign report raises."""
_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def read_prior_scores(file: bytes) -> PriorScores | None:
    """Read the scores of a report; None if it is a different kind of report.

    Parameters
    ----------
    file
        A DICOM file, uncompressed little endian.

    Raises
    ------
    PriorUnreadable
        If it is damaged, or is one of ours but incomplete.
    """
    if len(file) > MAX_BYTES:
        raise PriorUnreadable(f"A prior report of {len(file)} bytes is too large to be ours.")
    try:
        report = read_result(_in_explicit_vr(file))
        is_scores = _title(report) in SCORES_TITLES
    except _BROKEN as error:
        raise PriorUnreadable(
            f"A prior report cannot be read ({type(error).__name__}); it was ignored."
        ) from error
    if not is_scores:
        return None
    try:
        return _scores_of(report)
    except _BROKEN as error:
        if _title(report) != SCORES_TITLES[0]:
            return None  # a measurement report of another device, or ours of one series
        raise PriorUnreadable(
            f"The prior report {report.text('SOPInstanceUID')} is incomplete "
            f"({type(error).__name__}); it was ignored."
        ) from error


def _in_explicit_vr(file: bytes) -> bytes:
    """Convert to Explicit VR, as written by the node; archives may return Implicit VR."""
    if b"1.2.840.10008.1.2\0" not in file[:1024]:
        return file
    read = dcmread(BytesIO(file))
    if read.file_meta.TransferSyntaxUID not in _PLAIN:
        return file
    return to_part10(read, "")


def _title(report: Attributes) -> tuple[str, str] | None:
    return Item(report).name


def _scores_of(report: Attributes) -> PriorScores:
    groups = Item(report).only(IMAGING_MEASUREMENTS).called(MEASUREMENT_GROUP)
    findings = {finding.position: finding for finding in map(_finding, groups)}
    if len(groups) != len(POSITIONS) or len(findings) != len(POSITIONS):
        raise ResultsInconsistent(f"{len(groups)} groups report {len(findings)} positions.")
    if report.text("SpecificCharacterSet") != "ISO_IR 192":
        raise ResultsInconsistent("It is not encoded in UTF-8.")
    equipment = report.items("ContributingEquipmentSequence")
    return PriorScores(
        patient=PatientIdentity(report.text("PatientID"), report.text("IssuerOfPatientID")),
        report=_instance(report),
        studied=StudyDate.stated(report.text("StudyDate"), report.text("StudyTime")),
        written=StudyDate.stated(report.text("ContentDate"), report.text("ContentTime")),
        replaces=frozenset(replaced_reports(report)),
        networks=tuple(_name(network) for network in equipment),
        weights=frozenset(network.text("DeviceUID") for network in equipment),
        findings=tuple(findings[position] for position in POSITIONS),
        burden=read_burden(Item(report)),
    )


def read_burden(root: Item) -> tuple[BurdenScore, ...]:
    """The scores of lesion burden in a report; reports of earlier versions have none.

    Raises
    ------
    ResultsInconsistent
        If one is incomplete, or its band does not contain it.
    """
    try:
        return tuple(
            BurdenScore(
                BURDENS[one.name or ("", "")], *(one.only(limit).score for limit in BURDEN_LIMITS)
            )
            for group in root.called(BURDEN_SCORES)
            for one in group.children
        )
    except ValueError as error:
        raise ResultsInconsistent(f"A score of lesion burden is out of range: {error}") from error


def _instance(report: Attributes) -> InstanceReference:
    study, series, sop_class, instance = (
        report.text(f"{level}UID")
        for level in ("StudyInstance", "SeriesInstance", "SOPClass", "SOPInstance")
    )
    return study, series, sop_class, instance


def _finding(group: Item) -> Finding:
    percent, threshold = group.only(PROBABILITY).percent, group.only(THRESHOLD).percent
    if threshold is None:
        raise ResultsInconsistent("A threshold is missing.")
    probability = None if percent is None else percent / 100
    points = [OPERATING_POINTS[item.code] for item in group.called(OPERATING_POINT)]
    point = points[0] if points else OperatingPoint.BALANCED
    return Finding(position_of(group), probability, threshold / 100, operating_point=point)


def replaced_reports(report: Attributes) -> Iterable[str]:
    """SOP Instance UIDs of the reports that a report names as its predecessors."""
    for study in report.items("PredecessorDocumentsSequence"):
        for series in study.items("ReferencedSeriesSequence"):
            for one in series.items("ReferencedSOPSequence"):
                yield one.text("ReferencedSOPInstanceUID")


def _name(network: Attributes) -> str:
    version = network.text("SoftwareVersions").split("\\")[0]
    return f"{network.text('ManufacturerModelName')} {version}"
