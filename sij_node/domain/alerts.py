"""When somebody is told that something is wrong, and in which words.

A trouble that stands is told once, again after some hours, and once more when it is over. What
happens now and then, like a job that failed, is collected, so that a bad night is a few notices
and not a hundred. Everything here is a decision; `sij_node.operate.alert_monitor` looks and sends.

Each way of telling has its own memory, and a notice counts only when it was sent. What could not
be sent is therefore told with the next one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sij_node.domain.drift import Shift
from sij_node.domain.health import Component, Condition, HealthStatus, in_words

COLLECTED = timedelta(hours=1)
"""Failed jobs are told at most this often."""
FAILED_JOBS = "failed jobs"
NAMED_AT_MOST = 20
SUBJECT_WORDS = 60
"""Characters of the words in a subject: mailboxes show no more."""
_TOLD = {
    Component.DATABASE: (HealthStatus.FAILED,),
    Component.SPOOL: (HealthStatus.FAILED,),
    Component.DISK: (HealthStatus.FAILED, HealthStatus.WARNING),
    Component.WORKERS: (HealthStatus.FAILED, HealthStatus.WARNING),
    Component.QUEUE: (HealthStatus.WARNING,),
    Component.DESTINATION: (HealthStatus.FAILED,),
}
"""What is worth waking somebody for. The listener is not here: it is who looks."""


@dataclass(frozen=True)
class ActiveAlert:
    """Something that is wrong as long as it is found.

    Parameters
    ----------
    key
        The same for the same trouble, however its words change.
    """

    key: str
    verdict: HealthStatus
    words: str
    advice: str


@dataclass(frozen=True)
class Episode:
    """A trouble as one way of telling knows it.

    Parameters
    ----------
    told_at
        When it was last told.
    mark
        Of failed jobs: the last step that was told.
    """

    key: str
    verdict: HealthStatus
    words: str
    since: datetime
    told_at: datetime
    mark: int = 0


@dataclass(frozen=True)
class FailedJob:
    """A job that was given up.

    Parameters
    ----------
    step_id
        Of the step in its history, by which it is told once.
    patient_id, study_uid
        Told only where a site has switched that on.
    """

    step_id: int
    job_id: int
    source_ae: str
    reason: str
    study_uid: str = ""
    patient_id: str = ""


class AlertKind(StrEnum):
    """What a line of a notice says."""

    NEW = "New"
    STILL = "Still"
    OVER = "Over"


@dataclass(frozen=True)
class AlertLine:
    """One line of a notice."""

    kind: AlertKind
    verdict: HealthStatus
    words: str
    advice: str = ""


@dataclass(frozen=True)
class AlertMessage:
    """What is to be told, and what has to be remembered once it was.

    Parameters
    ----------
    known
        The episodes after it was sent.
    """

    lines: tuple[AlertLine, ...]
    known: Mapping[str, Episode]


@dataclass(frozen=True)
class WorkingHours:
    """When people work. Days are counted from Monday, 0, and hours from midnight."""

    zone: ZoneInfo
    days: frozenset[int]
    first_hour: float
    last_hour: float


# ---- what is wrong ----------------------------------------------------------------------------


def troubles_of(conditions: Iterable[Condition]) -> tuple[ActiveAlert, ...]:
    """The conditions of the node that somebody has to be told of."""
    return tuple(
        ActiveAlert(f"{one.part} {one.which}".strip(), one.verdict, one.words, one.advice)
        for one in conditions
        if one.verdict in _TOLD.get(one.part, ())
    )


def silence_of(
    sender: str, last: datetime, now: datetime, hours: float, calendar: WorkingHours
) -> ActiveAlert | None:
    """A sender from which no study has come for so many working hours."""
    silent_s = working_s(last, now, calendar)
    if silent_s < hours * 3600:
        return None
    return ActiveAlert(
        f"silence {sender}",
        HealthStatus.WARNING,
        f"No study has come from {sender} for {in_words(silent_s)} of working time.",
        f"See whether {sender} still routes studies here, and `sij-node refused`.",
    )


def drift_of(sender: str, shifts: Iterable[Shift]) -> ActiveAlert | None:
    """A sender whose newest studies differ from its first."""
    beyond = [shift for shift in shifts if shift.is_beyond]
    if not beyond:
        return None
    told = ", ".join(f"{one.figure} {one.reference:.3g}, now {one.recent:.3g}" for one in beyond)
    return ActiveAlert(
        f"drift {sender}",
        HealthStatus.WARNING,
        f"Studies from {sender} are not what they used to be: {told}.",
        "Was a scanner, a protocol or the weights changed? Compare some results with a reader's.",
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
    """A time of day, on the clock on the wall, as a moment."""
    return (midnight + timedelta(hours=hour)).astimezone(UTC)


# ---- what is told -----------------------------------------------------------------------------


def notice_of(
    found: Iterable[ActiveAlert], known: Mapping[str, Episode], now: datetime, remind: timedelta
) -> AlertMessage:
    """What one way of telling has to tell of the troubles that stand.

    A clock that was set back leaves what is known as it is; reminders then come later.
    """
    standing = {trouble.key: trouble for trouble in found}
    lines, after = [], dict(known)
    for trouble in standing.values():
        kind = _kind(trouble, known.get(trouble.key), now, remind)
        if kind is not None:
            lines.append(AlertLine(kind, trouble.verdict, trouble.words, trouble.advice))
            since = known[trouble.key].since if trouble.key in known else now
            after[trouble.key] = Episode(trouble.key, trouble.verdict, trouble.words, since, now)
    for key, episode in known.items():
        if key not in standing and key != FAILED_JOBS:
            lasted = in_words(max(0.0, (now - episode.since).total_seconds()))
            lines.append(
                AlertLine(AlertKind.OVER, HealthStatus.OK, f"{episode.words} This lasted {lasted}.")
            )
            del after[key]
    return AlertMessage(tuple(lines), after)


def _kind(
    trouble: ActiveAlert, episode: Episode | None, now: datetime, remind: timedelta
) -> AlertKind | None:
    order = list(HealthStatus)
    if episode is None or order.index(trouble.verdict) > order.index(episode.verdict):
        return AlertKind.NEW
    return AlertKind.STILL if now - episode.told_at >= remind else None


def with_failed_jobs(
    notice: AlertMessage, failed: Sequence[FailedJob], now: datetime, with_patients: bool
) -> AlertMessage:
    """The notice with the jobs that have failed since the last one, if it is time to tell them."""
    known = notice.known.get(FAILED_JOBS)
    new = [job for job in failed if known is None or job.step_id > known.mark]
    if not new or (known is not None and timedelta() <= now - known.told_at < COLLECTED):
        return notice
    told = Episode(FAILED_JOBS, HealthStatus.WARNING, "", now, now, max(job.step_id for job in new))
    lines = tuple(_failed_line(job, with_patients) for job in new[:NAMED_AT_MOST])
    if len(new) > NAMED_AT_MOST:
        words = f"{len(new) - NAMED_AT_MOST} more jobs have failed."
        lines += (
            AlertLine(AlertKind.NEW, HealthStatus.WARNING, words, "See `sij-node jobs list`."),
        )
    return replace(notice, lines=(*notice.lines, *lines), known={**notice.known, FAILED_JOBS: told})


def _failed_line(job: FailedJob, with_patients: bool) -> AlertLine:
    whose = f" (patient {job.patient_id}, study {job.study_uid})" if with_patients else ""
    return AlertLine(
        AlertKind.NEW,
        HealthStatus.WARNING,
        f"Job {job.job_id} from {job.source_ae}{whose} has failed for good: {job.reason}",
        f"See `sij-node jobs show {job.job_id}`, then retry it.",
    )


def subject_of(node: str, lines: Sequence[AlertLine]) -> str:
    """One line for a mailbox: the worst of what is new, and how much more there is."""
    order = (AlertKind.NEW, AlertKind.STILL, AlertKind.OVER)
    first = min(
        lines, key=lambda one: (order.index(one.kind), -list(HealthStatus).index(one.verdict))
    )
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f"[{node}] {first.kind}: {_one_line(first.words)[:SUBJECT_WORDS]}{more}"


def text_of(node: str, lines: Sequence[AlertLine], page: str) -> str:
    """The notice as plain text.

    Parameters
    ----------
    page
        Where the node's page is.
    """
    told = [
        f"{line.kind}: {_one_line(line.words)}"
        + (f"\n    {_one_line(line.advice)}" if line.advice else "")
        for line in lines
    ]
    end = f"--\n{node}, {page}\nPhantom-trained weights, not for clinical use."
    return "\n\n".join([*told, end]) + "\n"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
