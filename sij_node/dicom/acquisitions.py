"""The acquisitions in a series: images or frames that are alike enough to form one volume.

A series can hold guests (a localiser, a screenshot), two echoes, or a T1 and a STIR under one UID.
So can a single Enhanced image, in its frames. The parts of a concatenation are one acquisition.

Source: DICOM PS3.3 C.7.3.1 (series), C.8.3.1 (MR timing), C.7.6.16 (functional groups, and
C.7.6.16.2.2.4 for concatenations).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from sij_node.dicom.acquisition_facts import AcquisitionFacts, acquisition_facts
from sij_node.dicom.headers import attribute, frame_count, number, text, with_frames
from sij_node.dicom.series_roles import role_of

SAME_NORMAL = 0.02
"""Largest difference of a component of the normal within one acquisition."""
SAME_TIME = 0.1
"""Largest relative difference of TR, TE and TI within one acquisition."""
VARYING = (
    *("RepetitionTime", "EffectiveEchoTime", "InversionRecovery", "InversionTimes"),
    *("SpectrallySelectedSuppression", "SpectrallySelectedExcitation"),
    *("FrameType", "ComplexImageComponent", "ContrastBolusAgentAdministered"),
    *("ImageOrientationPatient", "PixelSpacing", "TemporalPositionIndex"),
)
"""Attributes in which the frames of one image can belong to different acquisitions."""

Acquisition = Mapping[str, tuple[int, ...]]
"""Frames of each image by SOP Instance UID, counted from 0; empty if all of them belong to it."""


@dataclass(frozen=True)
class _Part:
    """An image, or those of its frames that are alike.

    Parameters
    ----------
    header
        Of these frames only.
    repetition
        What distinguishes it from frames at the same positions: temporal position and stack.
    """

    header: Dataset
    frames: tuple[int, ...]
    repetition: tuple[object, ...]
    facts: AcquisitionFacts


@dataclass
class _Found:
    first: _Part
    frames: dict[str, list[int]] = field(default_factory=dict)

    def add(self, part: _Part) -> None:
        uid = text(part.header, "SOPInstanceUID")
        self.frames.setdefault(uid, []).extend(part.frames)

    @property
    def size(self) -> int:
        return sum(map(len, self.frames.values()))


def acquisitions_of(headers: Sequence[Dataset]) -> list[Acquisition]:
    """Split the images of one series, and their frames, by acquisition.

    Returns
    -------
    list[Acquisition]
        The one with most frames first; within each the order of `headers`.
    """
    found: list[_Found] = []
    for part in (part for header in headers for part in _parts_of(header)):
        acquisition = next((one for one in found if _is_alike(one.first, part)), None)
        if acquisition is None:
            acquisition = _Found(part)
            found.append(acquisition)
        acquisition.add(part)
    counts = {text(header, "SOPInstanceUID"): frame_count(header) for header in headers}
    found.sort(key=lambda one: one.size, reverse=True)
    return [
        {
            uid: () if len(frames) == counts[uid] else tuple(sorted(frames))
            for uid, frames in one.frames.items()
        }
        for one in found
    ]


def acquisitions_by_key(
    series_uid: str, headers: Sequence[Dataset]
) -> Iterator[tuple[str, Acquisition]]:
    """The acquisitions of a series, each with its key.

    The largest has the Series Instance UID as its key, further ones a number behind it.
    """
    for index, found in enumerate(acquisitions_of(headers)):
        yield f"{series_uid} ({index + 1})" if index else series_uid, found


def _parts_of(header: Dataset) -> Iterator[_Part]:
    groups = _frame_groups(header)
    for repetition, frames in groups:
        own = with_frames(header, frames) if len(groups) > 1 else header
        yield _Part(own, frames, repetition, acquisition_facts(own))


def _frame_groups(header: Dataset) -> list[tuple[tuple[object, ...], tuple[int, ...]]]:
    """Temporal position, and stack where slices are repeated, with the frames of each group."""
    frames = range(frame_count(header))
    if "PerFrameFunctionalGroupsSequence" not in header:
        return [((None, ""), tuple(frames))]
    alike = [_said(header, VARYING, frame) for frame in frames]
    places = Counter(
        (alike[frame], _said(header, ("ImagePositionPatient",), frame)) for frame in frames
    )
    repeated = max(places.values()) > 1
    groups: dict[tuple[object, ...], list[int]] = {}
    for frame in frames:
        stack = text(header, "StackID", frame) if repeated else ""
        time = number(header, "TemporalPositionIndex", frame)
        groups.setdefault((alike[frame], time, stack), []).append(frame)
    return [(key[1:], tuple(of_group)) for key, of_group in groups.items()]


def _said(header: Dataset, keywords: Sequence[str], frame: int) -> tuple[str, ...]:
    return tuple(str(attribute(header, keyword, frame)) for keyword in keywords)


def _is_alike(one: _Part, other: _Part) -> bool:
    a, b = one.facts, other.facts
    return (
        one.repetition == other.repetition
        and a.sop_class_uid == b.sop_class_uid
        and role_of(a).role is role_of(b).role
        and all(text(one.header, key) == text(other.header, key) for key in ("Rows", "Columns"))
        and _is_parallel(a.normal, b.normal)
        and _is_same(a.repetition_time_ms, b.repetition_time_ms)
        and _is_same(a.echo_time_ms, b.echo_time_ms)
        and _is_same(a.inversion_time_ms, b.inversion_time_ms)
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
