"""Whether the T1 and the STIR of a study are visibly incomplete.

Judged by gaps between slices, holes in the instance numbers, numbers of images that the images or
the archive state, and by how far each series covers the other.

Source: DICOM PS3.3 C.7.6.1 (Images in Acquisition), C.7.6.16.2.2.4 and C.12.1 (concatenations);
PS3.4 C.3.4 (Number of Series Related Instances).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sij_node.dicom.headers import frame_count, number, numbers, text

GAP = 1.5
"""A distance between slices of more than this times the usual one is a gap."""
SHORTFALL = 1.5
"""Covering less of the other series than this number of slices is no sign of missing images."""
SAME_NORMAL = 0.1
"""Largest difference of a component of the normals of two series that can be compared."""
STATED = ("NumberOfSeriesRelatedInstances", "ImagesInAcquisition")


class Incompleteness(StrEnum):
    """Why a series looks incomplete."""

    GAP_BETWEEN_SLICES = "gap between slices"
    NUMBER_MISSING = "instance number missing"
    FEWER_THAN_STATED = "fewer images than stated"
    FEWER_THAN_AT_ARCHIVE = "fewer images than the archive has"
    LESS_COVERAGE = "covers less than the other series"


Signs = tuple[tuple[Incompleteness, str, int], ...]
"""Each sign with T1 or STIR and the least number of images that it shows to be missing."""


def signs_of_missing_images(
    t1: Sequence[Dataset],
    stir: Sequence[Dataset],
    guests: Sequence[Dataset] = (),
    at_archive: Mapping[str, int] = {},
) -> Signs:
    """What shows that images of a T1 or STIR series are missing.

    Parameters
    ----------
    t1, stir
        Headers of the images of each.
    guests
        Headers of further images in the same series, which are numbered and counted with them.
    at_archive
        Number of images of each series at the archive, by Series Instance UID.
    """
    pair = {"T1": t1, "STIR": stir}
    found = [
        (sign, name, count)
        for name, headers in pair.items()
        for sign, count in _signs(headers, guests, at_archive)
        if count > 0
    ]
    return (*found, *_shorter(t1, stir))


def _signs(
    headers: Sequence[Dataset], guests: Sequence[Dataset], at_archive: Mapping[str, int]
) -> Iterator[tuple[Incompleteness, int]]:
    uids = {text(header, "SeriesInstanceUID") for header in headers}
    series = [*headers, *(one for one in guests if text(one, "SeriesInstanceUID") in uids)]
    images = len({text(one, "SOPInstanceUID") for one in series})
    stated = max(map(_stated_count, headers), default=0)
    held = max((at_archive.get(uid, 0) for uid in uids), default=0)
    yield Incompleteness.GAP_BETWEEN_SLICES, _slices_missing(headers)
    yield Incompleteness.NUMBER_MISSING, _numbers_missing(series)
    yield Incompleteness.FEWER_THAN_STATED, max(stated - images, _parts_missing(series))
    yield Incompleteness.FEWER_THAN_AT_ARCHIVE, held - images


def _slices_missing(headers: Sequence[Dataset]) -> int:
    """Slices that the gaps between those that are there have room for."""
    along = _positions(headers, _normal(headers))
    if len(along) < 3:
        return 0
    steps = np.diff(along) / np.median(np.diff(along))
    return int((np.rint(steps[steps > GAP]) - 1).clip(1).sum())


def _numbers_missing(headers: Iterable[Dataset]) -> int:
    """Holes in numbers with a regular step, and numbers before the first that should be there."""
    stated = {number(header, "InstanceNumber") for header in headers}
    found = np.array(sorted(one for one in stated if one is not None))
    if len(found) < 3:
        return 0
    steps = np.diff(found)
    holes = int((np.ceil(steps / steps.min()) - 1).sum())
    return holes + (int(found[0]) - 1 if 1 < found[0] <= len(found) else 0)


def _parts_missing(headers: Iterable[Dataset]) -> int:
    """Parts of concatenations that are missing."""
    parts: dict[str, set[float | None]] = {}
    stated: dict[str, int] = {}
    for header in headers:
        uid = text(header, "ConcatenationUID")
        if uid:
            parts.setdefault(uid, set()).add(number(header, "InConcatenationNumber"))
            total = int(number(header, "InConcatenationTotalNumber") or 0)
            stated[uid] = max(total, stated.get(uid, 0))
    return sum(max(stated[uid] - len(found), 0) for uid, found in parts.items())


def _stated_count(header: Dataset) -> int:
    stated = STATED if frame_count(header) == 1 else STATED[:1]
    return int(max(number(header, keyword) or 0 for keyword in stated))


def _shorter(t1: Sequence[Dataset], stir: Sequence[Dataset]) -> Signs:
    """The sign of the series that covers less of the body than the other; none if they agree."""
    normal, other = _normal(t1), _normal(stir)
    if normal is None or other is None or np.abs(normal - other).max() > SAME_NORMAL:
        return ()
    along = [_positions(headers, normal) for headers in (t1, stir)]
    if min(map(len, along)) < 2:
        return ()
    spacing_mm = [float(np.median(np.diff(one))) for one in along]
    extent_mm = [float(np.ptp(one)) + step for one, step in zip(along, spacing_mm, strict=True)]
    lacks_mm = abs(extent_mm[0] - extent_mm[1])
    if lacks_mm <= SHORTFALL * max(spacing_mm):
        return ()
    shorter = int(extent_mm[1] < extent_mm[0])
    count = round(lacks_mm / spacing_mm[shorter])
    return ((Incompleteness.LESS_COVERAGE, ("T1", "STIR")[shorter], count),)


def _normal(headers: Sequence[Dataset]) -> NDArray[np.float64] | None:
    cosines = numbers(headers[0], "ImageOrientationPatient", 6) if headers else None
    return None if cosines is None else np.cross(cosines[:3], cosines[3:])


def _positions(
    headers: Iterable[Dataset], normal: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Distinct positions of all slices along the normal, in mm, ascending."""
    if normal is None:
        return np.array([])
    stated = (
        numbers(header, "ImagePositionPatient", 3, frame)
        for header in headers
        for frame in range(frame_count(header))
    )
    return np.unique(np.round([np.dot(one, normal) for one in stated if one is not None], 1))
