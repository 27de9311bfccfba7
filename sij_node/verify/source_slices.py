"""The analysed slice and series that a result references."""

import re
from collections.abc import Iterable

from models.findings import Sequence as Kind
from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.expected_results import ExpectedResults, SourceSlice


def named_slice(reference: Attributes, expected: ExpectedResults, what: str) -> SourceSlice:
    """The analysed slice of a reference, by instance and, for multi-frame images, by frame.

    Raises
    ------
    ResultsInconsistent
        If no such slice was analysed.
    """
    uid, frames = (
        reference.text("ReferencedSOPInstanceUID"),
        reference.numbers("ReferencedFrameNumber"),
    )
    found = expected.slices.get((uid, int(frames[0]) if len(frames) == 1 else None))
    if found is None or len(frames) > 1:
        raise ResultsInconsistent(
            f"{what} references image {uid}, frames {frames}, which was not analysed."
        )
    return found


def only_series(drawn_on: Iterable[AnalysedSeries]) -> AnalysedSeries:
    """The single series that everything is drawn on.

    Raises
    ------
    ResultsInconsistent
        If there are none or several.
    """
    series = {one.sequence: one for one in drawn_on}
    if len(series) != 1:
        raise ResultsInconsistent(f"It draws on {len(series)} series instead of one.")
    return next(iter(series.values()))


def check_description(result: Attributes, series: AnalysedSeries) -> None:
    """Check that a result's series description does not name the other sequence.

    Raises
    ------
    ResultsInconsistent
        If it does.
    """
    named = re.findall(r"\w+", result.text("SeriesDescription").upper())
    if series.sequence not in named and any(other in named for other in Kind):
        raise ResultsInconsistent(
            f"It lies on {series.sequence}, but its description names another sequence."
        )
