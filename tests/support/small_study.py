"""A small analysed study in any orientation, with contours of both joints and lesion positions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

from models.delineation import Delineation
from models.findings import POSITIONS, Finding, Sight
from models.findings import Sequence as Kind
from models.regions import region_label_map
from sij_node.dicom.volumes import volume_from
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.build import AnalysedStudy
from tests.support.mr_series import CORONAL, STIR_TIMES, T1_TIMES, classic_series, enhanced
from tests.support.oriented_volumes import two_joints
from tests.support.result_inputs import burden

SHAPE = (5, 45, 51)
"""Odd, so that segmentation frames do not start at byte boundaries."""
SPACING_MM = (4.4, 2.0, 1.8)
FIRST_PIXEL_MM = np.array([12.0, -30.0, 50.0])
Cosines = tuple[Sequence[float], Sequence[float]]


def turned(cosines: Cosines, degrees: float, mirrored: bool = False) -> Cosines:
    """Rows and columns rotated within their plane; if mirrored, slices are numbered in reverse."""
    row, column = (np.array(one) for one in cosines)
    angle = np.radians(degrees)
    across = np.cos(angle) * row + np.sin(angle) * column
    down = np.cos(angle) * column - np.sin(angle) * row
    return tuple(across), tuple(-down if mirrored else down)


def drawn_study(cosines: Cosines = CORONAL, many_frames: bool = False) -> AnalysedStudy:
    """T1 and STIR of one patient, with both joints on the inner three slices."""
    series = tuple(
        _analysed(kind, number, cosines, many_frames) for number, kind in enumerate(Kind, 1)
    )
    return AnalysedStudy(
        series,
        tuple(_finding(number, series) for number in range(len(POSITIONS))),
        burden=burden(),
    )


def _analysed(kind: Kind, number: int, cosines: Cosines, many_frames: bool) -> AnalysedSeries:
    values = _grained(number)
    place = {"cosines": cosines, "spacing_mm": SPACING_MM}
    origin = FIRST_PIXEL_MM + number
    uid = f"1.2.3.{number}"
    if many_frames:
        order = [3, 1, 4, 0, 2]
        images = [enhanced(values, uid, origin_mm=origin, order=order, **place)]
    else:
        times = T1_TIMES if kind is Kind.T1 else STIR_TIMES
        images = classic_series(values, uid, origin_mm=origin, **place, **times)[::-1]
    source = volume_from(images)
    drawn = _joints(source.volume)
    return AnalysedSeries(kind, source, images, drawn, region_label_map(source.volume, drawn))


def _grained(number: int) -> np.ndarray:
    """Every slice is different, and none is mirror-symmetric."""
    grain = gaussian_filter(np.random.default_rng(number).normal(size=SHAPE), (0, 1.5, 1.5))
    return np.uint16(1000 + 300 * grain / grain.std()).clip(0, 2000)


def _joints(volume) -> Delineation:
    """Curved differently on every slice, so that no two contours are interchangeable."""
    straight = two_joints(volume, range(1, SHAPE[0] - 1))
    return Delineation(
        tuple(
            replace(
                contour,
                points=contour.points + 0.3 * contour.slice_index * np.sin(np.arange(9))[:, None],
            )
            for contour in straight.contours
        )
    )


def _finding(number: int, series: Sequence[AnalysedSeries]) -> Finding:
    """The fifth is not evaluable; every fourth is present, near a contour of its joint."""
    position = POSITIONS[number]
    if number % 4:
        return Finding(position, number / 100, 0.5)
    if number == 4:
        return Finding(position, None, 0.5)
    one = series[number // 4 % 2]
    contour = one.delineation.of(position.side)[number % 3]
    row, column = contour.points[number % 9] + (number % 7 - 3) / 4
    sight = Sight(one.sequence, contour.slice_index, row, column)
    return Finding(position, 0.7 + number / 100, 0.5, sight)


def headers_of(study: AnalysedStudy) -> list[Dataset]:
    """Headers of all images."""
    return [header for one in study.series for header in one.headers]
