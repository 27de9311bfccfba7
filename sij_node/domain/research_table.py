"""Scores of many studies as one table for research, without anything that identifies a patient.

Subjects and studies have pseudonyms that only this node's secret key can reproduce; they differ
from the pseudonyms on the pages. Dates of one subject are all shifted by the same number of days,
so that intervals between visits stay true.

Source: DICOM PS3.15 E.3.6, Retain Longitudinal Temporal Information with Modified Dates Option.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from models.burden_scores import BurdenName
from models.findings import POSITIONS, Finding, Position, Presence
from sij_node.domain.analysis_record import AnalysisRecord
from sij_node.domain.job_list import JobPatient
from sij_node.domain.keyed_hash import keyed_hash

_PSEUDONYM = 12
_DAYS = 365
"""Dates are shifted back by 1 to this many days."""
_CALLED = {Presence.PRESENT: "1", Presence.ABSENT: "0", Presence.UNDETERMINED: ""}


class ExportedDates(StrEnum):
    """What an export says about when a study was made."""

    SHIFTED = "shifted"
    YEAR = "year"
    NONE = "none"


@dataclass(frozen=True)
class ExportedStudies:
    """Which analysed studies are exported: those that arrived from `since` until before `until`.

    Parameters
    ----------
    source_ae
        Only from this AE title; empty for all.
    """

    since: datetime
    until: datetime
    source_ae: str = ""
    dates: ExportedDates = ExportedDates.SHIFTED


@dataclass(frozen=True)
class ResearchStudy:
    """One row: a study under its pseudonyms.

    Parameters
    ----------
    studied
        Shifted date or year; empty if unknown or not exported.
    """

    subject: str
    study: str
    studied: str
    record: AnalysisRecord


def research_subject(key: bytes, patient: JobPatient | None) -> str:
    """The pseudonym of a patient in exports; empty once the images were cleared."""
    if patient is None:
        return ""
    return keyed_hash(key, "research subject", patient.patient_id, patient.issuer)[:_PSEUDONYM]


def research_study(key: bytes, study_uid: str) -> str:
    """The pseudonym of a study in exports."""
    return keyed_hash(key, "research study", study_uid)[:_PSEUDONYM]


def exported_date(key: bytes, subject: str, study_date: str, dates: ExportedDates) -> str:
    """When a study was made, as exported.

    Parameters
    ----------
    subject
        From `research_subject`; all dates of a subject are shifted alike.
    study_date
        DICOM Study Date, YYYYMMDD; anything else counts as unknown.
    """
    found = _parsed(study_date)
    if found is None or not subject or dates is ExportedDates.NONE:
        return ""
    if dates is ExportedDates.YEAR:
        return str(found.year)
    days = 1 + int(keyed_hash(key, "research dates", subject)[:8], 16) % _DAYS
    return (found - timedelta(days=days)).isoformat()


def _parsed(study_date: str) -> date | None:
    try:
        found = datetime.strptime(study_date.strip(), "%Y%m%d").date()
    except ValueError:
        return None
    return found if found > date.min + timedelta(days=_DAYS) else None


def research_rows(studies: Sequence[ResearchStudy]) -> Iterator[Sequence[str]]:
    """The head of the table, then a row for each study.

    Each site has its probability, threshold, and 1 or 0 for called present or absent; sites that
    were not evaluable are empty. Scores of lesion burden with the limits of their 95 % bands, and
    figures of the images, follow as far as records have them.
    """
    scored = {score.name for one in studies for score in one.record.burden}
    burdens = [name for name in BurdenName if name in scored]
    scores = [f"{name.name.lower()}{end}" for name in burdens for end in ("", "_low", "_high")]
    figures = sorted({name for one in studies for name in one.record.figures})
    sites = [name for position in POSITIONS for name in _columns(position)]
    named = [f"figure_{_as_name(name)}" for name in figures]
    yield ("subject", "study", "studied", "networks", "asas_met", *sites, *scores, *named)
    for one in studies:
        record = one.record
        cells = (*_scores(record), *_burdens(record, burdens), *_figures(record, figures))
        yield (*_about(one), *cells)


def _columns(position: Position) -> Sequence[str]:
    name = _as_name(str(position))
    return f"{name}_probability", f"{name}_threshold", f"{name}_present"


def _as_name(words: str) -> str:
    return words.replace(" ", "_")


def _about(one: ResearchStudy) -> Sequence[str]:
    met, networks = one.record.asas_met, one.record.networks
    weights = "; ".join(f"{network.name} {network.version}" for network in networks)
    asas = "" if met is None else str(int(met))
    return one.subject, one.study, one.studied, weights, asas


def _scores(record: AnalysisRecord) -> list[str]:
    found = {finding.position: finding for finding in record.findings}
    return [cell for position in POSITIONS for cell in _cells(found.get(position))]


def _cells(finding: Finding | None) -> Sequence[str]:
    if finding is None:
        return "", "", ""
    probability = "" if finding.probability is None else f"{finding.probability:.4f}"
    return probability, f"{finding.threshold:.4f}", _CALLED[finding.presence]


def _burdens(record: AnalysisRecord, names: Sequence[BurdenName]) -> list[str]:
    """Value, lower and upper limit of each score; empty where the slices did not allow it."""
    found = {one.name: (one.value, one.low, one.high) for one in record.burden}
    return [str(number) for name in names for number in found.get(name, ("", "", ""))]


def _figures(record: AnalysisRecord, names: Sequence[str]) -> list[str]:
    return [f"{record.figures[name]:g}" if name in record.figures else "" for name in names]
