"""Collects the analyses of many stored studies for the research table."""

from collections.abc import Sequence

from sij_node.domain.analysis_record import NOTHING_KEPT
from sij_node.domain.job import Job
from sij_node.domain.research_table import (
    ExportedDates,
    ResearchStudy,
    exported_date,
    research_study,
    research_subject,
)
from sij_node.errors import DatasetUnreadable, SpoolUnavailable
from sij_node.store.analysis_records import record_of
from sij_node.store.database import Database
from sij_node.store.job_queries import patients_of
from sij_node.store.registration import received_instances
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_header


def research_studies(
    database: Database, spool: Spool, key: bytes, jobs: Sequence[Job], dates: ExportedDates
) -> tuple[ResearchStudy, ...]:
    """The analyses of jobs under pseudonyms, by pseudonym.

    Parameters
    ----------
    key
        The node's secret key.
    """
    patients = patients_of(database, (job.study_uid for job in jobs))
    found = []
    for job in jobs:
        subject = research_subject(key, patients.get(job.study_uid))
        studied = "" if dates is ExportedDates.NONE else _study_date(database, spool, job.study_uid)
        record = record_of(database, job.job_id) or NOTHING_KEPT
        shown = exported_date(key, subject, studied, dates)
        found.append(ResearchStudy(subject, research_study(key, job.study_uid), shown, record))
    return tuple(sorted(found, key=lambda one: (one.subject, one.studied, one.study)))


def _study_date(database: Database, spool: Spool, study_uid: str) -> str:
    """Study Date of the first stored image that can be read; empty once images were cleared."""
    for instance in received_instances(database, study_uid):
        try:
            return str(read_header(spool, instance).get("StudyDate", ""))
        except (DatasetUnreadable, SpoolUnavailable):
            continue
    return ""
