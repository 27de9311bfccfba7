"""Lines drawn by readers map to the right slice, side and position in any orientation."""

import io
import json
from copy import deepcopy

import numpy as np
import pytest

from models.findings import Sequence as Kind
from models.findings import Side
from sij_node.errors import TrainingCaseUnusable
from sij_node.results.image_findings_sr import image_findings_report
from sij_node.training_export.drawn_lines import (
    delineation_of,
    lines_from_csv,
    lines_from_json,
    lines_from_report,
)
from tests.support.mr_series import CORONAL, classic_series, enhanced, oblique
from tests.support.result_inputs import analysed, context, sighted

VALUES = np.zeros((5, 64, 120), np.uint16)
FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
UPSIDE_DOWN = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
EVERY_WAY = pytest.mark.parametrize(
    "cosines", [CORONAL, FLIPPED, UPSIDE_DOWN, oblique(35), oblique(40, 12)]
)


def in_patient(delineation, source):
    return {
        (contour.side, contour.slice_index): source.volume.to_patient(
            np.insert(contour.points, 0, contour.slice_index, axis=1)
        )
        for contour in delineation.contours
    }


def drawn_in_patient(source, slices=(1, 3)):
    """Lines of both joints, left of and right of the middle of the patient, as LPS points."""
    volume = source.volume
    middle = volume.to_patient([2, 31.5, 59.5])
    lines = {}
    for index in slices:
        for side, away in ((Side.LEFT, 25.0), (Side.RIGHT, -25.0)):
            plane = volume.to_patient([index, 31.5, 59.5])
            across = volume.affine[:3, 2] / np.linalg.norm(volume.affine[:3, 2])
            down = volume.affine[:3, 1] / np.linalg.norm(volume.affine[:3, 1])
            across, down = across * np.sign(across[0]), down * -np.sign(down[2])
            assert abs(plane[0] - middle[0]) < 20
            lines[side, index] = np.array([plane + away * across + d * down for d in (-15, 0, 15)])
    return lines


def as_json(source, lines, by="sop_instance_uid", with_sides=True):
    contours = []
    for (side, index), points in lines.items():
        one = {"points": points.tolist(), "side": str(side) if with_sides else None}
        if by == "sop_instance_uid":
            one |= {by: source.sources[index].sop_instance_uid}
            one["frame"] = source.sources[index].frame_number
        else:
            one |= {"series_instance_uid": source.series_uid}
        contours.append(one)
    return json.dumps({"contours": contours})


@EVERY_WAY
@pytest.mark.parametrize("as_enhanced", [False, True])
@pytest.mark.parametrize("by", ["sop_instance_uid", "series_instance_uid"])
def test_points_of_the_patient_arrive_where_they_were_drawn(cosines, as_enhanced, by):
    one_object = [enhanced(VALUES, cosines=cosines)]
    source = analysed(one_object if as_enhanced else classic_series(VALUES, cosines=cosines)).source
    lines = drawn_in_patient(source)

    found = in_patient(delineation_of(lines_from_json(as_json(source, lines, by)), source), source)

    assert found.keys() == lines.keys()
    for place, points in lines.items():
        np.testing.assert_allclose(found[place], points, atol=1e-3)


@EVERY_WAY
def test_without_a_side_a_line_is_of_the_patient_s_side_that_it_lies_on(cosines):
    source = analysed(classic_series(VALUES, cosines=cosines)).source
    lines = drawn_in_patient(source)

    text = as_json(source, lines, with_sides=False)

    assert in_patient(delineation_of(lines_from_json(text), source), source).keys() == lines.keys()


@EVERY_WAY
def test_a_line_drawn_upwards_is_turned_to_run_from_superior_to_inferior(cosines):
    source = analysed(classic_series(VALUES, cosines=cosines)).source
    lines = {place: points[::-1] for place, points in drawn_in_patient(source).items()}

    found = in_patient(delineation_of(lines_from_json(as_json(source, lines)), source), source)

    assert all(points[0, 2] > points[-1, 2] for points in found.values())


