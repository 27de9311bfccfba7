"""Contours drawn on DICOM images, read from JSON, CSV or the polylines of a structured report.

A line references its image, with points as (column, row), where (0, 0) is the centre of the first
pixel, or as (x, y, z) in the patient. A line with (x, y, z) points may reference its series only.

Source: DICOM PS3.3 C.18.6.1.2 (pixel coordinates in a report start at the corner of the first
pixel).
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from models.delineation import Contour, Delineation
from models.findings import Side
from sij_node.dicom.volumes import SeriesVolume
from sij_node.errors import TrainingCaseUnusable
from sij_node.results.image_findings_sr import FROM_CENTRE_TO_CORNER

_SIDES = {
    ("SCT", "7771000"): Side.LEFT,
    ("SCT", "24028007"): Side.RIGHT,
    ("SRT", "G-A101"): Side.LEFT,
    ("SRT", "G-A100"): Side.RIGHT,
    ("99SDM", "G-A101"): Side.LEFT,
    ("99SDM", "G-A100"): Side.RIGHT,
}
_PIXEL_COLUMNS = ("sop_instance_uid", "side", "column", "row")
_PATIENT_COLUMNS = ("sop_instance_uid", "side", "x_mm", "y_mm", "z_mm")
BOTH_SIDES_MM = 40.0
"""Lines further apart than this belong to different joints."""
OFF_CENTRE_MM = 20.0
"""Where only one joint has lines, a line this far from the image's middle shows its side."""

OFF_PLANE_MM = 1.0
"""Largest accepted distance of a point from the plane of its image."""


@dataclass(frozen=True, eq=False)
class DrawnLine:
    """One line on one image.

    Parameters
    ----------
    sop_instance_uid, series_uid
        The image or, if the image follows from the points, only the series; the other is empty.
    frame
        Frame number, from 1, in a multi-frame object; None for a single-frame image.
    side
        Side of the patient; None if not stated.
    points
        ``(n, 2)`` as (column, row), where (0, 0) is the centre of the first pixel, or ``(n, 3)``
        as LPS millimetres.
    """

    sop_instance_uid: str
    frame: int | None
    side: Side | None
    points: NDArray[np.float64]
    series_uid: str = ""

    @property
    def where(self) -> str:
        """The image or series, for messages."""
        return self.sop_instance_uid or f"of series {self.series_uid}"


def lines_from_json(text: str) -> tuple[DrawnLine, ...]:
    """Read lines from ``{"contours": [{"sop_instance_uid", "frame", "side", "points"}, …]}``.

    With points ``[x, y, z]``, ``series_instance_uid`` may replace ``sop_instance_uid``.

    Raises
    ------
    TrainingCaseUnusable
    """
    try:
        drawn = json.loads(text)["contours"]
        return tuple(_line_from(one) for one in drawn)
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingCaseUnusable(
            f"the contours are not valid JSON ({type(error).__name__}: {error}); required is "
            '{"contours": [{"sop_instance_uid": …, "side": "left", "points": [[column, row], …]}]}'
        ) from error


def _line_from(one: dict[str, Any]) -> DrawnLine:
    if "sop_instance_uid" in one:
        return _line(one["sop_instance_uid"], one.get("frame"), one.get("side"), one["points"])
    series_uid = str(one["series_instance_uid"])
    line = replace(_line("", None, one.get("side"), one["points"]), series_uid=series_uid)
    if line.points.shape[1] != 3:
        raise TrainingCaseUnusable(
            f"a line of series {series_uid} names no image; its points must be [x, y, z]"
        )
    return line


def lines_from_csv(file: TextIO) -> tuple[DrawnLine, ...]:
    """Read lines from a table of points; consecutive rows of one image and side form a line.

    Columns: ``sop_instance_uid, side, column, row`` or ``…, x_mm, y_mm, z_mm``; optionally
    ``frame`` for multi-frame objects.

    Raises
    ------
    TrainingCaseUnusable
    """
    table = csv.DictReader(file)
    given = set(table.fieldnames or ())
    wanted = next((c for c in (_PATIENT_COLUMNS, _PIXEL_COLUMNS) if given.issuperset(c)), None)
    if wanted is None:
        raise TrainingCaseUnusable(
            f"the table has the columns {', '.join(sorted(given))}; required are "
            f"{', '.join(_PIXEL_COLUMNS)}, or {', '.join(_PATIENT_COLUMNS)}"
        )

    def place(row: dict[str, str]) -> tuple[str, str, str]:
        return row["sop_instance_uid"], row.get("frame") or "", row["side"]

    return tuple(
        _line(uid, int(frame) if frame else None, side, [_numbers(r, wanted[2:]) for r in rows])
        for (uid, frame, side), rows in groupby(table, place)
    )


def _numbers(row: dict[str, str], columns: Sequence[str]) -> list[float]:
    try:
        return [float(row[column]) for column in columns]
    except ValueError as error:
        raise TrainingCaseUnusable(
            f"the table contains a coordinate that is not a number: {error}"
        ) from error


def _line(uid: str, frame: int | None, side: str | None, points: Any) -> DrawnLine:
    placed = np.array(points, dtype=np.float64)
    if placed.ndim != 2 or placed.shape[1] not in (2, 3) or len(placed) < 2:
        raise TrainingCaseUnusable(
            f"a line on image {uid} has points of shape {placed.shape}; two or more "
            "(column, row), or (x, y, z) in patient millimetres, are required"
        )
    try:
        return DrawnLine(str(uid), frame, Side(side.lower()) if side else None, placed)
    except ValueError as error:
        raise TrainingCaseUnusable(
            f"a line on image {uid} has side {side!r}; it must be left or right"
        ) from error


