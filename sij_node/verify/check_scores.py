"""Checks the findings of a report: codes, numbers and text match what was found.

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
    OPERATING_POINT,
    OPERATING_POINTS,
    PRESENCE,
    PRESENCES,
    PROBABILITY,
    SUMMARY,
    THRESHOLD,
    TRACKING_IDENTIFIER,
    heads_named,
    names_only,
    percents_in,
    sides_named,
)
from sij_node.errors import ResultsInconsistent
from sij_node.verify.check_burden import check_burden
from sij_node.verify.check_prior_changes import check_changes
from sij_node.verify.expected_results import ExpectedResults

SAME_PERCENT = 1e-4
"""Tolerance for percentages that were rounded to decimal strings."""
_CELL = re.compile(r"\|\s*([RL])\b([^|]*)")


def check_scores(root: Item, groups: Sequence[Item], expected: ExpectedResults) -> None:
    """Compare a scores report, or a report that a study was not analysed, with the findings.

    Raises
    ------
    ResultsInconsistent
        If a position is missing or duplicated, or a score, side or text differs.
    """
    positions = [position_of(group) for group in groups]
    if len(positions) != len(POSITIONS) or set(positions) != set(POSITIONS):
        raise ResultsInconsistent(
            f"{len(positions)} groups report {len(set(positions))} of {len(POSITIONS)} positions."
        )
    for group, position in zip(groups, positions, strict=True):
        check_finding(group, position, expected)
    if expected.findings:
        _check_table(root, expected.finding_at)
        _check_summary(root, expected.finding_at)
    check_burden(root, expected)
    check_changes(root, groups, positions, expected)


def is_of_lesion(group: Item) -> bool:
    """Whether a measurement group describes a lesion; the others describe contours."""
    return any(item.code in LESIONS for item in group.called(FINDING))


def check_finding(group: Item, position: Position, expected: ExpectedResults) -> None:
    """Compare a group with its finding; without one it must be undetermined.

    Raises
    ------
    ResultsInconsistent
        If presence, probability, threshold or a text differs.
    """
    check_words(group, position.side, str(position))
    finding = expected.finding_at.get(position)
    wanted = finding.presence if finding else Presence.UNDETERMINED
    presence = known(PRESENCES, group.only(PRESENCE).code, "presence")
    if presence is not wanted:
        raise ResultsInconsistent(f"{position} is reported as {presence}, found {wanted}.")
    if finding is None:
        if group.called(PROBABILITY):
            raise ResultsInconsistent(f"{position} was not analysed but has a probability.")
        return
    for comment in group.called(COMMENT):
        if not set(percents_in(comment.text)) <= {shown_percent(finding)}:
            raise ResultsInconsistent(f"The comment on {position} states a different probability.")
    _check_number(position, "probability", group.only(PROBABILITY), finding.probability)
    for threshold in group.called(THRESHOLD):
        _check_number(position, "threshold", threshold, finding.threshold)
    for point in group.called(OPERATING_POINT):
        if known(OPERATING_POINTS, point.code, "operating point") is not finding.operating_point:
            raise ResultsInconsistent(f"The operating point of {position} is reported incorrectly.")


def check_words(group: Item, side: Side, what: str) -> None:
    """Check that every text of a group names its side, and not the other.

    Raises
    ------
    ResultsInconsistent
        If the tracking identifier does not name the side, or any text names the other.
    """
    if not names_only(group.only(TRACKING_IDENTIFIER).text, side):
        raise ResultsInconsistent(f"The tracking identifier of {what} names the wrong side.")
    texts = [child.text for child in group.children if child.value_type == "TEXT"]
    if any(set(sides_named(text)) - {side} for text in texts):
        raise ResultsInconsistent(f"A text of {what} names the wrong side.")


def _check_number(position: Position, name: str, reported: Item, found: float | None) -> None:
    percent = None if found is None else 100 * found
    if (reported.percent is None) != (percent is None) or (
        reported.percent is not None
        and percent is not None
        and abs(reported.percent - percent) > SAME_PERCENT
    ):
        raise ResultsInconsistent(
            f"The {name} of {position} is reported as {reported.percent} %, found {percent} %."
        )


def _check_table(root: Item, found: Mapping[Position, Finding]) -> None:
    """Check the table in the text: a line for each head, a cell for each side."""
    lines = [
        cells
        for item in root.called(FINDING)
        if item.value_type == "TEXT"
        for line in item.text.splitlines()
        if (cells := _CELL.findall(line))
    ]
    wanted = [
        [
            ("R", shown_percent(found[Position(Side.RIGHT, head)])),
            ("L", shown_percent(found[Position(Side.LEFT, head)])),
        ]
        for head in HEADS
    ]
    reported = [[(side, _percent_in(cell)) for side, cell in cells] for cells in lines]
    if reported != wanted:
        raise ResultsInconsistent("The scores in the table differ from the findings.")


def shown_percent(finding: Finding) -> str | None:
    """A probability as text; None if there is none."""
    return None if finding.probability is None else f"{100 * finding.probability:.1f}"


def _percent_in(cell: str) -> str | None:
    return next(iter(percents_in(cell)), None)


def _check_summary(root: Item, found: Mapping[Position, Finding]) -> None:
    """Check that the conclusion of each joint names its lesions and their sites, and no others."""
    joints = root.only(SUMMARY).text.splitlines()[: len(Side)]
    for line, side in zip(joints, (Side.RIGHT, Side.LEFT), strict=True):
        if sides_named(line) != [side]:
            raise ResultsInconsistent(f"The summary has no conclusion for the {side} side.")
        present = {p.head for p in POSITIONS if p.side is side and _is_present(found[p])}
        if heads_named(line) != present:
            raise ResultsInconsistent(f"The summary names lesions not found on the {side} side.")


def _is_present(finding: Finding) -> bool:
    return finding.presence is Presence.PRESENT
