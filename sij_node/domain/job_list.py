"""Lists of jobs: filter, page, patient, and the events that charts count."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sij_node.domain.job import Job, State, Step


@dataclass(frozen=True)
class JobFilter:
    """Criteria for a list of jobs; empty ones match everything.

    Parameters
    ----------
    words
        A job number, or part of a study UID or AE title.
    """

    states: tuple[State, ...] = ()
    source_ae: str = ""
    words: str = ""


@dataclass(frozen=True)
class JobPage:
    """A page of a list of jobs, and the length of the whole list."""

    jobs: tuple[Job, ...]
    total: int


@dataclass(frozen=True)
class JobPatient:
    """The patient of a study, according to its images."""

    patient_id: str
    issuer: str


@dataclass(frozen=True)
class WeightsUse:
    """How many studies some weights analysed, and when first and last."""

    weights: str
    jobs: int
    first_at: datetime
    last_at: datetime


class ChartEvent(NamedTuple):
    """A step of a job, with the data that a chart needs."""

    job_id: int
    step: Step
    to_state: State
    at: datetime
    opened_at: datetime
