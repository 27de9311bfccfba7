"""The scores of a study as a structured report, or the reason why it was not analysed.

A table at the top is for human readers. Machines read one measurement group for each of the 28
positions, as in TID 1500 but without coordinates. The document has its own title, because viewers
expect coordinates in an Imaging Measurement Report.

Source: DICOM PS3.3 A.35.13 (Comprehensive 3D SR), PS3.16 TID 1501, 4019, 1004, 1204.
"""

from collections.abc import Iterable, Mapping, Sequence

from highdicom.sr import value_types as sr
from pydicom.dataset import Dataset

from models.burden_scores import BurdenScore
from models.findings import HEADS, POSITIONS, Finding, Head, Position, Presence, Side
from models.lesion_counts import study_counts
from sij_node.dicom import codes
from sij_node.dicom.headers import text
from sij_node.domain.prior_comparison import LesionChange, SincePrior
from sij_node.results.conclusion import burden_in_words, conclusion, since_prior_in_words
from sij_node.results.language import ENGLISH, Wording
from sij_node.results.provenance import ResultContext
from sij_node.results.sr_document import (
    coded,
    container,
    dated,
    document,
    document_reference,
    first_header,
    lesion,
    measurements,
    presence_of,
    probability,
    score,
    words,
)

LINE = "\r\n"
"""Line end within text values (PS3.5 6.2)."""
_FILL = "\N{NO-BREAK SPACE}"
"""Fills the columns of tables; viewers that write reports as HTML would drop other spaces."""
_TITLES = {
    "own": codes.SCORES_TITLE,
    "imaging measurement report": codes.IMAGING_MEASUREMENT_REPORT,
}


def scores_report(
    findings: Sequence[Finding],
    headers: Sequence[Dataset],
    context: ResultContext,
    remarks: Sequence[str] = (),
    asas_met: bool | None = None,
    burden: Sequence[BurdenScore] = (),
) -> Dataset:
    """The report of all scores of a study.

    Parameters
    ----------
    findings
        One for each of the 28 positions, in any order.
    headers
        Headers of the analysed images; all are listed as evidence.
    context
        Provenance; the last network is the lesion network.
    remarks
        Full sentences for the reader, e.g. that fat-saturated T2 was used instead of STIR.
    asas_met
        As from `sij_node.results.conclusion.asas_criterion`.
    burden
        Scores of lesion burden that the slices allow.

    Returns
    -------
    Dataset
        Comprehensive 3D SR, complete, unverified.

    Raises
    ------
    ValueError
        If there is not exactly one finding for each position.
    """
    by_position = {finding.position: finding for finding in findings}
    if len(findings) != len(POSITIONS) or set(by_position) != set(POSITIONS):
        raise ValueError(f"findings must be one for each of the {len(POSITIONS)} positions")
    study_uid = text(first_header(headers), "StudyInstanceUID")
    content = [
        words(codes.SUMMARY, _summary(by_position, context, remarks, asas_met, burden)),
        words(codes.FINDING, score_table(by_position, context.wording)),
        *_previous(by_position, context),
        measurements(
            _group(
                by_position[position], study_uid, context, _numbers(by_position[position], context)
            )
            for position in POSITIONS
        ),
        *_burden(burden, context.since),
    ]
    title, prior = _TITLES[context.profile.scores_title], context.since.prior
    others = [prior.report] if prior else []
    return document(title, content, headers, context, "scores", others=others)


def not_analysed_report(
    reason_code: str,
    reason: str,
    headers: Sequence[Dataset],
    context: ResultContext,
    positions: Iterable[Position] = POSITIONS,
) -> Dataset:
    """The report that a study was not analysed, and why.

    Parameters
    ----------
    reason_code
        Code of the error, as in `sij_node.errors`.
    reason
        Its message.
    headers
        Headers of the received images, at least one; all are listed as evidence.
    positions
        Positions to report as undetermined.

    Returns
    -------
    Dataset
        Comprehensive 3D SR; the presence of every lesion is undetermined.
    """
    study_uid = text(first_header(headers), "StudyInstanceUID")
    undetermined = [Finding(position, None, 0.5) for position in positions]
    summary = (
        *context.wording.not_analysed_because(reason_code, reason),
        context.intended_use,
    )
    content = [
        words(codes.SUMMARY, LINE.join(summary)),
        coded(codes.REASON, codes.reason_for(reason_code)),
        measurements(_group(finding, study_uid, context, []) for finding in undetermined),
    ]
    return document(
        codes.NOT_ANALYSED_TITLE, content, headers, context, "not analysed", reason_code
    )


def score_table(findings: Mapping[Position, Finding], wording: Wording = ENGLISH) -> str:
    """Table with a line for each lesion and region, right and left side by side.

    Columns are aligned for monospaced fonts; every cell names its side, because many viewers use
    proportional ones.
    """
    return LINE.join(
        _line(
            head, findings[Position(Side.RIGHT, head)], findings[Position(Side.LEFT, head)], wording
        )
        for head in HEADS
    )


def _line(head: Head, right: Finding, left: Finding, wording: Wording) -> str:
    percents = (wording.percent(each.threshold) for each in (right, left))
    thresholds = " / ".join(dict.fromkeys(percents))
    width = _head_width(wording)
    cells = f"R {_cell(right, wording)} | L {_cell(left, wording)}"
    return f"{wording.head(head):{_FILL}<{width}} | {cells} | {wording.threshold} {thresholds}"


def _cell(finding: Finding, wording: Wording) -> str:
    word = wording.presence(finding)
    width = max(len(wording.present), len(wording.absent))
    if finding.probability is None:
        return f"{wording.not_evaluable:{_FILL}<{8 + width}}"
    shown = word.upper() if finding.presence is Presence.PRESENT else word
    return f"{wording.percent(finding.probability):{_FILL}>7} {shown:{_FILL}<{width}}"


