"""The findings of a report, read back: each says what was found, in codes, numbers and words.

Source: DICOM PS3.16 TID 1501 (Measurement and Qualitative Evaluation Group).
"""

import re
from collections.abc import Mapping, Sequence

from models.findings import HEADS, POSITIONS, Finding, Position, Presence, Side
from sij_node.dicom.read_back.positions import known, position_of
from sij_node.dicom.read_back.sr_content import Item
from sij_node.dicom.read_back.vocabulary import (
    COMMENT,
    FINDING,
    LESIONS,
    PRESENCE,
    PRESENCES,
    PROBABILITY,
    SUMMARY,
    THRESHOLD,
    TRACKING_IDENTIFIER,
    names_only,
    percents_in,
    sides_named,
)
from sij_node.errors import ResultsInconsistent
from sij_node.verify.check_prior_changes import check_changes
from sij_node.verify.expected_results import ExpectedResults

SAME_PERCENT = 1e-4
"""Written percentages may be off by this, from rounding to decimal strings."""
_CELL = re.compile(r"\|\s*([RL])\b([^|]*)")


def check_scores(root: Item, groups: Sequence[Item], evidence: ExpectedResults) -> None:
    """Compare a report of all scores, or of none, with the findings.

    Raises
    ------
    ResultsInconsistent
        If a position is missing or doubled, or a score, side or word differs.
    """
    told = [position_of(group) for group in groups]
    if len(told) != len(POSITIONS) or set(told) != set(POSITIONS):
        raise ResultsInconsistent(
            f"{len(set(told))} of {len(POSITIONS)} positions are told, in {len(told)} groups."
        )
    for group, position in zip(groups, told, strict=True):
        check_finding(group, position, evidence)
    if evidence.findings:
        _check_table(root, evidence.finding_at)
        _check_summary(root, evidence.finding_at)
    check_changes(root, groups, told, evidence)


def is_of_lesion(group: Item) -> bool:
    """Whether a measurement group tells of a lesion; others tell of contours."""
    return any(item.code in LESIONS for item in group.called(FINDING))


def check_finding(group: Item, position: Position, evidence: ExpectedResults) -> None:
    """Compare one group with its finding; undetermined if nothing was analysed.

    Raises
    ------
    ResultsInconsistent
        If presence, probability, threshold or a word differs.
    """
    check_words(group, position.side, str(position))
    finding = evidence.finding_at.get(position)
    expected = finding.presence if finding else Presence.UNDETERMINED
    presence = known(PRESENCES, group.only(PRESENCE).code, "presence")
    if presence is not expected:
        raise ResultsInconsistent(f"{position} is told as {presence}, found {expected}.")
    if finding is None:
        if group.called(PROBABILITY):
            raise ResultsInconsistent(f"{position} was not analysed and has a probability.")
        return
    for comment in group.called(COMMENT):
        if not set(percents_in(comment.text)) <= {shown_percent(finding)}:
            raise ResultsInconsistent(f"The comment on {position} tells another probability.")
    _check_number(position, "probability", group.only(PROBABILITY), finding.probability)
    for threshold in group.called(THRESHOLD):
        _check_number(position, "threshold", threshold, finding.threshold)


def check_words(group: Item, side: Side, what: str) -> None:
    """Check that every text about a side names it, and not the other.

    Raises
    ------
    ResultsInconsistent
        If the tracking identifier does not name the side, or any text names the other.
    """
    if not names_only(group.only(TRACKING_IDENTIFIER).text, side):
        raise ResultsInconsistent(f"The tracking identifier of {what} names another side.")
    texts = [child.text for child in group.children if child.value_type == "TEXT"]
    if any(set(sides_named(text)) - {side} for text in texts):
        raise ResultsInconsistent(f"A text of {what} names another side.")


def _check_number(position: Position, name: str, told: Item, found: float | None) -> None:
    percent = None if found is None else 100 * found
    if (told.percent is None) != (percent is None) or (
        told.percent is not None
        and percent is not None
        and abs(told.percent - percent) > SAME_PERCENT
    ):
        raise ResultsInconsistent(
            f"The {name} of {position} is told as {told.percent} %, found {percent} %."
        )


def _check_table(root: Item, found: Mapping[Position, Finding]) -> None:
    """The table that people read: a line for each head, a cell for each side."""
    lines = [
        cells
        for item in root.called(FINDING)
        if item.value_type == "TEXT"
        for line in item.text.splitlines()
        if (cells := _CELL.findall(line))
    ]
    expected = [
        [
            ("R", shown_percent(found[Position(Side.RIGHT, head)])),
            ("L", shown_percent(found[Position(Side.LEFT, head)])),
        ]
        for head in HEADS
    ]
    told = [[(side, _percent_in(cell)) for side, cell in cells] for cells in lines]
    if told != expected:
        raise ResultsInconsistent("The table shows other scores than were found.")


def shown_percent(finding: Finding) -> str | None:
    """A probability as people read it; None where there is none."""
    return None if finding.probability is None else f"{100 * finding.probability:.1f}"


def _percent_in(cell: str) -> str | None:
    return next(iter(percents_in(cell)), None)


def _check_summary(root: Item, found: Mapping[Position, Finding]) -> None:
    """The first sentence names the side of every lesion that is present, in their order."""
    first = root.only(SUMMARY).text.splitlines()[0]
    present = [
        position.side for position in POSITIONS if found[position].presence is Presence.PRESENT
    ]
    told = sides_named(first)
    if told != present:
        raise ResultsInconsistent(
            f"The summary names the sides of other lesions: {told.count(Side.LEFT)} left and "
            f"{told.count(Side.RIGHT)} right; {present.count(Side.LEFT)} and "
            f"{present.count(Side.RIGHT)} are present."
        )
