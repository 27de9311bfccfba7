"""Completeness of a study that is still arriving, its priority, and the use of each series."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from sij_node.config.settings import PriorityRule
from sij_node.dicom.acquisition_facts import AcquisitionFacts, acquisition_facts
from sij_node.dicom.acquisitions import Acquisition, acquisitions_by_key
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.dicom.headers import study_attributes_of, text, texts, with_frames
from sij_node.dicom.series_extent import Signs, signs_of_missing_images
from sij_node.dicom.series_roles import (
    SequenceChoice,
    SequenceRole,
    SeriesRole,
    choose_pair,
    is_pair_complete,
    roles_of,
)
from sij_node.domain.analysis_record import SeriesUse
from sij_node.domain.study import FramesOfInstance, ReceivedInstance, StudyAttributes
from sij_node.errors import InputRejected, PairMissing

Read = Callable[[ReceivedInstance], Dataset]
SeriesMap = Mapping[str, Sequence[ReceivedInstance]]


@dataclass(frozen=True)
class Readiness:
    """Whether a study that is still arriving can be analysed, and its priority.

    Parameters
    ----------
    has_pair
        Whether a T1 and a STIR series have begun to arrive.
    priority
        The highest of the priority rules that apply; None if none does.
    unfinished
        What shows that images of the T1 or STIR are missing, in words.
    attributes
        Date, description and accession number of the study; None if no image can be read.
    """

    has_pair: bool
    priority: int | None
    unfinished: tuple[str, ...] = ()
    attributes: StudyAttributes | None = None


def readiness_of(
    received: Sequence[ReceivedInstance], read_header: Read, rules: Sequence[PriorityRule]
) -> Readiness:
    """Judge a study that is arriving by one image of each series, and by all of a pair."""
    series = image_series(received)
    headers = [read_header(images[0]) for images in series.values()]
    images = acquisition_map(series, read_header)
    read = reading_frames(read_header)
    has_pair = is_pair_complete(acquisition_facts(read(one[0])) for one in images.values())
    return Readiness(
        has_pair=has_pair,
        priority=_priority(headers, rules),
        unfinished=_unfinished(images, read) if has_pair else (),
        attributes=next(map(study_attributes_of, headers), None),
    )


def _unfinished(images: SeriesMap, read_header: Read) -> tuple[str, ...]:
    facts = {
        uid: acquisition_facts(read_header(one[0]), slices=len(one)) for uid, one in images.items()
    }
    try:
        choice = choose_pair(facts)
    except PairMissing:
        return ()
    signs = missing_images(images, choice, read_header)
    return tuple(f"{name}: {sign}, {count} or more" for sign, name, count in signs)


def missing_images(
    images: SeriesMap,
    choice: SequenceChoice,
    read_header: Read,
    at_archive: Mapping[str, int] = {},
) -> Signs:
    """What shows that images of the chosen T1 or STIR are missing.

    Parameters
    ----------
    at_archive
        Number of images of each series at the archive that sent it, where that is known.
    """
    pair = (choice.t1_series_uid, choice.stir_series_uid)
    series = {series_uid_of(key) for key in pair}
    guests = [key for key in images if key not in pair and series_uid_of(key) in series]
    t1, stir = (_headers(images[key], read_header) for key in pair)
    return signs_of_missing_images(
        t1,
        stir,
        [header for key in guests for header in _headers(images[key], read_header)],
        at_archive,
    )


def _headers(images: Iterable[ReceivedInstance], read_header: Read) -> list[Dataset]:
    found = (_header(one, read_header) for one in images)
    return [header for header in found if header is not None]


def image_series(received: Iterable[ReceivedInstance]) -> SeriesMap:
    """The images of a study by series; within a series by SOP Instance UID."""
    series: dict[str, list[ReceivedInstance]] = {}
    for instance in sorted(received, key=lambda one: one.sop_instance_uid):
        if instance.sop_class_uid in IMAGE_CLASSES:
            series.setdefault(instance.series_uid, []).append(instance)
    return series


def acquisition_map(images: SeriesMap, read_header: Read) -> SeriesMap:
    """The images of a study by acquisition, with the keys of `acquisitions_by_key`.

    An image that cannot be read stays with the largest. Of an image whose
    frames belong to several acquisitions, each has its own `FramesOfInstance`.
    """
    split: dict[str, Sequence[ReceivedInstance]] = {}
    for uid, series in images.items():
        headers = [header for header in (_header(one, read_header) for one in series) if header]
        groups = dict(acquisitions_by_key(uid, headers))
        unreadable = {one.sop_instance_uid for one in series} - set().union(*groups.values())
        groups[uid] = {**groups.get(uid, {}), **dict.fromkeys(unreadable, ())}
        split |= {key: _of_acquisition(series, group) for key, group in groups.items()}
    return split


def _of_acquisition(
    series: Sequence[ReceivedInstance], frames: Acquisition
) -> list[ReceivedInstance]:
    return [
        FramesOfInstance(**vars(one), frames=own) if (own := frames[one.sop_instance_uid]) else one
        for one in series
        if one.sop_instance_uid in frames
    ]


def reading_frames(read_header: Read) -> Read:
    """Reads headers, those of `FramesOfInstance` with their frames only."""

    def read(instance: ReceivedInstance) -> Dataset:
        header = read_header(instance)
        if isinstance(instance, FramesOfInstance):
            return with_frames(header, instance.frames)
        return header

    return read


def series_uid_of(key: str) -> str:
    """Series Instance UID of a key of `acquisition_map`."""
    return key.partition(" ")[0]


def _priority(headers: Iterable[Dataset], rules: Sequence[PriorityRule]) -> int | None:
    applying = [rule.priority for header in headers for rule in rules if rule_applies(rule, header)]
    return max(applying, default=None)


def rule_applies(rule: PriorityRule, header: Dataset) -> bool:
    """Whether a priority rule matches an image, regardless of case."""
    return any(rule.contains.lower() in value.lower() for value in texts(header, rule.keyword))


def uses_in_study(received: Iterable[ReceivedInstance], read_header: Read) -> tuple[SeriesUse, ...]:
    """What each acquisition of a study will be to the analysis, as far as it was received."""
    images = acquisition_map(image_series(received), read_header)
    return series_uses(images, reading_frames(read_header))


def attributes_of_study(images: SeriesMap, read_header: Read) -> StudyAttributes | None:
    """Date, description and accession number by the first image that can be read."""
    headers = (_header(series[0], read_header) for series in images.values())
    return next((study_attributes_of(header) for header in headers if header is not None), None)


def series_uses(images: SeriesMap, read_header: Read) -> tuple[SeriesUse, ...]:
    """What each series of a study is or was to the analysis, in the order of their numbers."""
    headers = {uid: _header(series[0], read_header) for uid, series in images.items()}
    facts = {
        uid: acquisition_facts(header, slices=len(images[uid]))
        for uid, header in headers.items()
        if header is not None
    }
    roles = roles_of(facts)
    chosen, reasons = _choice(facts)
    uses = [
        SeriesUse(
            series_uid=series_uid_of(uid),
            number=text(header, "SeriesNumber") if header else "",
            description=text(header, "SeriesDescription") if header else "",
            images=facts[uid].slices if header else len(images[uid]),
            role=str(roles[uid].role) if header else str(SequenceRole.OTHER),
            used=uid in chosen,
            reason=reasons.get(uid, "not used: first image unreadable"),
        )
        for uid, header in headers.items()
    ]
    return tuple(sorted(uses, key=lambda use: (len(use.number), use.number, use.series_uid)))


def _header(instance: ReceivedInstance, read_header: Read) -> Dataset | None:
    try:
        return read_header(instance)
    except InputRejected:
        return None


def _choice(facts: Mapping[str, AcquisitionFacts]) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The series of the chosen pair, and the reason for each series."""
    try:
        choice = choose_pair(facts)
    except PairMissing:
        return (), {uid: _why_no_pair(one) for uid, one in roles_of(facts).items()}
    return (choice.t1_series_uid, choice.stir_series_uid), choice.reasons


def _why_no_pair(found: SeriesRole) -> str:
    if found.role is SequenceRole.OTHER:
        return f"not used: {found.reason}"
    return f"not used: {found.role}, but no series to pair it with ({found.reason})"
