"""A presentation state, read back: contours and rings lie where they were found, on their sides.

It holds no codes: the side of what it draws is in the words beside it.

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
    """One graphic on one slice, and the words beside it.

    Parameters
    ----------
    kind
        Graphic Type.
    line
        Its points, LPS, shape ``(n, 3)``.
    words
        Beside it.
    side
        The one that they name.
    label
        Where they stand, LPS.
    """

    source: SourceSlice
    kind: str
    line: NDArray[np.float64]
    words: str
    side: Side
    label: NDArray[np.float64]


def check_presentation(state: Attributes, evidence: ExpectedResults) -> None:
    """Compare a presentation state with findings and delineation.

    Raises
    ------
    ResultsInconsistent
        If something is missing, doubled, or drawn elsewhere than it was found.
    """
    if state.text("ImageHorizontalFlip") not in ("", "N") or any(state.numbers("ImageRotation")):
        raise ResultsInconsistent("It flips or turns the images.")
    drawn = [_annotation(item, evidence) for item in state.items("GraphicAnnotationSequence")]
    series = only_series(one.source.series for one in drawn)
    check_description(state, series)
    if state.item("ReferencedSeriesSequence").text("SeriesInstanceUID") != series.source.series_uid:
        raise ResultsInconsistent("It draws on another series than it refers to.")
    for one in drawn:
        check_side(evidence, one.side, one.line, f"A {one.kind}")
    lines = [one for one in drawn if one.kind == "POLYLINE"]
    for one in lines:
        check_side(evidence, one.side, one.label, "The label of a contour")
    _check_contours(lines, series)
    _check_lesions([one for one in drawn if one.kind != "POLYLINE"], evidence.seen_on(series))


def _annotation(item: Attributes, evidence: ExpectedResults) -> Annotation:
    source = named_slice(item.item("ReferencedImageSequence"), evidence, "An annotation")
    graphic, label = item.item("GraphicObjectSequence"), item.item("TextObjectSequence")
    units = {graphic.text("GraphicAnnotationUnits"), label.text("AnchorPointAnnotationUnits")}
    words = label.text("UnformattedTextValue")
    sides = set(sides_named(words))
    if units != {"PIXEL"} or len(sides) != 1:
        raise ResultsInconsistent(
            f"A label on slice {source.index} names {len(sides)} sides, in {', '.join(units)}."
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
    told = [(one.source.index, one.side) for one in lines]
    check_all(told, found, f"contours on {series.sequence}")


def _check_lesions(rings: Sequence[Annotation], seen: Sequence[Finding]) -> None:
    """Every ring lies around a lesion of its side, every lesion has a ring of its own."""
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
    """Whether the first point, the centre of a circle, is where this lesion is seen best."""
    sight, source = finding.sight, ring.source
    return (
        sight is not None
        and (finding.position.side, sight.slice_index) == (ring.side, source.index)
        and is_near(ring.line[0], sight_mm(source.series, sight), source)
        and set(percents_in(ring.words)) <= {shown_percent(finding)}
    )
