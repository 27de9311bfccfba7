"""Collects stored studies with verdicts, to be exported as training cases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pydicom import Dataset

from models.case_file import Reading
from models.findings import Position, Presence
from sij_node.domain.keyed_hash import keyed_hash
from sij_node.domain.research_table import research_subject
from sij_node.domain.verdicts import JudgedSite
from sij_node.store.database import Database
from sij_node.store.job_queries import patients_of
from sij_node.store.registration import received_instances
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_checked
from sij_node.store.verdict_table import judged_sites


@dataclass(frozen=True, eq=False)
class JudgedStudy:
    """A study with verdicts, under pseudonyms.

    Parameters
    ----------
    study_uid
        For the audit trail; it is not exported.
    subject, visit
        Pseudonym of the patient, and number of the study among those of the patient here.
    readings
        One of each reader, also under a pseudonym: 1 for present, 0 for absent.
    """

    study_uid: str
    subject: str
    visit: int
    readings: tuple[Reading, ...]


def judged_studies(database: Database, key: bytes) -> Iterator[JudgedStudy]:
    """Studies with verdicts whose images are stored, by subject, the oldest visit first."""
    judged = sorted(judged_sites(database), key=lambda one: one.study_uid)
    by_study = {uid: list(group) for uid, group in groupby(judged, key=lambda one: one.study_uid)}
    patients = patients_of(database, by_study)
    visits: dict[str, int] = {}
    for uid in sorted(patients, key=lambda one: by_study[one][0].job_id):
        subject = research_subject(key, patients[uid])
        visits[subject] = visits.get(subject, 0) + 1
        yield JudgedStudy(uid, subject, visits[subject], _readings(key, by_study[uid]))


def _readings(key: bytes, judged: Sequence[JudgedSite]) -> tuple[Reading, ...]:
    """The verdicts of each reader; a later one on the same site replaces an earlier one."""
    grades: dict[str, dict[Position, int]] = {}
    for one in sorted(judged, key=lambda one: one.verdict.at):
        name = f"reader-{keyed_hash(key, 'research reader', one.verdict.reader)[:8]}"
        present = int(one.verdict.stated is Presence.PRESENT)
        grades.setdefault(name, {})[one.verdict.position] = present
    return tuple(Reading(name, 1, given) for name, given in sorted(grades.items()))


def images_of(database: Database, spool: Spool, study_uid: str) -> list[Dataset]:
    """The stored images of a study.

    Raises
    ------
    DatasetUnreadable, StoredCopyDamaged, SpoolUnavailable
    """
    return [read_checked(spool, one) for one in received_instances(database, study_uid)]
