"""Which alerts are sent, when, and how they are worded.

An alert is sent once, repeated after some hours while it is unresolved, and reported once more as
resolved. Failed jobs are collected, so that a bad night is a few messages and not a hundred.
Everything here is a pure decision; `sij_node.operate.alert_monitor` checks and sends.

Each channel has its own record of what it has sent. What could not be sent is sent with the next
message.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sij_node.domain.drift import Shift
from sij_node.domain.health import Component, Condition, HealthStatus
from sij_node.domain.time_spans import in_words

FAILED_JOBS_EVERY = timedelta(hours=1)
"""Failed jobs are reported at most this often."""
FAILED_JOBS = "failed jobs"
MAX_NAMED_JOBS = 20
SUBJECT_LENGTH = 60
"""Characters of the problem in a subject line; mailboxes show no more."""
_REPORTED = {
    Component.DATABASE: (HealthStatus.FAILED,),
    Component.SPOOL: (HealthStatus.FAILED,),
    Component.DISK: (HealthStatus.FAILED, HealthStatus.WARNING),
    Component.WORKERS: (HealthStatus.FAILED, HealthStatus.WARNING),
    Component.QUEUE: (HealthStatus.WARNING,),
    Component.DESTINATION: (HealthStatus.FAILED,),
}
"""What is worth an alert. Not the listener, which runs the alert monitor itself."""


@dataclass(frozen=True)
class ActiveAlert:
    """A problem that exists now.

    Parameters
    ----------
    key
        Identifies the problem, however its message changes.
    """

    key: str
    status: HealthStatus
    message: str
    action: str


@dataclass(frozen=True)
class ReportedAlert:
    """An alert as a channel has reported it.

    Parameters
    ----------
    sent_at
        When it was last sent.
    last_step_id
        Of failed jobs: the last step that was reported.
    """

    key: str
    status: HealthStatus
    message: str
    since: datetime
    sent_at: datetime
    last_step_id: int = 0


@dataclass(frozen=True)
class FailedJob:
    """A job that has failed.

    Parameters
    ----------
    step_id
        Step of the job's history, so that it is reported only once.
    patient_id, study_uid
        Reported only if [alerts] patient_data is set.
    """

    step_id: int
    job_id: int
    source_ae: str
    reason: str
    study_uid: str = ""
    patient_id: str = ""


class AlertKind(StrEnum):
    """Kind of a line of an alert message."""

    NEW = "New"
    UNRESOLVED = "Unresolved"
    RESOLVED = "Resolved"


@dataclass(frozen=True)
class AlertLine:
    """One line of an alert message."""

    kind: AlertKind
    status: HealthStatus
    message: str
    action: str = ""


@dataclass(frozen=True)
class AlertMessage:
    """What is sent, and what a channel has reported after that.

    Parameters
    ----------
    known
        What the channel has reported, once this message is sent.
    """

    lines: tuple[AlertLine, ...]
    known: Mapping[str, ReportedAlert]


@dataclass(frozen=True)
class WorkingHours:
    """Working days (Monday is 0) and hours of the site."""

    zone: ZoneInfo
    days: frozenset[int]
    first_hour: float
    last_hour: float


# ---- problems --------------------------------------------------------------------------------


def alerts_of(conditions: Iterable[Condition]) -> tuple[ActiveAlert, ...]:
    """The conditions of the node that are worth an alert."""
    return tuple(
        ActiveAlert(f"{one.component} {one.name}".strip(), one.status, one.message, one.action)
        for one in conditions
        if one.status in _REPORTED.get(one.component, ())
    )


def silent_sender(
    sender: str, last: datetime, now: datetime, hours: float, calendar: WorkingHours
) -> ActiveAlert | None:
    """A peer that has sent no study for this many working hours."""
    silent_s = working_s(last, now, calendar)
    if silent_s < hours * 3600:
        return None
    return ActiveAlert(
        f"silence {sender}",
        HealthStatus.WARNING,
        f"No study from {sender} for {in_words(silent_s)} of working time.",
        f"Check that {sender} still routes studies to this node, and `sij-node rejected`.",
    )


def changed_sender(sender: str, shifts: Iterable[Shift]) -> ActiveAlert | None:
    """A peer whose newest studies differ from its first."""
    beyond = [shift for shift in shifts if shift.is_beyond]
    if not beyond:
        return None
    changes = ", ".join(f"{one.figure} {one.reference:.3g}, now {one.recent:.3g}" for one in beyond)
    return ActiveAlert(
        f"drift {sender}",
        HealthStatus.WARNING,
        f"Studies from {sender} have changed: {changes}.",
        "Check for a change of scanner, protocol or weights. Compare some results with a reader.",
    )


def working_s(start: datetime, end: datetime, calendar: WorkingHours) -> float:
    """Seconds of working time between two moments."""
    day = start.astimezone(calendar.zone).date()
    last_day = end.astimezone(calendar.zone).date()
    total = 0.0
    while day <= last_day:
        if day.weekday() in calendar.days:
            midnight = datetime(day.year, day.month, day.day, tzinfo=calendar.zone)
            opens = max(_at(midnight, calendar.first_hour), start)
            closes = min(_at(midnight, calendar.last_hour), end)
            total += max(0.0, (closes - opens).total_seconds())
        day += timedelta(days=1)
    return total


def _at(midnight: datetime, hour: float) -> datetime:
    """A local time of day as a moment."""
    return (midnight + timedelta(hours=hour)).astimezone(UTC)


# ---- messages --------------------------------------------------------------------------------


def message_of(
    found: Iterable[ActiveAlert],
    known: Mapping[str, ReportedAlert],
    now: datetime,
    repeat: timedelta,
) -> AlertMessage:
    """The message that one channel has to send about the current problems.

    If the clock was set back, repetitions come later and nothing else changes.
    """
    current = {problem.key: problem for problem in found}
    lines, after = [], dict(known)
    for problem in current.values():
        kind = _kind(problem, known.get(problem.key), now, repeat)
        if kind is not None:
            lines.append(AlertLine(kind, problem.status, problem.message, problem.action))
            since = known[problem.key].since if problem.key in known else now
            after[problem.key] = ReportedAlert(
                problem.key, problem.status, problem.message, since, now
            )
    for key, reported in known.items():
        if key not in current and key != FAILED_JOBS:
            lasted = in_words(max(0.0, (now - reported.since).total_seconds()))
            message = f"{reported.message} This lasted {lasted}."
            lines.append(AlertLine(AlertKind.RESOLVED, HealthStatus.OK, message))
            del after[key]
    return AlertMessage(tuple(lines), after)


def _kind(
    problem: ActiveAlert, reported: ReportedAlert | None, now: datetime, repeat: timedelta
) -> AlertKind | None:
    order = list(HealthStatus)
    if reported is None or order.index(problem.status) > order.index(reported.status):
        return AlertKind.NEW
    return AlertKind.UNRESOLVED if now - reported.sent_at >= repeat else None


def with_failed_jobs(
    message: AlertMessage, failed: Sequence[FailedJob], now: datetime, with_patients: bool
) -> AlertMessage:
    """The message with the jobs that failed since the last report, if a report is due."""
    known = message.known.get(FAILED_JOBS)
    new = [job for job in failed if known is None or job.step_id > known.last_step_id]
    if not new or (known is not None and timedelta() <= now - known.sent_at < FAILED_JOBS_EVERY):
        return message
    reported = ReportedAlert(
        FAILED_JOBS, HealthStatus.WARNING, "", now, now, max(job.step_id for job in new)
    )
    lines = tuple(_failed_line(job, with_patients) for job in new[:MAX_NAMED_JOBS])
    if len(new) > MAX_NAMED_JOBS:
        more = f"{len(new) - MAX_NAMED_JOBS} more jobs failed."
        lines += (
            AlertLine(AlertKind.NEW, HealthStatus.WARNING, more, "See `sij-node jobs list`."),
        )
    return AlertMessage((*message.lines, *lines), {**message.known, FAILED_JOBS: reported})


def _failed_line(job: FailedJob, with_patients: bool) -> AlertLine:
    whose = f" (patient {job.patient_id}, study {job.study_uid})" if with_patients else ""
    return AlertLine(
        AlertKind.NEW,
        HealthStatus.WARNING,
        f"Job {job.job_id} from {job.source_ae}{whose} failed: {job.reason}",
        f"See `sij-node jobs show {job.job_id}`, then `sij-node jobs retry {job.job_id}`.",
    )


def subject_of(node: str, lines: Sequence[AlertLine]) -> str:
    """Subject line: the worst new problem, and the number of others."""
    order = (AlertKind.NEW, AlertKind.UNRESOLVED, AlertKind.RESOLVED)
    first = min(
        lines, key=lambda one: (order.index(one.kind), -list(HealthStatus).index(one.status))
    )
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f"[{node}] {first.kind}: {_one_line(first.message)[:SUBJECT_LENGTH]}{more}"


def text_of(node: str, lines: Sequence[AlertLine], page: str) -> str:
    """The message as plain text.

    Parameters
    ----------
    page
        URL of the node's pages.
    """
    paragraphs = [
        f"{line.kind}: {_one_line(line.message)}"
        + (f"\n    {_one_line(line.action)}" if line.action else "")
        for line in lines
    ]
    end = f"--\n{node}, {page}\nPhantom-trained weights, not for clinical use."
    return "\n\n".join([*paragraphs, end]) + "\n"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
