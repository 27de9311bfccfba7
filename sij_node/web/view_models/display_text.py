"""The words of the pages: states, steps, spans of time, and what to do about an error."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from sij_node.domain.job import DeliveryState, State, Step


class Tone(StrEnum):
    """How something is coloured; its words always say the same."""

    QUIET = "quiet"
    BUSY = "busy"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


STATE_TONES: Mapping[State, Tone] = MappingProxyType(
    {
        State.RECEIVING: Tone.BUSY,
        State.QUEUED: Tone.QUIET,
        State.ANALYSING: Tone.BUSY,
        State.DELIVERING: Tone.BUSY,
        State.DELIVERED: Tone.GOOD,
        State.NOT_SENT: Tone.QUIET,
        State.CONFIRMED: Tone.GOOD,
        State.REJECTED: Tone.WARN,
        State.FAILED: Tone.BAD,
        State.CANCELLED: Tone.QUIET,
    }
)

STATE_MEANS: Mapping[State, str] = MappingProxyType(
    {
        State.RECEIVING: "Images are still coming in.",
        State.QUEUED: "Complete, waits for a worker.",
        State.ANALYSING: "A worker has it in hand.",
        State.DELIVERING: "Analysed; results are on their way.",
        State.DELIVERED: "The archive has acknowledged every result.",
        State.NOT_SENT: "Analysed for a peer in shadow mode; results are kept here.",
        State.CONFIRMED: "The archive has confirmed that it keeps every result.",
        State.REJECTED: "Cannot be analysed as it is; a notice with the reason was sent.",
        State.FAILED: "Given up after all attempts.",
        State.CANCELLED: "Stopped by a person, or replaced by a later job.",
    }
)

DELIVERY_TONES: Mapping[DeliveryState, Tone] = MappingProxyType(
    {
        DeliveryState.PENDING: Tone.BUSY,
        DeliveryState.KEPT_BACK: Tone.QUIET,
        DeliveryState.ACKNOWLEDGED: Tone.GOOD,
        DeliveryState.GIVEN_UP: Tone.BAD,
    }
)

STEP_WORDS: Mapping[Step, str] = MappingProxyType(
    {
        Step.OPENED: "First image arrived",
        Step.INSTANCE_ARRIVED: "A late image arrived",
        Step.SETTLED: "Study complete, queued",
        Step.CLAIMED: "Analysis began",
        Step.RESULTS_STORED: "Analysed, results stored",
        Step.KEPT_BACK: "Analysed, results kept back",
        Step.REJECT: "Rejected",
        Step.TRY_AGAIN: "Analysis failed, will try again",
        Step.GIVE_UP: "Given up",
        Step.HANDED_BACK: "Handed back",
        Step.SUPERSEDED: "Replaced by a later job",
        Step.RELEASED: "Wait is over",
        Step.DELIVERY_CLAIMED: "Delivery began",
        Step.ACKNOWLEDGED: "Delivered",
        Step.DELIVERY_FAILED: "Delivery failed, will try again",
        Step.COMMITTED: "Confirmed by the archive",
        Step.CANCELLED: "Cancelled",
        Step.RETRIED: "Queued again by a person",
        Step.PRIORITY_SET: "Priority set",
        Step.DELIVERY_ASKED: "Sending again was asked for",
        Step.REANALYSIS_ASKED: "Another analysis was asked for",
    }
)

STEP_TONES: Mapping[Step, Tone] = MappingProxyType(
    {
        Step.RESULTS_STORED: Tone.GOOD,
        Step.ACKNOWLEDGED: Tone.GOOD,
        Step.COMMITTED: Tone.GOOD,
        Step.REJECT: Tone.WARN,
        Step.TRY_AGAIN: Tone.WARN,
        Step.DELIVERY_FAILED: Tone.WARN,
        Step.GIVE_UP: Tone.BAD,
    }
)

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "InputRejected": "Trying again changes nothing while the images are the same. Correct or "
        "complete the study at its sender and send it again; it will be analysed as a new job.",
        "TemporarilyUnavailable": "Usually something did not answer in time. Check it, then "
        "queue the job again.",
        "InternalFault": "This is a mistake of the node. Queue the job again once; if it fails "
        "again, report it with the log around this time.",
    }
)
"""What to do about an error, by its family."""

_STATUS_WORDS = (
    (range(1), "stored"),
    (range(0x0111, 0x0112), "it has this object already"),
    (range(0xB000, 0xC000), "stored with changes"),
    (range(0xA700, 0xA800), "out of resources; it may have room later"),
    (range(0xA900, 0xAA00), "the object does not match its class"),
    (range(0xC000, 0xD000), "it cannot understand the object"),
    (range(0x0122, 0x0123), "it does not take this kind of object"),
    (range(0x0124, 0x0125), "not authorised"),
)


def status_in_words(status: int | None) -> str:
    """A C-STORE status as a person reads it (PS3.4 B.2.3, PS3.7 C).

    Examples
    --------
    >>> status_in_words(0xA702)
    '0xA702: out of resources; it may have room later'
    """
    if status is None:
        return "no answer"
    meaning = next((words for codes, words in _STATUS_WORDS if status in codes), "refused")
    return f"0x{status:04X}: {meaning}"


def span(seconds: float) -> str:
    """A span of time in one unit; coarse, so that a page that is looked at stays calm.

    Examples
    --------
    >>> span(4), span(200), span(7300), span(260_000)
    ('under a minute', '3 min', '2 h', '3 days')
    """
    if seconds < 60:
        return "under a minute"
    for size_s, unit in ((172_800, "days"), (7200, "h")):
        if seconds >= size_s:
            return f"{seconds // {'days': 86_400, 'h': 3600}[unit]:.0f} {unit}"
    return f"{seconds // 60:.0f} min"


def seconds_in_words(seconds: float) -> str:
    """A measured duration.

    Examples
    --------
    >>> seconds_in_words(7.31), seconds_in_words(95), seconds_in_words(7260)
    ('7.3 s', '1 min 35 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def about(seconds: float) -> str:
    """A guess of how long something still takes.

    Examples
    --------
    >>> about(4), about(72), about(4000)
    ('about 10 s', 'about 2 min', 'about 2 h')
    """
    if seconds < 55:
        return f"about {max(10, -(-seconds // 10) * 10):.0f} s"
    if seconds < 3600:
        return f"about {-(-seconds // 60):.0f} min"
    return f"about {-(-seconds // 3600):.0f} h"


def moment(at: datetime) -> str:
    """A moment in the time of the node's machine."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def count(number: int, one: str, several: str = "") -> str:
    """A number with its noun.

    Examples
    --------
    >>> count(1, "image"), count(20, "image"), count(2, "study", "studies")
    ('1 image', '20 images', '2 studies')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}".replace(",", "\u202f")
