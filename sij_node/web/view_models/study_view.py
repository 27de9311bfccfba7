"""One study: problems, actions, findings and history."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from pydicom.datadict import dictionary_description

from models.burden_scores import BurdenScore
from models.findings import HEADS, POSITIONS, Finding, Head, Position, Presence, Side
from sij_node.domain.analysis_record import AnalysisRecord, KeyPicture, SeriesUse, UsedNetwork
from sij_node.domain.job import (
    STEP_WORDS,
    Delivery,
    DeliveryState,
    Job,
    JobAction,
    JobStep,
    State,
    Step,
)
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.domain.study import CopyKind, CopyState, CopySummary
from sij_node.domain.verdicts import Decision, Verdict
from sij_node.operate.admin import JobHistory, StudyDetails
from sij_node.results.language import ENGLISH
from sij_node.results.report_text import ReportText, report_text
from sij_node.web.view_models.display_text import (
    ADVICE,
    DELIVERY_TONES,
    STATE_MEANS,
    STATE_TONES,
    STEP_TONES,
    Tone,
    count,
    moment,
    seconds_in_words,
    span,
    status_in_words,
)


@dataclass(frozen=True)
class StudyProblem:
    """A problem and the recommended action."""

    tone: Tone
    words: str
    advice: str


@dataclass(frozen=True)
class TimelineEntry:
    """One entry of the history.

    Parameters
    ----------
    after
        Time since the previous entry; empty for the first.
    """

    words: str
    tone: Tone
    at: str
    after: str
    who: str
    note: str


@dataclass(frozen=True)
class DeliveredObject:
    """One result and its delivery to a destination."""

    kind: str
    result_uid: str
    size: str
    tone: Tone
    state: str
    attempts: int
    answer: str
    at: str
    is_downloadable: bool


@dataclass(frozen=True)
class DestinationDeliveries:
    """The deliveries to one destination."""

    title: str
    tone: Tone
    summary: str
    problem: str
    objects: tuple[DeliveredObject, ...]


@dataclass(frozen=True)
class Score:
    """One of the 28 scores: a bar up to `probability`, a tick at `threshold`, both in per cent."""

    probability: float | None
    threshold: float
    said: str
    number: str
    present: bool


@dataclass(frozen=True)
class ScoreRow:
    """A lesion in a region, patient's right first."""

    name: str
    lesion: str
    right: Score
    left: Score


@dataclass(frozen=True)
class SiteVerdict:
    """One site in the form for verdicts.

    Parameters
    ----------
    called
        By the networks, in words.
    own
        What this reader stated: present, absent or undetermined.
    others
        What other readers stated.
    """

    name: str
    called: str
    own: str
    others: str