def lines_from_report(report: Dataset) -> tuple[DrawnLine, ...]:
    """Read every polyline of a structured report with its image, and its side if coded.

    Reads reports of this node and of other systems. A line takes its side from the nearest
    enclosing container that has one.
    """
    return tuple(_lines_in(report, None))


def _lines_in(item: Dataset, side: Side | None) -> Iterator[DrawnLine]:
    children = item.get("ContentSequence") or ()
    side = next(filter(None, map(_side_of_item, children)), None) or side
    for child in children:
        if child.get("ValueType") == "SCOORD" and child.get("GraphicType") == "POLYLINE":
            yield from _lines_of(child, side)
        else:
            yield from _lines_in(child, side)


def _lines_of(graphic: Dataset, side: Side | None) -> Iterator[DrawnLine]:
    points = np.array(graphic.GraphicData, np.float64).reshape(-1, 2) - FROM_CENTRE_TO_CORNER
    for child in graphic.get("ContentSequence") or ():
        for image in child.get("ReferencedSOPSequence") or ():
            frame = image.get("ReferencedFrameNumber")
            uid = str(image.ReferencedSOPInstanceUID)
            yield DrawnLine(uid, None if frame is None else int(frame), side, points)


def _side_of_item(item: Dataset) -> Side | None:
    """The side coded in an item or in a modifier of it."""
    if item.get("ValueType") != "CODE":
        return None
    found = coded_side(item.get("ConceptCodeSequence") or ())
    below = map(_side_of_item, item.get("ContentSequence") or ())
    return found or next(filter(None, below), None)


def coded_side(codes: Iterable[Dataset]) -> Side | None:
    """The side that one of these codes means."""
    found = (_SIDES.get((one.get("CodingSchemeDesignator"), one.get("CodeValue"))) for one in codes)
    return next(filter(None, found), None)


def delineation_of(lines: Iterable[DrawnLine], series: SeriesVolume) -> Delineation | None:
    """The delineation of one series from its lines; None if there is none.

    Its contours run from superior to inferior. A line without a side gets it from its position
    relative to the middle between all lines.

    Raises
    ------
    TrainingCaseUnusable
        If one side of an image has two lines, a line leaves its image, or a stated side
        contradicts the position of the line.
    """
    drawn = [(index, line) for line in lines if (index := _slice_of(line, series)) is not None]
    if not drawn:
        return None
    on_pixels = [(index, _on_pixels(line, index, series)) for index, line in drawn]
    contours = _contours(on_pixels, series)
    try:
        return Delineation(tuple(contours))
    except ValueError as error:
        raise TrainingCaseUnusable(f"series {series.series_uid}: {error}") from error


def _slice_of(line: DrawnLine, series: SeriesVolume) -> int | None:
    """The slice that a line was drawn on; None if it belongs to another series."""
    if line.series_uid:
        if line.series_uid != series.series_uid:
            return None
        index = round(float(series.volume.to_indices(line.points)[:, 0].mean()))
        return min(max(index, 0), len(series.sources) - 1)
    named = (line.sop_instance_uid, line.frame or 1)
    places = [(source.sop_instance_uid, source.frame_number or 1) for source in series.sources]
    return places.index(named) if named in places else None


def _on_pixels(line: DrawnLine, index: int, series: SeriesVolume) -> DrawnLine:
    """The line with points as (row, column) of its slice, superior end first."""
    volume = series.volume
    if line.points.shape[1] == 3:
        at = volume.to_indices(line.points)
        off_plane_mm = float(np.abs(at[:, 0] - index).max()) * volume.spacing_mm[0]
        if off_plane_mm > OFF_PLANE_MM:
            raise TrainingCaseUnusable(
                f"a line lies up to {off_plane_mm:.1f} mm outside the plane of its image "
                f"{line.where}; its points must be LPS millimetres in its frame of reference"
            )
        points = at[:, 1:]
    else:
        points = line.points[:, ::-1]
    if (points < -0.5).any() or (points > np.array(volume.voxels.shape[1:]) - 0.5).any():
        raise TrainingCaseUnusable(f"a line extends beyond its image {line.where}")
    ends = volume.to_patient(np.insert(points[[0, -1]], 0, index, axis=1))
    return replace(line, points=points if ends[0, 2] >= ends[1, 2] else points[::-1].copy())


def _seen_side(x_mm: float, series: SeriesVolume) -> Side | None:
    """The side of the image's middle on which a line clearly lies; None near the middle."""
    centre = (np.array(series.volume.voxels.shape) - 1) / 2
    off_mm = x_mm - float(series.volume.to_patient(centre)[0])
    if abs(off_mm) < OFF_CENTRE_MM:
        return None
    return Side.LEFT if off_mm > 0 else Side.RIGHT


def _contours(lines: Sequence[tuple[int, DrawnLine]], series: SeriesVolume) -> Iterator[Contour]:
    across = [
        float(series.volume.to_patient(np.insert(line.points, 0, index, axis=1))[:, 0].mean())
        for index, line in lines
    ]
    has_both_sides = max(across) - min(across) > BOTH_SIDES_MM
    middle = (min(across) + max(across)) / 2
    for (index, line), x in zip(lines, across, strict=True):
        lies = (Side.LEFT if x > middle else Side.RIGHT) if has_both_sides else line.side
        if not has_both_sides and line.side is not None:
            lies = _seen_side(x, series) or line.side
        if lies is None:
            raise TrainingCaseUnusable(
                f"the line on image {line.where} has no side, and without a line on the other "
                "joint its side is unknown; state left or right of the patient"
            )
        if line.side not in (None, lies):
            raise TrainingCaseUnusable(
                f"the line on image {line.where} is labelled {line.side}, "
                f"but lies on the patient's {lies}; correct its side"
            )
        yield Contour(index, lies, line.points, 1.0)
