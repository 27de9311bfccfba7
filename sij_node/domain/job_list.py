"""Lists of jobs: filter, page, patient, and the events that charts count."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sij_node.domain.job import Job, State, Step


class JobOrder(StrEnum):
    """Orders of a list of jobs; equal ones are listed newest first."""

    NEWEST = ""
    STUDY_DATE = "study date"
    """Newest study first."""
    DESCRIPTION = "description"
    SENDER = "sender"
    STATE = "state"
    REASON = "reason"


@dataclass(frozen=True)
class JobFilter:
    """Criteria for a list of jobs; empty ones match everything.

    Parameters
    ----------
    words
        A job number or study date, or part of a study UID, AE title, study description or reason.
    """

    states: tuple[State, ...] = ()
    source_ae: str = ""
    words: str = ""
    order: JobOrder = JobOrder.NEWEST


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
