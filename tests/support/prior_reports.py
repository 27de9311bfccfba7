"""Reports of a prior study of the same patient, each written once for all tests."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from models.burden_scores import BurdenScore
from models.findings import POSITIONS, Finding
from models.findings import Sequence as Kind
from sij_node.domain.prior_comparison import PriorScores
from sij_node.results.image_findings_sr import image_findings_report
from sij_node.results.prior_report import read_prior_scores
from sij_node.results.provenance import ResultContext, to_part10
from sij_node.results.scores_sr import scores_report
from tests.support.mr_series import classic_series
from tests.support.result_inputs import analysed, burden, context, sighted

VALUES = np.zeros((5, 4, 4), np.uint16)


def earlier_findings() -> list[Finding]:
    """Findings of a year before; the tenth is not evaluable, and the thresholds were lower."""
    return [
        Finding(position, None if index == 9 else (index * 53 % 100) / 100, 0.45)
        for index, position in enumerate(POSITIONS)
    ]


def earlier_burden() -> tuple[BurdenScore, ...]:
    """Scores of lesion burden: the first was far higher, the others much the same."""
    first, *others = burden()
    return replace(first, value=30, low=25, high=34), *others


def earlier_report(
    study_date: str = "20230301",
    findings: Sequence[Finding] = (),
    made_by: ResultContext | None = None,
    **attributes: str,
) -> bytes:
    """A report of all scores as a file; each study date is a separate study."""
    if findings or made_by:
        return _written(study_date, findings, made_by, attributes)
    return _usual_report(study_date, tuple(attributes.items()))


@cache
def _usual_report(study_date: str, attributes: tuple[tuple[str, str], ...]) -> bytes:
    return _written(study_date, (), None, dict(attributes))


def _written(
    study_date: str,
    findings: Sequence[Finding],
    made_by: ResultContext | None,
    attributes: Mapping[str, str],
) -> bytes:
    images = classic_series(
        VALUES,
        f"1.2.9.{study_date}.1",
        StudyInstanceUID=f"1.2.9.{study_date}",
        StudyDate=study_date,
        **attributes,
    )
    written = made_by or replace(context(), inputs_sha256=study_date)
    report = scores_report(findings or earlier_findings(), images, written, burden=earlier_burden())
    return to_part10(report, "NODE")


@cache
def earlier_findings_report(study_date: str = "20230301") -> bytes:
    """The image findings SR on T1 of the same study, as a file."""
    images = classic_series(
        np.zeros((5, 16, 12), np.uint16),
        f"1.2.9.{study_date}.1",
        StudyInstanceUID=f"1.2.9.{study_date}",
        StudyDate=study_date,
    )
    one = analysed(images, Kind.T1)
    seen = sighted(one.source.volume, Kind.T1)
    return to_part10(image_findings_report(one, seen, context()), "NODE")


def earlier(study_date: str = "20230301", **how: Any) -> PriorScores:
    """The same report, read back."""
    return _read_back(earlier_report(study_date, **how))


@cache
def _read_back(report: bytes) -> PriorScores:
    read = read_prior_scores(report)
    if read is None:
        raise LookupError("the report is none of scores")
    return read
