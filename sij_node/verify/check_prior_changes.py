"""What a report tells of the prior study, read back: then, now, and the change between them."""

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
    root: Item, groups: Sequence[Item], positions: Sequence[Position], evidence: ExpectedResults
) -> None:
    """Compare what a report says of the prior study with it; without a prior it says nothing.

    Parameters
    ----------
    positions
        What each group is about.

    Raises
    ------
    ResultsInconsistent
        If a number, a change, a side or the study differs.
    """
    since = evidence.since
    told = [group.called(CHANGE) for group in groups]
    if since.prior is None:
        if any(told) or root.called(PREVIOUS_FINDINGS):
            raise ResultsInconsistent("It tells changes, and there is no prior study.")
        return
    _check_study(root.only(PREVIOUS_FINDINGS), since)
    _check_table(root.only(PREVIOUS_FINDINGS).only(CHANGE_TABLE), evidence)
    for group, position in zip(groups, positions, strict=True):
        _check_group(group, position, evidence)


def _check_study(previous: Item, since: SincePrior) -> None:
    prior = since.prior
    if prior is None:
        return
    (reference,) = previous.only(PRIOR_REPORT).attributes.items("ReferencedSOPSequence")
    if reference.text("ReferencedSOPInstanceUID") != prior.sop_instance_uid:
        raise ResultsInconsistent("It names another prior report than it was compared with.")
    if previous.only(STUDY_DATE).attributes.text("Date") != prior.studied.date:
        raise ResultsInconsistent("It tells another date of the prior study.")
    if (previous.only(PRIOR_WEIGHTS).code == OTHER_WEIGHTS) != since.other_weights:
        raise ResultsInconsistent("It is wrong about the weights of the prior scores.")


def _check_group(group: Item, position: Position, evidence: ExpectedResults) -> None:
    now, before = evidence.finding_at[position], evidence.since.before(position)
    if before is None:
        raise ResultsInconsistent(f"The prior study tells nothing of {position}.")
    if CHANGES.get(group.only(CHANGE).code) is not _change(before, now):
        raise ResultsInconsistent(f"The change of {position} is told wrongly.")
    for name, found in (
        (PRIOR_PROBABILITY, before.probability),
        (PRIOR_THRESHOLD, before.threshold),
    ):
        told = group.only(name).percent
        is_same = told is found if None in (told, found) else _is_near(told, found)
        if not is_same:
            raise ResultsInconsistent(f"The prior study is told wrongly of {position}.")


def _is_near(told: float | None, found: float | None) -> bool:
    return told is not None and found is not None and abs(told - 100 * found) <= SAME_PERCENT


def _change(before: Finding, now: Finding) -> LesionChange:
    """Worked out once more, without the code that wrote it."""
    if before.probability is None or now.probability is None:
        return LesionChange.NOT_COMPARABLE
    was, is_ = (one.presence is Presence.PRESENT for one in (before, now))
    return {(False, True): LesionChange.NEW, (True, False): LesionChange.RESOLVED}.get(
        (was, is_), LesionChange.UNCHANGED
    )


def _check_table(table: Item, evidence: ExpectedResults) -> None:
    """A line for each head, a cell for each side, in each then and now."""
    told = [
        [(side, percents_in(cell)) for side, cell in _CELL.findall(line)]
        for line in table.text.splitlines()
    ]
    expected = [
        [
            (letter, _percents(Position(side, head), evidence))
            for letter, side in (("R", Side.RIGHT), ("L", Side.LEFT))
        ]
        for head in HEADS
    ]
    if told != expected:
        raise ResultsInconsistent("The table of changes shows other numbers than were found.")


def _percents(position: Position, evidence: ExpectedResults) -> list[str]:
    both = (evidence.since.before(position), evidence.finding_at[position])
    return [f"{100 * one.probability:.1f}" for one in both if one and one.probability is not None]
