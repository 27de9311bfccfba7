"""Checks the structured report that marks one series' findings on its images.

Source: DICOM PS3.16 TID 1501 (lesions), TID 1410 (contours).
"""

from collections.abc import Iterator, Sequence

from models.findings import Position, Side
from sij_node.dicom.read_back.positions import position_of, site_of
from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.dicom.read_back.sr_content import Item
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.check_graphics import (
    check_all,
    check_line,
    check_point,
    contour_at,
    drawn_mm,
)
from sij_node.verify.check_scores import check_finding, check_words, is_of_lesion
from sij_node.verify.check_sides import check_side
from sij_node.verify.expected_results import ExpectedResults, SourceSlice
from sij_node.verify.source_slices import check_description, named_slice, only_series


def check_image_findings(
    report: Attributes, groups: Sequence[Item], expected: ExpectedResults
) -> None:
    """Compare a report's points and contours with the findings and the delineation.

    Raises
    ------
    ResultsInconsistent
        If one is missing, duplicated, or not drawn where it was found.
    """
    series = _only_series(groups, expected)
    check_description(report, series)
    lesions = [group for group in groups if is_of_lesion(group)]
    marked = [_check_lesion(group, series, expected) for group in lesions]
    seen = [finding.position for finding in expected.seen_on(series)]
    check_all(marked, seen, f"lesions on {series.sequence}")
    drawn = [_check_contour(group, expected) for group in groups if group not in lesions]
    found = [(one.slice_index, one.side) for one in series.delineation.contours]
    check_all(drawn, found, f"contours on {series.sequence}")


def graphics(group: Item) -> Iterator[Item]:
    """All graphics of a group."""
    return (item for item in group.descendants() if item.value_type.startswith("SCOORD"))


def _graphic(group: Item, kind: str, expected: ExpectedResults) -> tuple[Item, SourceSlice]:
    """The single graphic of a group, and the image that it is drawn on."""
    drawn = list(graphics(group))
    if [item.attributes.text("GraphicType") for item in drawn] != [kind]:
        raise ResultsInconsistent(f"A group has {len(drawn)} graphics instead of one {kind}.")
    images = [child for child in drawn[0].children if child.value_type == "IMAGE"]
    if len(images) != 1:
        raise ResultsInconsistent(f"A {kind} is drawn on {len(images)} images instead of one.")
    reference = images[0].attributes.item("ReferencedSOPSequence")
    return drawn[0], named_slice(reference, expected, f"A {kind}")


def _only_series(groups: Sequence[Item], expected: ExpectedResults) -> AnalysedSeries:
    kinds = ("POINT" if is_of_lesion(group) else "POLYLINE" for group in groups)
    return only_series(
        _graphic(group, kind, expected)[1].series for group, kind in zip(groups, kinds, strict=True)
    )


def _check_lesion(group: Item, series: AnalysedSeries, expected: ExpectedResults) -> Position:
    position = position_of(group)
    check_finding(group, position, expected)
    drawn, source = _graphic(group, "POINT", expected)
    sight = expected.finding_at[position].sight
    if sight is None or (series.sequence, source.index) != (sight.sequence, sight.slice_index):
        raise ResultsInconsistent(f"{position} is not best seen on slice {source.index}.")
    point = drawn_mm(drawn.attributes.numbers("GraphicData"), source)
    check_point(point, sight, source, str(position))
    check_side(expected, position.side, point, str(position))
    return position


def _check_contour(group: Item, expected: ExpectedResults) -> tuple[int, Side]:
    _, side = site_of(group)
    drawn, source = _graphic(group, "POLYLINE", expected)
    what = f"The contour of the {side} joint"
    check_words(group, side, what)
    contour = contour_at(source, side)
    line = drawn_mm(drawn.attributes.numbers("GraphicData"), source)
    check_line(line, contour, source, what)
    check_side(expected, side, line, what)
    return source.index, side
