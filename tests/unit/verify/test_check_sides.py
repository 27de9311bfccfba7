"""Sides are checked by joint position in the patient, independent of image orientation."""

from dataclasses import replace

import numpy as np
import pytest

from models.delineation import Contour, Delineation
from models.findings import Finding, Position, Side
from models.regions import REGION_LABELS, REGIONS_PER_JOINT, region_label_map
from sij_node.dicom.volumes import volume_from
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.check_sides import check_sides_of_findings
from sij_node.verify.expected_results import ExpectedResults
from tests.support.mr_series import CORONAL, classic_series, oblique
from tests.support.oriented_volumes import two_joints
from tests.support.small_study import drawn_study, headers_of

OTHER = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}


def expected(series: tuple[AnalysedSeries, ...], findings: tuple[Finding, ...] = ()):
    headers = tuple(header for one in series for header in one.headers)
    return ExpectedResults(headers, series, findings)


def a_series(at: tuple[float, float] = (0, 0), cosines=CORONAL, lean_mm: float = 0.0):
    """Both joints on nine slices, moved by (down, across) pixels; they lean from slice to slice."""
    images = classic_series(
        np.zeros((9, 60, 140), np.uint16),
        cosines=cosines,
        spacing_mm=(4.0, 2.0, 2.0),
    )
    source = volume_from(images)
    moved = [
        replace(one, points=one.points + np.array(at) + [0, lean_mm / 2 * (one.slice_index - 4)])
        for one in two_joints(source.volume, range(9)).contours
    ]
    return drawn(AnalysedSeries("T1", source, images, None, None), moved)


def drawn(series: AnalysedSeries, contours: list[Contour]) -> AnalysedSeries:
    found = Delineation(tuple(contours))
    regions = region_label_map(series.source.volume, found)
    return replace(series, delineation=found, regions=regions)


def only(series: AnalysedSeries, side: Side, slices: range) -> AnalysedSeries:
    """One joint on some slices only."""
    return drawn(
        series,
        [c for c in series.delineation.contours if c.side is not side or c.slice_index in slices],
    )


def called_otherwise(series: AnalysedSeries, slices: range, *sides: Side) -> AnalysedSeries:
    """Contours of some slices under the other side's name."""
    return drawn(
        series,
        [
            replace(c, side=OTHER[c.side]) if c.slice_index in slices and c.side in sides else c
            for c in series.delineation.contours
        ],
    )


FIELDS = {
    "centred": a_series(),
    "both joints left of the middle of the image": a_series((0, -35)),
    "both joints right of the middle of the image": a_series((5, 35)),
    "patient rotated about the long axis": a_series(cosines=oblique(35, 12)),
    "patient rotated the other way": a_series(cosines=oblique(-35, -12)),
    "joints that lean across the stack": a_series(lean_mm=6),
    "left joint on few slices": only(a_series(lean_mm=6), Side.LEFT, range(2)),
    "right joint on few slices, off-centre": only(a_series((0, 30)), Side.RIGHT, range(7, 9)),
    "never both on one slice": only(only(a_series(), Side.LEFT, range(3)), Side.RIGHT, range(5, 9)),
}


@pytest.mark.parametrize("series", FIELDS.values(), ids=FIELDS)
def test_right_sides_pass_in_every_field_of_view(series):
    check_sides_of_findings(expected((series,)))


@pytest.mark.parametrize("series", FIELDS.values(), ids=FIELDS)
def test_swapped_joints_are_noticed_in_every_field_of_view(series):
    swapped = called_otherwise(series, range(9), *Side)

    with pytest.raises(ResultsInconsistent, match="is called"):
        check_sides_of_findings(expected((swapped,)))


@pytest.mark.parametrize("side", Side)
def test_one_joint_alone_passes(side):
    check_sides_of_findings(expected((only(a_series((0, 30)), side, range(0)),)))


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("slices", [range(1), range(4, 5), range(3, 6), range(7, 9)])
def test_a_joint_swapped_on_some_slices_is_noticed(side, slices):
    alone_there = only(a_series(lean_mm=6), side, range(0))
    with_both = drawn(
        a_series(lean_mm=6),
        [c for c in a_series(lean_mm=6).delineation.contours
         if c.side is not side or c.slice_index not in slices],
    )  # fmt: skip
    for series in (alone_there, with_both):
        with pytest.raises(ResultsInconsistent, match="is called"):
            check_sides_of_findings(expected((called_otherwise(series, slices, OTHER[side]),)))


def test_regions_of_the_other_joint_are_noticed():
    series = a_series(lean_mm=6)
    labels = series.regions
    count = len(REGIONS_PER_JOINT)
    swapped = np.where(labels > count, labels - count, np.where(labels > 0, labels + count, 0))

    with pytest.raises(ResultsInconsistent, match="is called"):
        check_sides_of_findings(expected((replace(series, regions=swapped.astype(np.uint8)),)))
    assert max(REGION_LABELS.values()) == 2 * count


def test_a_sacral_lesion_may_lie_at_the_midline_but_not_beyond():
    study = drawn_study()
    seen = next(f for f in study.findings if f.sight)
    (series,) = (one for one in study.series if one.sequence is seen.sight.sequence)
    left = series.delineation.on(seen.sight.slice_index, Side.LEFT)
    right = series.delineation.on(seen.sight.slice_index, Side.RIGHT)
    middle = (left.points.mean(axis=0) + right.points.mean(axis=0)) / 2
    towards_right = (right.points - left.points).mean(axis=0)
    towards_right /= np.linalg.norm(towards_right)

    def lesion_at(point):
        row, column = point
        finding = replace(
            seen,
            position=Position(Side.LEFT, seen.position.head),
            sight=replace(seen.sight, row=float(row), column=float(column)),
        )
        return ExpectedResults(tuple(headers_of(study)), study.series, (finding,))

    check_sides_of_findings(lesion_at(middle + 0.6 * towards_right))
    with pytest.raises(ResultsInconsistent, match="right joint"):
        check_sides_of_findings(lesion_at(right.points.mean(axis=0) - 3 * towards_right))
