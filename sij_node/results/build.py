"""Builds all result objects of a study for one destination."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from models.burden_scores import BurdenScore
from models.findings import Finding
from sij_node.config.profiles import ObjectName
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.image_findings_sr import image_findings_report
from sij_node.results.not_analysed import (
    NotAnalysed,
    not_analysed_page,
    not_analysed_picture,
)
from sij_node.results.pdf_report import page_report
from sij_node.results.presentation_state import presentation_state
from sij_node.results.provenance import ResultContext
from sij_node.results.scores_sr import not_analysed_report, scores_report
from sij_node.results.secondary_capture import summary
from sij_node.results.segmentation import joint_segmentation


@dataclass(frozen=True, eq=False)
class ResultObject:
    """A complete result; `kind` as in `sij_node.domain.job.Result`."""

    kind: str
    dataset: Dataset


@dataclass(frozen=True, eq=False)
class AnalysedStudy:
    """The input for all results of a study.

    Parameters
    ----------
    series
        T1 and STIR.
    findings
        One for each position.
    remarks
        Notes for the reader, in full sentences.
    asas_met
        As from `sij_node.results.conclusion.asas_criterion`.
    burden
        Scores of lesion burden that the slices allow.
    """

    series: tuple[AnalysedSeries, ...]
    findings: Sequence[Finding]
    remarks: Sequence[str] = field(default=())
    asas_met: bool | None = None
    burden: Sequence[BurdenScore] = ()

    @property
    def headers(self) -> list[Dataset]:
        """Headers of all analysed images."""
        return [header for one in self.series for header in one.headers]


def result_objects(study: AnalysedStudy, context: ResultContext) -> tuple[ResultObject, ...]:
    """The objects of the context's output profile, in its order."""
    return tuple(made for name in context.profile.objects for made in _MAKERS[name](study, context))


def not_analysed_objects(
    notice: NotAnalysed, headers: Sequence[Dataset], context: ResultContext
) -> tuple[ResultObject, ...]:
    """The report that a study was not analysed, and what the profile adds to it."""
    report = not_analysed_report(notice.reason_code, notice.message, headers, context)
    shown = (
        ResultObject(f"not analysed {name}", _NOTICES[name](notice, headers, context))
        for name in context.profile.not_analysed
    )
    return ResultObject("not analysed", report), *shown


def _segmentations(study: AnalysedStudy, context: ResultContext) -> Iterator[ResultObject]:
    for one in study.series:
        if one.regions.any():
            made = joint_segmentation(one.source, one.headers, one.regions, context, one.sequence)
            yield ResultObject(one.kind("seg"), made)


def _findings(study: AnalysedStudy, context: ResultContext) -> Iterator[ResultObject]:
    for one in study.series:
        if one.contours or one.seen(study.findings):
            made = image_findings_report(one, study.findings, context)
            yield ResultObject(one.kind("findings"), made)


def _scores(study: AnalysedStudy, context: ResultContext) -> Iterator[ResultObject]:
    made = scores_report(
        study.findings, study.headers, context, study.remarks, study.asas_met, study.burden
    )
    yield ResultObject("scores", made)


def _presentations(study: AnalysedStudy, context: ResultContext) -> Iterator[ResultObject]:
    for one in study.series:
        if one.contours or one.seen(study.findings):
            made = presentation_state(one, study.findings, context)
            yield ResultObject(one.kind("presentation"), made)


def _summary(study: AnalysedStudy, context: ResultContext) -> Iterator[ResultObject]:
    captures = summary(
        study.series, study.findings, context, study.remarks, study.asas_met, study.burden
    )
    for number, made in enumerate(captures, 1):
        yield ResultObject("summary" if number == 1 else f"summary {number}", made)


def _page(study: AnalysedStudy, context: ResultContext) -> Iterator[ResultObject]:
    made = page_report(
        study.series, study.findings, study.remarks, context, study.asas_met, study.burden
    )
    yield ResultObject("pdf", made)


_MAKERS: Mapping[ObjectName, Callable[[AnalysedStudy, ResultContext], Iterator[ResultObject]]] = {
    "seg": _segmentations,
    "findings": _findings,
    "scores": _scores,
    "presentation": _presentations,
    "summary": _summary,
    "pdf": _page,
}
_NOTICES: Mapping[str, Callable[[NotAnalysed, Sequence[Dataset], ResultContext], Dataset]] = {
    "summary": not_analysed_picture,
    "pdf": not_analysed_page,
}
