"""Checks right and left against the joints themselves.

The left joint lies further to the patient's left than the right joint, and whatever belongs to a
joint lies closer to it than to the other. This needs no midline of image or patient, so it also
works for off-centre, rotated and one-sided fields of view.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.findings import Side
from models.regions import REGION_LABELS
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.expected_results import ExpectedResults, contour_mm, sight_mm

BESIDE_A_JOINT_MM = 20.0
"""Nothing that belongs to one joint is this close to the other.

Regions end 12 mm from their joint, and the joints of even a small patient are 40 mm apart.
"""

_Points = NDArray[np.float64]


def check_sides_of_findings(expected: ExpectedResults) -> None:
    """Check the side of every contour, region and lesion.

    Raises
    ------
    ResultsInconsistent
        If the joints are swapped, or something lies next to the other side's joint.
    """
    for series in expected.series:
        name = f"Series {series.source.series_uid}"
        for contour in series.delineation.contours:
            what = f"{name}, slice {contour.slice_index}, contour"
            _check_contour(expected, contour.side, contour_mm(series, contour), what)
        for (side, region), at in _region_centres(series):
            check_side(expected, side, at, f"{name}, {side} {region}")
        for finding in expected.findings:
            if finding.sight and finding.sight.sequence is series.sequence:
                at = sight_mm(series, finding.sight)
                check_side(expected, finding.position.side, at, f"{name}, {finding.position}")


def check_side(expected: ExpectedResults, side: Side, positions_mm: _Points, what: str) -> None:
    """Check that positions belong to the joint of a side.

    Parameters
    ----------
    positions_mm
        LPS, shape ``(…, 3)``; their mean is checked.
    what
        Description for the error.

    Raises
    ------
    ResultsInconsistent
        If they lie next to the other joint and closer to it than to their own. If only one
        joint was found, there is nothing to compare.
    """
    at = positions_mm.reshape(-1, 3).mean(axis=0)
    own_mm, other_mm = (_distance_mm(expected, one, at) for one in (side, _other(side)))
    if other_mm < min(own_mm, BESIDE_A_JOINT_MM):
        raise ResultsInconsistent(
            f"{what} is called {side} and lies {other_mm:.1f} mm from the {_other(side)} joint."
        )


def _check_contour(expected: ExpectedResults, side: Side, line: _Points, what: str) -> None:
    """Compare each vertex with the nearest point of the other joint, on any slice."""
    other_joint = expected.joints.get(_other(side))
    if other_joint is None:
        return
    distances, nearest = other_joint.query(line)
    to_the_left_mm = float((line - other_joint.data[nearest])[:, 0].mean())
    if (to_the_left_mm > 0) != (side is Side.LEFT):
        where = "left" if to_the_left_mm > 0 else "right"
        raise ResultsInconsistent(
            f"{what} is called {side} and lies {abs(to_the_left_mm):.1f} mm to the {where} "
            f"of the {_other(side)} joint."
        )
    if distances.mean() < BESIDE_A_JOINT_MM:
        raise ResultsInconsistent(
            f"{what} is called {side} and lies {distances.mean():.1f} mm from the "
            f"{_other(side)} joint."
        )


def _distance_mm(expected: ExpectedResults, side: Side, at: _Points) -> float:
    """Distance from a point to the nearest contour of a joint; infinite if there is none."""
    joint = expected.joints.get(side)
    return float("inf") if joint is None else float(joint.query(at)[0])


def _other(side: Side) -> Side:
    return Side.LEFT if side is Side.RIGHT else Side.RIGHT


def _region_centres(
    series: AnalysedSeries,
) -> Sequence[tuple[tuple[Side, str], _Points]]:
    """Mean position of each region in a label map."""
    marked = np.flatnonzero(series.regions)
    places = np.column_stack(np.unravel_index(marked, series.regions.shape))
    values = series.regions.reshape(-1)[marked]
    return [
        (name, series.source.volume.to_patient(places[values == value].mean(axis=0)))
        for name, value in REGION_LABELS.items()
        if (values == value).any()
    ]
