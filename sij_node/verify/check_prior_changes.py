"""Checks a report's comparison with the prior study: before, now, and the change."""

import re
from collections.abc import Sequence

from models.findings import HEADS, Finding, Position, Presence, Side
from sij_node.dicom.read_back.sr_content import Item
from sij_node.dicom.read_back.vocabulary import (
    CHANGE,
    CHANGE_TABLE,
    CHANGES,
    OTHER_WEIGHTS,
    PREVIOUS_FINDINGS,
    PRIOR_PROBABILITY,
    PRIOR_REPORT,
    PRIOR_THRESHOLD,
    PRIOR_WEIGHTS,
    STUDY_DATE,
    percents_in,
)
from sij_node.domain.prior_comparison import LesionChange, SincePrior
from sij_node.errors import ResultsInconsistent
from sij_node.verify.expected_results import ExpectedResults

SAME_PERCENT = 1e-4
_CELL = re.compile(r"\|\s*([RL])\b([^|]*)")


def check_changes(
    root: Item, groups: Sequence[Item], positions: Sequence[Position], expected: ExpectedResults
) -> None:
    """Compare a report's changes with the prior study; without one there must be none.

    Parameters
    ----------
    positions
        Position of each group.

    Raises
    ------
    ResultsInconsistent
        If a number, a change, a side or the study differs.
    """
    since = expected.since
    changes = [group.called(CHANGE) for group in groups]
    if since.prior is None:
        if any(changes) or root.called(PREVIOUS_FINDINGS):
            raise ResultsInconsistent("It reports changes, but there is no prior study.")
        return
    _check_study(root.only(PREVIOUS_FINDINGS), since)
    _check_table(root.only(PREVIOUS_FINDINGS).only(CHANGE_TABLE), expected)
    for group, position in zip(groups, positions, strict=True):
        _check_group(group, position, expected)


def _check_study(previous: Item, since: SincePrior) -> None:
    prior = since.prior
    if prior is None:
        return
    (reference,) = previous.only(PRIOR_REPORT).attributes.items("ReferencedSOPSequence")
    if reference.text("ReferencedSOPInstanceUID") != prior.sop_instance_uid:
        raise ResultsInconsistent("It references a prior report other than the one compared with.")
    if previous.only(STUDY_DATE).attributes.text("Date") != prior.studied.date:
        raise ResultsInconsistent("It states a different date for the prior study.")
    if (previous.only(PRIOR_WEIGHTS).code == OTHER_WEIGHTS) != since.other_weights:
        raise ResultsInconsistent("It is wrong about the model of the prior study.")


def _check_group(group: Item, position: Position, expected: ExpectedResults) -> None:
    now, before = expected.finding_at[position], expected.since.before(position)
    if before is None:
        raise ResultsInconsistent(f"The prior study has no finding for {position}.")
    if CHANGES.get(group.only(CHANGE).code) is not _change(before, now):
        raise ResultsInconsistent(f"The change of {position} is reported incorrectly.")
    for name, found in (
        (PRIOR_PROBABILITY, before.probability),
        (PRIOR_THRESHOLD, before.threshold),
    ):
        reported = group.only(name).percent
        is_same = reported is found if None in (reported, found) else _is_near(reported, found)
        if not is_same:
            raise ResultsInconsistent(f"The prior value of {position} is reported incorrectly.")


def _is_near(percent: float | None, found: float | None) -> bool:
    return percent is not None and found is not None and abs(percent - 100 * found) <= SAME_PERCENT


def _change(before: Finding, now: Finding) -> LesionChange:
    """The change, computed independently of the code that wrote it."""
    if before.probability is None or now.probability is None:
        return LesionChange.NOT_COMPARABLE
    was, is_ = (one.presence is Presence.PRESENT for one in (before, now))
    return {(False, True): LesionChange.NEW, (True, False): LesionChange.RESOLVED}.get(
        (was, is_), LesionChange.UNCHANGED
    )


def _check_table(table: Item, expected: ExpectedResults) -> None:
    """Check the table of changes: a line for each head, a cell for each side, before and now."""
    reported = [
        [(side, percents_in(cell)) for side, cell in _CELL.findall(line)]
        for line in table.text.splitlines()
    ]
    wanted = [
        [
            (letter, _percents(Position(side, head), expected))
            for letter, side in (("R", Side.RIGHT), ("L", Side.LEFT))
        ]
        for head in HEADS
    ]
    if reported != wanted:
        raise ResultsInconsistent("The numbers in the table of changes differ from the findings.")


def _percents(position: Position, expected: ExpectedResults) -> list[str]:
    both = (expected.since.before(position), expected.finding_at[position])
    return [f"{100 * one.probability:.1f}" for one in both if one and one.probability is not None]
