"""The queue: counts by state, and one row per job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from urllib.parse import urlencode

from sij_node.config.settings import StudyConfig
from sij_node.domain.job import STEP_OF_ACTION, Job, JobAction, State, legal_steps
from sij_node.domain.job_list import JobFilter, JobOrder, JobPage
from sij_node.domain.study import StudyAttributes
from sij_node.web.view_models.display_text import STATE_MEANS, STATE_TONES, Tone, about, span

ROWS = 50
TROUBLED = (State.FAILED, State.REJECTED)
UNDER_WAY = (State.RECEIVING, State.QUEUED, State.ANALYSING, State.DELIVERING)


@dataclass(frozen=True)
class Tab:
    """A filter by state with its number of jobs; a group covers several states."""

    label: str
    means: str
    count: int
    query: str
    chosen: bool
    tone: Tone
    is_group: bool


@dataclass(frozen=True)
class JobRow:
    """One job of the list.

    Parameters
    ----------
    patient
        The pseudonym; empty once the images were cleared.
    expected
        When results can be expected; empty if not known.
    note
        The reason for its state, if there is one.
    result
        The conclusion in one line; empty if the study was not analysed.
    viewer
        URL of the study in a viewer; empty if none is configured.
    study
        Its date, description and accession number; None if not known, or cleared.
    """

    job: Job
    tone: Tone
    patient: str
    age: str
    expected: str
    note: str
    result: str
    viewer: str = ""
    study: StudyAttributes | None = None


@dataclass(frozen=True)
class QueuePage:
    """Everything that the queue page shows."""

    tabs: tuple[Tab, ...]
    state: str
    sources: tuple[str, ...]
    wanted: JobFilter
    rows: tuple[JobRow, ...]
    total: int
    page: int
    pages: int
    earlier: str
    later: str
    query: str

    @property
    def orders(self) -> Mapping[str, str]:
        """The query string of this list in each order, by the order's name."""
        return {
            order.value or "newest": query_of(replace(self.wanted, order=order))
            for order in JobOrder
        }


@dataclass(frozen=True)
class Pace:
    """How fast the queue moves.

    Parameters
    ----------
    places
        For each queued job, how many are ahead of it.
    analysis_s
        Median duration of an analysis; None before the first.
    workers
        How many are running; None if not known.
    """

    places: Mapping[int, int] = field(default_factory=dict)
    analysis_s: float | None = None
    workers: int | None = None

    @classmethod
    def of(
        cls, order: Sequence[int], seconds: Sequence[float], workers: int | None = None
    ) -> "Pace":
        """From the order of the queue and the durations of recent analyses."""
        places = {job_id: place for place, job_id in enumerate(order)}
        return cls(places, median(seconds) if seconds else None, workers)


def wanted_from(states: str, source: str, words: str, order: str = "") -> JobFilter:
    """The filter in a URL; unknown states and orders are ignored."""
    groups = {"troubled": TROUBLED, "under way": UNDER_WAY}
    known = tuple(state for state in State if state.value == states)
    listed = next((one for one in JobOrder if one.value == order), JobOrder.NEWEST)
    return JobFilter(groups.get(states, known), source[:16], words[:64], listed)


def bulk_actions(wanted: JobFilter) -> tuple[JobAction, ...]:
    """Actions for all jobs of a list: those that each of its states allows."""
    offered = (JobAction.RETRY, JobAction.CANCEL, JobAction.REDELIVER)
    states = wanted.states or tuple(State)
    return tuple(
        action
        for action in offered
        if all(STEP_OF_ACTION[action] in legal_steps(state) for state in states)
    )


def queue_page(
    wanted: JobFilter,
    page: int,
    found: JobPage,
    counts: Mapping[State, int],
    sources: Sequence[str],
    rows: Sequence[JobRow],
) -> QueuePage:
    """The queue page."""
    pages = max(1, -(-found.total // ROWS))
    page = min(page, pages)
    return QueuePage(
        tabs=tabs(wanted, counts),
        state=named(wanted.states),
        sources=tuple(sources),
        wanted=wanted,
        rows=tuple(rows),
        total=found.total,
        page=page,
        pages=pages,
        earlier=query_of(wanted, page + 1) if page < pages else "",
        later=query_of(wanted, page - 1) if page > 1 else "",
        query=query_of(wanted, page),
    )


def tabs(wanted: JobFilter, counts: Mapping[State, int]) -> tuple[Tab, ...]:
    """All jobs, those in progress, those that need attention, then each state."""
    groups = (
        ("All", "All jobs.", (), Tone.QUIET),
        ("In progress", "Not finished yet.", UNDER_WAY, Tone.BUSY),
        ("Needs attention", "Failed or rejected.", TROUBLED, Tone.BAD),
        *(
            (state.value.capitalize(), STATE_MEANS[state], (state,), STATE_TONES[state])
            for state in State
        ),
    )
    return tuple(
        Tab(
            label,
            means,
            sum(counts[state] for state in states or tuple(State)),
            query_of(replace(wanted, states=states)),
            wanted.states == states,
            tone,
            len(states) != 1,
        )
        for label, means, states, tone in groups
    )


def query_of(wanted: JobFilter, page: int = 1) -> str:
    """The query string for the same filter."""
    said = {
        "state": named(wanted.states),
        "source": wanted.source_ae,
        "find": wanted.words,
        "order": wanted.order.value,
    }
    paged = {**said, "page": str(page) if page > 1 else ""}
    return urlencode({name: value for name, value in paged.items() if value})


def named(states: Sequence[State]) -> str:
    """States as they are named in a URL."""
    groups = {TROUBLED: "troubled", UNDER_WAY: "under way"}
    return groups.get(tuple(states), states[0].value if states else "")


def job_row(
    job: Job,
    patient: str,
    now: datetime,
    pace: Pace,
    study: StudyConfig,
    result: str = "",
    viewer: str = "",
    attributes: StudyAttributes | None = None,
) -> JobRow:
    """The row of a job.

    Parameters
    ----------
    result
        The conclusion, if the study was analysed.
    """
    return JobRow(
        job=job,
        tone=STATE_TONES[job.state],
        patient=patient,
        age=span((now - job.created_at).total_seconds()),
        expected=expected(job, now, pace, study),
        note=note(job),
        result=result,
        viewer=viewer,
        study=attributes,
    )


def expected(job: Job, now: datetime, pace: Pace, study: StudyConfig) -> str:
    """When results can be expected, from the durations of recent analyses."""
    waits = f"next attempt within {job.wait_s:.0f} s"
    if job.state is State.RECEIVING:
        first_s, last_s = study.stable_age_s, study.stable_age_without_pair_s
        return f"waiting for more images ({first_s:g}–{last_s:g} s)"
    if job.state is State.DELIVERING:
        return waits if job.wait_s else "now"
    if job.state is State.ANALYSING and pace.analysis_s is not None:
        since_s = (now - job.changed_at).total_seconds()
        return about(pace.analysis_s - since_s) if since_s < pace.analysis_s else "any moment"
    if job.state is State.QUEUED:
        return waits if job.wait_s else _expected_in_queue(job, pace)
    return ""


def _expected_in_queue(job: Job, pace: Pace) -> str:
    if pace.workers == 0:
        return "once a worker is running"
    if pace.analysis_s is None or job.job_id not in pace.places:
        return ""
    turns = pace.places[job.job_id] // (pace.workers or 1) + 1
    return about(turns * pace.analysis_s)


def note(job: Job) -> str:
    """The reason for a job's state."""
    if job.reason:
        return job.reason
    return f"worker {job.leased_by}" if job.leased_by else ""