@dataclass(frozen=True)
class LesionLocation:
    """The key images of one position, in both series."""

    pictures: tuple[KeyPicture, ...]
    seen: tuple[str, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class BurdenRow:
    """A score of lesion burden, its 95 % band, and the prior one."""

    name: str
    value: str
    band: str
    before: str
    change: str


@dataclass(frozen=True)
class StudyPage:
    """Everything that the study page shows.

    Parameters
    ----------
    patient
        The pseudonym; empty once the images were cleared.
    series_settled
        Whether `series` was analysed; otherwise received so far.
    input_outcome
        Whether the images could be analysed.
    text
        The findings in full sentences, to be pasted into a report.
    others
        Other jobs of the same study.
    copies
        Images received again that await a decision.
    """

    job: Job
    tone: Tone
    means: str
    patient: str
    age: str
    expected: str
    problems: tuple[StudyProblem, ...]
    actions: tuple[JobAction, ...]
    weights: tuple[str, ...]
    series: tuple[SeriesUse, ...]
    series_settled: bool
    input_outcome: str
    remarks: tuple[str, ...]
    findings: tuple[Finding, ...]
    scores: tuple[ScoreRow, ...]
    in_short: str
    text: ReportText
    burden: tuple[BurdenRow, ...]
    thresholds: str
    places: tuple[LesionLocation, ...]
    networks: tuple[UsedNetwork, ...]
    destinations: tuple[DestinationDeliveries, ...]
    timeline: tuple[TimelineEntry, ...]
    others: tuple[Job, ...]
    copies: tuple[CopySummary, ...] = ()
    verdicts: tuple[SiteVerdict, ...] = ()
    verdicts_in_short: str = ""

    @property
    def is_sent(self) -> bool:
        """Whether every destination acknowledged all results."""
        return all(one.tone is Tone.GOOD for one in self.destinations)

    @property
    def is_over(self) -> bool:
        """Whether the job changes no more without a user."""
        moving = (State.RECEIVING, State.QUEUED, State.ANALYSING, State.DELIVERING)
        pending = any(one.tone is Tone.BUSY for one in self.destinations)
        return self.job.state not in moving and not pending


def study_page(
    details: StudyDetails,
    *,
    expected: str,
    weights: Sequence[str],
    now: datetime,
    reader: str = "",
) -> StudyPage:
    """The page of a study.

    Parameters
    ----------
    weights
        Names of the [[weights]] that it can be reanalysed with.
    reader
        Whose verdicts the form shows.
    """
    history = details.history
    job = history.job
    kept = details.record or AnalysisRecord()
    scores = score_rows(kept.findings)
    return StudyPage(
        job=job,
        tone=STATE_TONES[job.state],
        means=STATE_MEANS[job.state],
        patient=details.pseudonym,
        age=span((now - job.created_at).total_seconds()),
        expected=expected,
        problems=tuple(problems(history)),
        actions=history.actions,
        weights=tuple(weights),
        series=kept.series or details.series,
        series_settled=bool(kept.series),
        input_outcome=input_outcome(job, kept),
        remarks=kept.remarks,
        findings=kept.findings,
        scores=scores,
        in_short=in_short(kept.findings),
        text=report_text(kept, ENGLISH),
        burden=tuple(burden_row(one, kept.prior) for one in kept.burden),
        thresholds=" ".join(ENGLISH.chosen_thresholds(kept.findings)),
        places=places(kept.pictures),
        networks=kept.networks,
        destinations=destinations(history.deliveries),
        timeline=timeline(history.steps),
        copies=history.copies,
        verdicts=site_verdicts(kept.findings, details.verdicts, reader),
        verdicts_in_short=verdicts_in_short(details.verdicts),
        others=tuple(other for other in details.same_study if other.job_id != job.job_id),
    )


# ---- problems -----------------------------------------------------------------------------------


def problems(history: JobHistory) -> Iterable[StudyProblem]:
    """Problems, most important first."""
    job = history.job
    if job.reason:
        yield StudyProblem(_problem_tone(job), job.reason, _advice(job))
    if history.standstill:
        yield StudyProblem(Tone.WARN, _sentence(history.standstill), _standstill_advice(job))
    if history.conflicts:
        first = history.conflicts[0]
        yield StudyProblem(
            Tone.WARN,
            f"{count(len(history.conflicts), 'instance')} received twice with different content, "
            f"for example {first.sop_instance_uid}.",
            "Find out at the sending system which copy is correct, then accept or discard the "
            "second copies below. Results sent before remain valid until then.",
        )
    if history.missing and JobAction.REDELIVER in history.actions:
        yield StudyProblem(
            Tone.QUIET,
            f"Not made: {', '.join(history.missing)}, which recipients of studies from "
            f"{job.source_ae} get by now.",
            "Resend results makes and sends them too.",
        )
    corrected = [one for one in history.copies if one.kind is CopyKind.CORRECTION]
    if corrected:
        yield StudyProblem(Tone.WARN, _corrected(corrected), _correction_advice(corrected))


def _corrected(copies: Sequence[CopySummary]) -> str:
    differs = sorted({keyword for one in copies for keyword in one.differs})
    names = ", ".join(dictionary_description(keyword) for keyword in differs)
    return f"{count(len(copies), 'image')} received again with corrected {names}."


def _correction_advice(copies: Sequence[CopySummary]) -> str:
    if any(one.state is CopyState.HELD for one in copies):
        return (
            "This would undo an earlier correction. Check patient and study in the archive, then "
            "accept or discard the copies below."
        )
    return (
        "Applied automatically once every image of the study has been received again, unless "
        "[study] corrections is hold. You can accept or discard the copies below now."
    )


def _problem_tone(job: Job) -> Tone:
    return Tone.BAD if job.state is State.FAILED else Tone.WARN


def _advice(job: Job) -> str:
    if job.state in (State.QUEUED, State.ANALYSING, State.DELIVERING):
        return "The node retries automatically. No action is needed unless this persists."
    if job.state is State.CANCELLED:
        return ""
    if job.state is State.FAILED and job.weights and job.error_family == "TemporarilyUnavailable":
        return (
            "The analysis succeeded; only the delivery failed. Check the destination's response "
            "below, correct the cause, then resend the results."
        )
    return ADVICE.get(job.error_family, "")


def _standstill_advice(job: Job) -> str:
    return "Use the actions below to send or retry now." if job.wait_s else ""


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def input_outcome(job: Job, record: AnalysisRecord) -> str:
    """Whether the images could be analysed."""
    if job.state is State.REJECTED or job.error_family == "InputRejected":
        return "Not analysed. A report with the reason was sent to the archive."
    if record.findings:
        unknown = sum(one.presence is Presence.UNDETERMINED for one in record.findings)
        checked = "All images usable."
        return (
            f"{checked} {unknown} of {len(record.findings)} sites could not be evaluated."
            if unknown
            else f"{checked} All {len(record.findings)} sites evaluated."
        )
    return "Not analysed." if job.state in (State.CANCELLED, State.FAILED) else "Not analysed yet."


# ---- lesion burden ---------------------------------------------------------------------------


def burden_row(score: BurdenScore, prior: ComparedPrior | None) -> BurdenRow:
    """A score of lesion burden, and what became of the prior one."""
    before = prior.burden_before(score.name) if prior else None
    change = prior.burden_change(score) if prior else None
    return BurdenRow(
        score.name,
        f"{score.value} of {score.most}",
        f"{score.low}–{score.high}",
        str(before.value) if before else "",
        str(change or ("other weights" if before else "")),
    )


# ---- findings ----------------------------------------------------------------------------------


def score_rows(findings: Sequence[Finding]) -> tuple[ScoreRow, ...]:
    """One row per score and region; none if nothing was analysed."""
    by_position = {finding.position: finding for finding in findings}
    return tuple(
        ScoreRow(
            ENGLISH.head(head),
            head.lesion.value,
            score(by_position[Position(Side.RIGHT, head)]),
            score(by_position[Position(Side.LEFT, head)]),
        )
        for head in HEADS
        if _both_known(head, by_position)
    )


def _both_known(head: Head, findings: Mapping[Position, Finding]) -> bool:
    return all(Position(side, head) in findings for side in Side)


def score(finding: Finding) -> Score:
    """One cell of the table of scores."""
    known = finding.probability is not None
    return Score(
        probability=100 * finding.probability if finding.probability is not None else None,
        threshold=100 * finding.threshold,
        said=ENGLISH.presence(finding),
        number=ENGLISH.percent(finding.probability) if finding.probability is not None else "",
        present=known and finding.presence is Presence.PRESENT,
    )


def site_verdicts(
    findings: Sequence[Finding], verdicts: Iterable[Verdict], reader: str
) -> tuple[SiteVerdict, ...]:
    """All sites in the order of `models.findings.POSITIONS`; none if nothing was analysed."""
    called = {
        one.position: one.presence if one.probability is not None else ENGLISH.not_evaluable
        for one in findings
    }
    given = {(one.position, one.reader): one.stated for one in verdicts}
    if not all(position in called for position in POSITIONS):
        return ()
    return tuple(
        SiteVerdict(
            ENGLISH.position(position),
            called[position],
            given.get((position, reader), Presence.UNDETERMINED),
            "; ".join(
                f"{who}: {stated}"
                for (site, who), stated in given.items()
                if site == position and who != reader
            ),
        )
        for position in POSITIONS
    )


def verdicts_in_short(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts there are, and how many reject or correct the call."""
    if not verdicts:
        return "none yet"
    accepted = sum(one.decision is Decision.ACCEPTED for one in verdicts)
    readers = len({one.reader for one in verdicts})
    return f"{accepted} of {count(len(verdicts), 'call')} accepted, by {count(readers, 'reader')}"


def in_short(findings: Sequence[Finding]) -> str:
    """The number of positive sites."""
    if not findings:
        return ""
    present = sum(one.presence is Presence.PRESENT for one in findings)
    return f"{present} of {len(findings)} sites positive."


def places(pictures: Iterable[KeyPicture]) -> tuple[LesionLocation, ...]:
    """The key images by position, anterior to posterior."""
    ordered = sorted(pictures, key=lambda one: one.place)
    grouped = ([*group] for _, group in groupby(ordered, key=lambda one: one.place))
    return tuple(
        LesionLocation(tuple(sorted(group, key=_t1_first)), group[0].seen, group[0].labels)
        for group in grouped
    )


def _t1_first(picture: KeyPicture) -> bool:
    return picture.sequence != "T1"


# ---- delivery ----------------------------------------------------------------------------------


def destinations(deliveries: Iterable[Delivery]) -> tuple[DestinationDeliveries, ...]:
    """The deliveries by destination, those with problems first."""
    by_title: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        by_title.setdefault(delivery.destination, []).append(delivery)
    found = [_destination(title, mine) for title, mine in sorted(by_title.items())]
    return tuple(sorted(found, key=lambda one: one.tone is Tone.GOOD))


def _destination(title: str, deliveries: Sequence[Delivery]) -> DestinationDeliveries:
    open_ones = [one for one in deliveries if one.state is not DeliveryState.ACKNOWLEDGED]
    tone = DELIVERY_TONES[open_ones[0].state] if open_ones else Tone.GOOD
    complaints = (_complaint(one) for one in open_ones if one.attempts)
    return DestinationDeliveries(
        title=title,
        tone=tone,
        summary=_summary(deliveries),
        problem=next(filter(None, complaints), ""),
        objects=tuple(_delivered_object(one) for one in deliveries),
    )


def _summary(deliveries: Sequence[Delivery]) -> str:
    acknowledged = sum(one.state is DeliveryState.ACKNOWLEDGED for one in deliveries)
    confirmed = sum(one.committed_at is not None for one in deliveries)
    summary = f"{acknowledged} of {len(deliveries)} acknowledged"
    return f"{summary}, {confirmed} confirmed" if confirmed else summary


def _complaint(delivery: Delivery) -> str:
    said = delivery.note or status_in_words(delivery.status)
    return f"{delivery.result.kind} not delivered to {delivery.destination}: {said}"


def _delivered_object(delivery: Delivery) -> DeliveredObject:
    answered = delivery.attempts > 0 or delivery.acknowledged_at is not None
    return DeliveredObject(
        kind=delivery.result.kind,
        result_uid=delivery.result.sop_instance_uid,
        size=f"{delivery.result.size_bytes / 1000:.0f} kB",
        tone=DELIVERY_TONES[delivery.state],
        state="confirmed" if delivery.committed_at else delivery.state.label,
        attempts=delivery.attempts,
        answer=_answer(delivery) if answered else "",
        at=moment(delivery.acknowledged_at) if delivery.acknowledged_at else "",
        is_downloadable=bool(delivery.result.file_name),
    )


def _answer(delivery: Delivery) -> str:
    said = "" if delivery.status is None and delivery.note else status_in_words(delivery.status)
    return "; ".join(part for part in (said, delivery.note) if part)


# ---- history ----------------------------------------------------------------------------------


def timeline(steps: Sequence[JobStep]) -> tuple[TimelineEntry, ...]:
    """Every step with user and time, newest first."""
    befores = (None, *steps)
    lines = [_line(step, before) for step, before in zip(steps, befores, strict=False)]
    return tuple(reversed(lines))


def _line(step: JobStep, before: JobStep | None) -> TimelineEntry:
    return TimelineEntry(
        words=STEP_WORDS[step.step],
        tone=STEP_TONES.get(step.step, Tone.QUIET),
        at=moment(step.at),
        after="" if before is None else _after((step.at - before.at).total_seconds()),
        who=_who(step),
        note=step.note,
    )


def _after(seconds: float) -> str:
    return f"+{seconds_in_words(max(seconds, 0.0))}"


def _who(step: JobStep) -> str:
    return f"sender {step.who}" if step.step is Step.OPENED else step.who
