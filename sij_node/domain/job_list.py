"""Lists of jobs: which to show, whose studies they are, and the steps that charts count."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sij_node.domain.job import Job, State, Step


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; what is empty excludes none.

    Parameters
    ----------
    words
        A job's number, or part of a study UID or AE title.
    """

    states: tuple[State, ...] = ()
    source_ae: str = ""
    words: str = ""


@dataclass(frozen=True)
class JobPage:
    """Some jobs of a list, and how long the whole list is."""

    jobs: tuple[Job, ...]
    total: int


@dataclass(frozen=True)
class JobPatient:
    """Whose study it is, as the images say."""

    patient_id: str
    issuer: str


class ChartEvent(NamedTuple):
    """A step of some job, with what a chart needs of the job."""

    job_id: int
    step: Step
    to_state: State
    at: datetime
    opened_at: datetime
