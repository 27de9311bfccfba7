"""Checks a presentation state: contours and rings lie where they were found, on their sides.

A presentation state has no codes: the side of a graphic is in its label.

Source: DICOM PS3.3 C.10.5 (graphic annotation).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import Finding, Side
from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.dicom.read_back.vocabulary import percents_in, sides_named
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.check_graphics import check_all, check_line, contour_at, drawn_mm, is_near
from sij_node.verify.check_scores import shown_percent
from sij_node.verify.check_sides import check_side
from sij_node.verify.expected_results import ExpectedResults, SourceSlice, sight_mm
from sij_node.verify.source_slices import check_description, named_slice, only_series


@dataclass(frozen=True, eq=False)
class Annotation:
    """A graphic on a slice, and its label.

    Parameters
    ----------
    kind
        Graphic Type.
    line
        Its points, LPS, shape ``(n, 3)``.
    words
        Text of the label.
    side
        The side named by the label.
    label
        Position of the label, LPS.
    """

    source: SourceSlice
    kind: str
    line: NDArray[np.float64]
    words: str
    side: Side
    label: NDArray[np.float64]


def check_presentation(state: Attributes, expected: ExpectedResults) -> None:
    """Compare a presentation state with the findings and the delineation.

    Raises
    ------
    ResultsInconsistent
        If something is missing, duplicated, or not drawn where it was found.
    """
    if state.text("ImageHorizontalFlip") not in ("", "N") or any(state.numbers("ImageRotation")):
        raise ResultsInconsistent("It flips or rotates the images.")
    drawn = [_annotation(item, expected) for item in state.items("GraphicAnnotationSequence")]
    series = only_series(one.source.series for one in drawn)
    check_description(state, series)
    if state.item("ReferencedSeriesSequence").text("SeriesInstanceUID") != series.source.series_uid:
        raise ResultsInconsistent("It draws on a series other than the one it references.")
    for one in drawn:
        check_side(expected, one.side, one.line, f"A {one.kind}")
    lines = [one for one in drawn if one.kind == "POLYLINE"]
    for one in lines:
        check_side(expected, one.side, one.label, "The label of a contour")
    _check_contours(lines, series)
    _check_lesions([one for one in drawn if one.kind != "POLYLINE"], expected.seen_on(series))


def _annotation(item: Attributes, expected: ExpectedResults) -> Annotation:
    source = named_slice(item.item("ReferencedImageSequence"), expected, "An annotation")
    graphic, label = item.item("GraphicObjectSequence"), item.item("TextObjectSequence")
    units = {graphic.text("GraphicAnnotationUnits"), label.text("AnchorPointAnnotationUnits")}
    words = label.text("UnformattedTextValue")
    sides = set(sides_named(words))
    if units != {"PIXEL"} or len(sides) != 1:
        raise ResultsInconsistent(
            f"A label on slice {source.index} names {len(sides)} sides; units: {', '.join(units)}."
        )
    return Annotation(
        source,
        graphic.text("GraphicType"),
        drawn_mm(graphic.numbers("GraphicData"), source),
        words,
        sides.pop(),
        drawn_mm(label.numbers("AnchorPoint"), source),
    )


def _check_contours(lines: Sequence[Annotation], series: AnalysedSeries) -> None:
    for one in lines:
        what = f"The contour of the {one.side} joint"
        check_line(one.line, contour_at(one.source, one.side), one.source, what)
    found = [(one.slice_index, one.side) for one in series.delineation.contours]
    drawn = [(one.source.index, one.side) for one in lines]
    check_all(drawn, found, f"contours on {series.sequence}")


def _check_lesions(rings: Sequence[Annotation], seen: Sequence[Finding]) -> None:
    """Check that every ring marks a lesion of its side, and every lesion has its own ring."""
    without = list(seen)
    for ring in rings:
        around = next((finding for finding in without if _is_around(ring, finding)), None)
        if around is None:
            raise ResultsInconsistent(
                f"A {ring.side} lesion is drawn on slice {ring.source.index}, where none is seen."
            )
        without.remove(around)
    if without:
        raise ResultsInconsistent(f"{len(without)} of {len(seen)} lesions are not drawn.")


def _is_around(ring: Annotation, finding: Finding) -> bool:
    """Whether the first point, the centre of a circle, is where this lesion is best seen."""
    sight, source = finding.sight, ring.source
    return (
        sight is not None
        and (finding.position.side, sight.slice_index) == (ring.side, source.index)
        and is_near(ring.line[0], sight_mm(source.series, sight), source)
        and set(percents_in(ring.words)) <= {shown_percent(finding)}
    )
