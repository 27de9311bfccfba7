"""Whether a study that is still arriving is ready to be analysed, and how urgent it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from sij_node.config import PriorityRule
from sij_node.dicom.headers import texts
from sij_node.dicom.scanner import IMAGE_CLASSES
from sij_node.dicom.sequences import acquisition_facts, is_pair_complete
from sij_node.study import ReceivedInstance

Read = Callable[[ReceivedInstance], Dataset]
SeriesMap = Mapping[str, Sequence[ReceivedInstance]]


@dataclass(frozen=True)
class Readiness:
    """What a look at a study that is still arriving tells.

    Parameters
    ----------
    has_pair
        Whether a T1 and a STIR series have begun to arrive.
    priority
        The highest of the priority rules that apply; None when none does.
    """

    has_pair: bool
    priority: int | None


def readiness_of(
    received: Sequence[ReceivedInstance], read_header: Read, rules: Sequence[PriorityRule]
) -> Readiness:
    """Look at one image of each series of a study that is arriving."""
    headers = [read_header(images[0]) for images in image_series(received).values()]
    return Readiness(
        has_pair=is_pair_complete(acquisition_facts(header) for header in headers),
        priority=_priority(headers, rules),
    )


def image_series(received: Iterable[ReceivedInstance]) -> SeriesMap:
    """The images of a study by series; within a series by SOP Instance UID."""
    series: dict[str, list[ReceivedInstance]] = {}
    for instance in sorted(received, key=lambda one: one.sop_instance_uid):
        if instance.sop_class_uid in IMAGE_CLASSES:
            series.setdefault(instance.series_uid, []).append(instance)
    return series


def _priority(headers: Iterable[Dataset], rules: Sequence[PriorityRule]) -> int | None:
    applying = [
        rule.priority
        for header in headers
        for rule in rules
        if any(rule.contains.lower() in value.lower() for value in texts(header, rule.keyword))
    ]
    return max(applying, default=None)