@EVERY_WAY
def test_our_own_report_is_read_back_as_it_was_drawn(cosines):
    one = analysed(classic_series(VALUES, cosines=cosines), Kind.T1, 9)
    report = image_findings_report(one, sighted(one.source.volume, Kind.T1), context())

    found = delineation_of(lines_from_report(report), one.source)

    drawn = {(contour.side, contour.slice_index): contour for contour in one.contours}
    assert {(c.side, c.slice_index) for c in found.contours} == drawn.keys()
    for contour in found.contours:
        truth = drawn[contour.side, contour.slice_index].points
        ends = contour.points[[0, -1]]
        np.testing.assert_allclose(
            np.sort(ends, axis=0), np.sort(truth[[0, -1]], axis=0), atol=1e-3
        )


def test_a_table_in_pixels_is_read_line_by_line():
    source = analysed(classic_series(VALUES)).source
    uid = source.sources[2].sop_instance_uid
    rows = [f"{uid},{s},{c},{r}" for s, c in (("left", 90), ("right", 20)) for r in (10, 20, 30)]

    lines = lines_from_csv(io.StringIO("\n".join(["sop_instance_uid,side,column,row", *rows])))
    found = delineation_of(lines, source)

    left, right = found.on(2, Side.LEFT), found.on(2, Side.RIGHT)
    np.testing.assert_allclose(left.points, [[10, 90], [20, 90], [30, 90]])
    np.testing.assert_allclose(right.points, [[10, 20], [20, 20], [30, 20]])


def test_a_line_on_the_wrong_side_is_refused():
    source = analysed(classic_series(VALUES)).source
    lines = drawn_in_patient(source)
    swapped = {
        (Side.LEFT if side is Side.RIGHT else Side.RIGHT, index): points
        for (side, index), points in lines.items()
    }

    with pytest.raises(TrainingCaseUnusable, match="lies on the patient's"):
        delineation_of(lines_from_json(as_json(source, swapped)), source)


def test_a_line_beside_its_image_is_refused():
    source = analysed(classic_series(VALUES)).source
    lines = {
        place: points + source.volume.affine[:3, 0]
        for place, points in drawn_in_patient(source).items()
    }

    with pytest.raises(TrainingCaseUnusable, match="outside the plane of its image"):
        delineation_of(lines_from_json(as_json(source, lines)), source)


def test_two_lines_of_one_joint_on_one_image_are_refused():
    source = analysed(classic_series(VALUES)).source
    drawn = json.loads(as_json(source, drawn_in_patient(source)))
    drawn["contours"].append(deepcopy(drawn["contours"][0]))

    with pytest.raises(TrainingCaseUnusable, match="more than one contour"):
        delineation_of(lines_from_json(json.dumps(drawn)), source)


def test_lines_of_another_series_are_none_of_this_one_s():
    source = analysed(classic_series(VALUES)).source
    other = analysed(classic_series(VALUES, series_uid="1.2.3.99")).source

    assert delineation_of(lines_from_json(as_json(other, drawn_in_patient(other))), source) is None


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        '{"contours": [{"sop_instance_uid": "1.2", "points": [[1, 2]]}]}',
        '{"contours": [{"sop_instance_uid": "1.2", "points": [[1, 2, 3, 4], [1, 2, 3, 4]]}]}',
        '{"contours": [{"series_instance_uid": "1.2", "points": [[1, 2], [3, 4]]}]}',
        '{"contours": [{"sop_instance_uid": "1.2", "side": "up", "points": [[1, 2], [3, 4]]}]}',
    ],
)
def test_what_is_no_line_is_refused_in_words(text):
    with pytest.raises(TrainingCaseUnusable):
        lines_from_json(text)


def test_a_table_with_other_columns_says_which_are_needed():
    with pytest.raises(TrainingCaseUnusable, match="sop_instance_uid, side, column, row"):
        lines_from_csv(io.StringIO("image,x,y\n1,2,3"))
