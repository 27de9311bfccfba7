"""Comparison of two sets of weights."""

import numpy as np
import pytest

from models.findings import POSITIONS, Finding, Lesion
from sij_node.domain.weights_comparison import (
    StudyComparison,
    WeightsComparison,
    contour_distance_mm,
    score_pairs,
)


def findings(probability: float | None) -> list[Finding]:
    return [Finding(position, probability, 0.5) for position in POSITIONS]


def test_a_position_that_crosses_its_threshold_changes_sides():
    crossing = score_pairs(findings(0.4), findings(0.6))
    staying = score_pairs(findings(0.6), findings(0.9))

    assert all(pair.changes_sides for pair in crossing)
    assert not any(pair.changes_sides for pair in staying)
    assert len(crossing) == 28


def test_a_joint_that_only_one_can_evaluate_changes_sides_without_a_number():
    pair = score_pairs(findings(None), findings(0.6))[0]

    assert (pair.changes_sides, pair.change) == (True, None)


def test_the_summary_covers_all_studies_and_omits_what_is_missing():
    up = StudyComparison(1, "1.2", score_pairs(findings(0.4), findings(0.6)), contour_mm=0.5)
    down = StudyComparison(2, "1.3", score_pairs(findings(0.4), findings(0.3)), contour_mm=1.5)
    refused = StudyComparison(3, "1.4", remark="No T1.")

    found = WeightsComparison("contour 1", "contour 2", (up, down, refused))

    assert (found.changing_sides, len(found.pairs)) == (28, 56)
    assert found.mean_change[Lesion.OEDEMA] == pytest.approx(0.05)
    assert found.contour_mm == 1.0
    assert found.as_json()["summary"]["positions"] == 56


def test_no_study_gives_an_empty_summary():
    empty = WeightsComparison("a", "b", ())

    assert (empty.contour_mm, empty.mean_change, empty.changing_sides) == (None, {}, 0)


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
def test_contours_that_run_side_by_side_are_that_far_apart(shift):
    line = np.array([[0.0, 0.0], [10.0, 0.0], [40.0, 0.0]])

    assert contour_distance_mm(line, line + np.array([0.0, shift])) == pytest.approx(
        shift, abs=1e-9
    )


def test_the_distance_is_the_same_both_ways():
    one = np.array([[0.0, 0.0], [10.0, 5.0], [20.0, 0.0]])
    other = np.array([[2.0, 1.0], [19.0, 3.0]])

    assert contour_distance_mm(one, other) == pytest.approx(contour_distance_mm(other, one))
