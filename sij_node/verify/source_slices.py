"""Which analysed slice and series a result is about, by what it refers to."""

import re
from collections.abc import Iterable

from models.findings import Sequence as Kind
from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.expected_results import ExpectedResults, SourceSlice


def named_slice(reference: Attributes, evidence: ExpectedResults, what: str) -> SourceSlice:
    """The analysed slice that a reference names, by instance and, in a multi-frame, by frame.

    Raises
    ------
    ResultsInconsistent
        If no such slice was analysed.
    """
    uid, frames = (
        reference.text("ReferencedSOPInstanceUID"),
        reference.numbers("ReferencedFrameNumber"),
    )
    found = evidence.slices.get((uid, int(frames[0]) if len(frames) == 1 else None))
    if found is None or len(frames) > 1:
        raise ResultsInconsistent(
            f"{what} names image {uid}, frames {frames}, which was not analysed."
        )
    return found


def only_series(drawn_on: Iterable[AnalysedSeries]) -> AnalysedSeries:
    """The series that everything is drawn on.

    Raises
    ------
    ResultsInconsistent
        If there are none or several.
    """
    series = {one.source.series_uid: one for one in drawn_on}
    if len(series) != 1:
        raise ResultsInconsistent(f"It draws on {len(series)} series, not on one.")
    return next(iter(series.values()))


def check_description(result: Attributes, series: AnalysedSeries) -> None:
    """Check that a result does not call its series by the other's name.

    Raises
    ------
    ResultsInconsistent
        If it does.
    """
    said = re.findall(r"\w+", result.text("SeriesDescription").upper())
    if series.sequence not in said and any(other in said for other in Kind):
        raise ResultsInconsistent(f"It lies on {series.sequence} and is described otherwise.")