def _summary(
    findings: Mapping[Position, Finding],
    context: ResultContext,
    remarks: Sequence[str],
    asas_met: bool | None,
    burden: Sequence[BurdenScore],
) -> str:
    """The text at the top of the report: conclusion, changes, remarks, counts."""
    wording, ordered = context.wording, [findings[position] for position in POSITIONS]
    return LINE.join(
        (
            *conclusion(ordered, asas_met, wording),
            *burden_in_words(burden, wording),
            *since_prior_in_words(context.since, ordered, wording, burden),
            *remarks,
            *in_numbers(findings, wording),
            context.intended_use,
        )
    )


def in_numbers(findings: Mapping[Position, Finding], wording: Wording) -> list[str]:
    """The number of positive sites, and counts for each joint."""
    present = sum(finding.presence is Presence.PRESENT for finding in findings.values())
    missing = sum(finding.presence is Presence.UNDETERMINED for finding in findings.values())
    unknown = wording.sites_not_evaluable.format(missing=missing, all=len(findings))
    joints = study_counts(list(findings.values())).joints
    return [
        f"{wording.sites_positive.format(present=present, all=len(findings))}.",
        *(wording.joint_summary(joint) for joint in joints if joint.seen),
        *([unknown] if missing else []),
        *wording.chosen_thresholds(findings.values()),
    ]


def _group(
    finding: Finding, study_uid: str, context: ResultContext, numbers: list[sr.ContentItem]
) -> sr.ContainerContentItem:
    """One position as a measurement group (TID 1501)."""
    content = [
        *lesion(finding, study_uid, context),
        *numbers,
        *presence_of(finding, context),
    ]
    return container(codes.MEASUREMENT_GROUP, content, template_id="1501")


def _numbers(finding: Finding, context: ResultContext) -> list[sr.ContentItem]:
    """Probability and threshold, and those of the prior study if there is one."""
    now: list[sr.ContentItem] = [
        probability(finding.probability),
        probability(finding.threshold, codes.THRESHOLD),
        coded(codes.OPERATING_POINT, codes.OPERATING_POINTS[finding.operating_point]),
    ]
    before, change = context.since.before(finding.position), context.since.change(finding)
    if before is None or change is None:
        return now
    return [
        *now,
        probability(before.probability, codes.PRIOR_PROBABILITY),
        probability(before.threshold, codes.PRIOR_THRESHOLD),
        coded(codes.CHANGE, codes.CHANGES[change]),
    ]


def _burden(burden: Sequence[BurdenScore], since: SincePrior) -> list[sr.ContentItem]:
    """A container for each score of lesion burden."""
    each = [container(codes.BURDENS[one.name], _burden_numbers(one, since)) for one in burden]
    return [container(codes.BURDEN_SCORES, each)] if each else []


def _burden_numbers(now: BurdenScore, since: SincePrior) -> list[sr.ContentItem]:
    """A score with its band, and the prior one if there is one."""
    numbers: list[sr.ContentItem] = [
        score(codes.BURDEN_VALUE, now.value),
        score(codes.BURDEN_LOW, now.low),
        score(codes.BURDEN_HIGH, now.high),
        score(codes.BURDEN_MOST, now.most),
    ]
    prior = since.compared
    before = prior.burden_before(now.name) if prior else None
    change = prior.burden_change(now) if prior else None
    if before:
        numbers.append(score(codes.PRIOR_BURDEN, before.value))
    if change:
        numbers.append(coded(codes.CHANGE, codes.BURDEN_CHANGES[change]))
    return numbers


def _previous(findings: Mapping[Position, Finding], context: ResultContext) -> list[sr.ContentItem]:
    """The prior study: its report, its model, and a table of all changes."""
    since = context.since
    if since.prior is None:
        return []
    weights = codes.OTHER_WEIGHTS if since.other_weights else codes.SAME_WEIGHTS
    content = [
        document_reference(codes.PRIOR_REPORT, since.prior.report),
        dated(codes.STUDY_DATE, since.prior.studied.date),
        coded(codes.PRIOR_WEIGHTS, weights),
        words(codes.CHANGE_TABLE, change_table(findings, since, context.wording)),
    ]
    return [container(codes.PREVIOUS_FINDINGS, content)]


def change_table(
    findings: Mapping[Position, Finding], since: SincePrior, wording: Wording = ENGLISH
) -> str:
    """Table like `score_table` with the prior score, the current score, and the change."""
    return LINE.join(
        f"{wording.head(head):{_FILL}<{_head_width(wording)}} | "
        + " | ".join(
            f"{side[0].upper()} {_change_cell(findings[Position(side, head)], since, wording)}"
            for side in Side
        )
        for head in HEADS
    )


def _change_cell(now: Finding, since: SincePrior, wording: Wording) -> str:
    before, change = since.before(now.position), since.change(now)
    if before is None or change is None:
        return ""
    word = wording.changes[change]
    shown = word.upper() if change in (LesionChange.NEW, LesionChange.RESOLVED) else word
    width = max(map(len, wording.changes.values()))
    then, today = (_percent_or_dash(one, wording) for one in (before, now))
    return f"{then:{_FILL}>7} → {today:{_FILL}>7} {shown:{_FILL}<{width}}"


def _percent_or_dash(finding: Finding, wording: Wording) -> str:
    return "–" if finding.probability is None else wording.percent(finding.probability)


def _head_width(wording: Wording) -> int:
    return max(len(wording.head(each)) for each in HEADS)
