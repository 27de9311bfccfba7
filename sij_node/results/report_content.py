"""What a stored report says, for systems that read no DICOM.

FHIR resources, HL7 messages and plain text are rendered from the bytes of the stored, self-checked
report, so they say what the archive holds.

Source: DICOM PS3.3 C.17.2 (SR Document General), C.7.1.1 (patient), C.7.2.1 (study).
"""

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime

from models.findings import Finding
from sij_node.dicom.headers import READING_ERRORS
from sij_node.dicom.read_back.result_reader import Attributes, read_result
from sij_node.dicom.read_back.sr_content import Item
from sij_node.dicom.read_back.vocabulary import SUMMARY
from sij_node.domain.study import PatientIdentity
from sij_node.errors import PriorUnreadable, ResultsInconsistent, StoredResultDamaged
from sij_node.results.language import ENGLISH, WORDINGS, Wording
from sij_node.results.prior_report import read_prior_scores, replaced_reports

_LANGUAGE = ("DCM", "121049")
_NOT_ANALYSED = ("99SIJNODE", "sij-not-analysed")
_BROKEN = (*READING_ERRORS, struct.error, LookupError, ResultsInconsistent, PriorUnreadable)


@dataclass(frozen=True)
class ReportedPatient:
    """The patient of a report, as its images state them; never logged.

    Parameters
    ----------
    name
        The first component group: family, given, middle, prefix and suffix, separated by ``^``.
    birth_date
        YYYYMMDD, or empty.
    sex
        M, F, O, or empty.
    """

    identity: PatientIdentity = field(repr=False)
    name: str = field(repr=False)
    birth_date: str = field(repr=False)
    sex: str = field(repr=False)


@dataclass(frozen=True)
class ReportContent:
    """A report of all scores, or that a study was not analysed.

    Parameters
    ----------
    accession, studied
        Accession Number, and Study Date as YYYYMMDD; empty if unknown.
    written
        When the report was written.
    replaces
        SOP Instance UIDs of the reports that it replaces.
    summary
        The text at its top, a sentence each: conclusion, changes since the prior study, remarks.
    findings
        All 28; none if the study was not analysed.
    networks
        Names and versions of the networks.
    """

    patient: ReportedPatient
    sop_instance_uid: str
    study_uid: str
    accession: str
    studied: str
    written: datetime
    replaces: tuple[str, ...]
    summary: tuple[str, ...]
    findings: tuple[Finding, ...]
    networks: tuple[str, ...]
    wording: Wording

    @property
    def is_analysed(self) -> bool:
        """Whether it reports scores."""
        return bool(self.findings)

    @property
    def as_text(self) -> str:
        """The summary as plain text, to be pasted into a report."""
        return "\n".join(self.summary)


def read_report(file: bytes) -> ReportContent:
    """Read a stored report of scores, or one that a study was not analysed.

    Raises
    ------
    StoredResultDamaged
        If it is neither, or cannot be read.
    """
    try:
        return _content(file, read_result(file))
    except _BROKEN as error:
        raise StoredResultDamaged(
            f"The stored report cannot be read ({type(error).__name__}). Reanalyse the study."
        ) from error


def _content(file: bytes, report: Attributes) -> ReportContent:
    root = Item(report)
    scores = None if root.name == _NOT_ANALYSED else read_prior_scores(file)
    if scores is None and root.name != _NOT_ANALYSED:
        raise ResultsInconsistent("It is no report of scores.")
    return ReportContent(
        patient=ReportedPatient(
            PatientIdentity(report.text("PatientID"), report.text("IssuerOfPatientID")),
            report.text("PatientName").partition("=")[0],
            report.text("PatientBirthDate"),
            report.text("PatientSex"),
        ),
        sop_instance_uid=report.text("SOPInstanceUID"),
        study_uid=report.text("StudyInstanceUID"),
        accession=report.text("AccessionNumber"),
        studied=report.text("StudyDate"),
        written=_written(report),
        replaces=tuple(replaced_reports(report)),
        summary=tuple(line for line in root.only(SUMMARY).text.splitlines() if line.strip()),
        findings=scores.findings if scores else (),
        networks=scores.networks if scores else (),
        wording=_wording(root),
    )


def _written(report: Attributes) -> datetime:
    """Content Date and Time; the node writes them in UTC."""
    stated = report.text("ContentDate") + report.text("ContentTime").partition(".")[0]
    return datetime.strptime(stated, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _wording(root: Item) -> Wording:
    code = root.only(_LANGUAGE).code[1]
    return next((one for one in WORDINGS.values() if one.language.value == code), ENGLISH)
