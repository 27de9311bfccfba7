"""Checks the scores of lesion burden in a report: value, band, and change since the prior study."""

from models.burden_scores import BurdenScore
from sij_node.dicom.read_back.sr_content import Item
from sij_node.dicom.read_back.vocabulary import (
    BURDEN_CHANGES,
    BURDEN_LIMITS,
    BURDEN_MOST,
    BURDEN_SCORES,
    BURDENS,
    CHANGE,
    PRIOR_BURDEN,
)
from sij_node.errors import ResultsInconsistent
from sij_node.verify.expected_results import ExpectedResults


def check_burden(root: Item, expected: ExpectedResults) -> None:
    """Compare the scores of lesion burden of a report with those computed.

    Raises
    ------
    ResultsInconsistent
        If one is missing, or a number or a change differs.
    """
    reported = [one for group in root.called(BURDEN_SCORES) for one in group.children]
    if len(reported) != len(expected.burden):
        raise ResultsInconsistent(
            f"{len(reported)} scores of lesion burden are reported, {len(expected.burden)} found."
        )
    for item, score in zip(reported, expected.burden, strict=True):
        _check_score(item, score, expected)


def _check_score(item: Item, score: BurdenScore, expected: ExpectedResults) -> None:
    numbers = (item.only(name).score for name in (*BURDEN_LIMITS, BURDEN_MOST))
    if BURDENS.get(item.name or ("", "")) is not score.name or tuple(numbers) != (
        score.value,
        score.low,
        score.high,
        score.most,
    ):
        raise ResultsInconsistent(f"{score.name} is reported incorrectly.")
    prior = expected.since.compared
    before = prior.burden_before(score.name) if prior else None
    change = prior.burden_change(score) if prior else None
    told = [one.score for one in item.called(PRIOR_BURDEN)]
    changed = [BURDEN_CHANGES.get(one.code) for one in item.called(CHANGE)]
    if told != ([before.value] if before else []) or changed != ([change] if change else []):
        raise ResultsInconsistent(f"The change of {score.name} is reported incorrectly.")
