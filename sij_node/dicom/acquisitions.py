"""The acquisitions in a series: images that are alike enough to form one volume.

A series can hold guests (a localiser, a screenshot), two echoes, or a T1 and a STIR under one UID.

Source: DICOM PS3.3 C.7.3.1 (series); C.8.3.1 (MR timing).
"""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from sij_node.dicom.acquisition_facts import AcquisitionFacts, acquisition_facts
from sij_node.dicom.headers import text
from sij_node.dicom.series_roles import role_of

SAME_NORMAL = 0.02
"""Largest difference of a component of the normal within one acquisition."""
SAME_TIME = 0.1
"""Largest relative difference of TR, TE and TI within one acquisition."""

Acquisition = list[Dataset]


def acquisitions_of(headers: Sequence[Dataset]) -> list[Acquisition]:
    """Split the images of one series by acquisition.

    Returns
    -------
    list[Acquisition]
        The one with most images first; within each the order of `headers`.
    """
    found: list[tuple[AcquisitionFacts, Acquisition]] = []
    for header in headers:
        facts = acquisition_facts(header)
        alike = (one for known, one in found if _is_alike(known, facts, one[0], header))
        acquisition = next(alike, None)
        if acquisition is None:
            found.append((facts, [header]))
        else:
            acquisition.append(header)
    return sorted((one for _, one in found), key=len, reverse=True)


def _is_alike(one: AcquisitionFacts, other: AcquisitionFacts, a: Dataset, b: Dataset) -> bool:
    return (
        one.sop_class_uid == other.sop_class_uid
        and role_of(one).role is role_of(other).role
        and all(text(a, size) == text(b, size) for size in ("Rows", "Columns"))
        and _is_parallel(one.normal, other.normal)
        and _is_same(one.repetition_time_ms, other.repetition_time_ms)
        and _is_same(one.echo_time_ms, other.echo_time_ms)
        and _is_same(one.inversion_time_ms, other.inversion_time_ms)
    )


def _is_parallel(
    one: tuple[float, float, float] | None, other: tuple[float, float, float] | None
) -> bool:
    if one is None or other is None:
        return one is other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < SAME_NORMAL


def _is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_TIME * max(one, other)
