"""Display texts of the pages: states, steps, time spans, and recommended actions."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from sij_node.domain.job import DeliveryState, State, Step
from sij_node.domain.time_spans import in_words


class Tone(StrEnum):
    """The colour of something; its text always says the same."""

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
        State.RECEIVING: "Receiving images.",
        State.QUEUED: "Study complete; waiting for a worker.",
        State.ANALYSING: "Being analysed by a worker.",
        State.DELIVERING: "Analysed; results are being delivered.",
        State.DELIVERED: "All results acknowledged by the archive.",
        State.NOT_SENT: "Analysed; results withheld because the peer is in shadow mode.",
        State.CONFIRMED: "Storage commitment received for all results.",
        State.REJECTED: "Cannot be analysed; a report with the reason was sent.",
        State.FAILED: "All attempts failed.",
        State.CANCELLED: "Cancelled by a user, or superseded by a later job.",
    }
)

DELIVERY_TONES: Mapping[DeliveryState, Tone] = MappingProxyType(
    {
        DeliveryState.PENDING: Tone.BUSY,
        DeliveryState.WITHHELD: Tone.QUIET,
        DeliveryState.ACKNOWLEDGED: Tone.GOOD,
        DeliveryState.GIVEN_UP: Tone.BAD,
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
        Step.COMMITMENT_FAILED: Tone.WARN,
        Step.COMMITMENT_ABANDONED: Tone.BAD,
        Step.GIVE_UP: Tone.BAD,
    }
)

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "InputRejected": "Retrying will not help unless the images change. Correct or complete the "
        "study at the sending system and send it again; this opens a new job.",
        "TemporarilyUnavailable": "A system did not respond in time. Check it, then retry.",
        "NodeError": "Correct the setting at the destination, then resend the results.",
        "InternalFault": "Internal error. Retry once; if the job fails again, report it "
        "with the log from around this time.",
    }
)
"""Recommended action, by family of the error."""

_STATUS_WORDS = (
    (range(1), "stored"),
    (range(0x0111, 0x0112), "duplicate SOP instance"),
    (range(0xB000, 0xC000), "stored, with a warning"),
    (range(0xA700, 0xA800), "out of resources"),
    (range(0xA900, 0xAA00), "dataset does not match SOP class"),
    (range(0xC000, 0xD000), "cannot understand"),
    (range(0x0122, 0x0123), "SOP class not supported"),
    (range(0x0124, 0x0125), "not authorised"),
)


def status_in_words(status: int | None) -> str:
    """A C-STORE status in words (PS3.4 B.2.3, PS3.7 C).

    Examples
    --------
    >>> status_in_words(0xA702)
    '0xA702: out of resources'
    """
    if status is None:
        return "no response"
    meaning = next((words for codes, words in _STATUS_WORDS if status in codes), "refused")
    return f"0x{status:04X}: {meaning}"


def span(seconds: float) -> str:
    """A time span in one unit; coarse, so that a live page does not change every second.

    Examples
    --------
    >>> span(4), span(200), span(7300), span(260_000)
    ('under a minute', '3 min', '2 h', '3 days')
    """
    if seconds < 60:
        return "under a minute"
    return "1 min" if seconds < 120 else in_words(seconds)


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
    """An estimate of the remaining time.

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
    """A moment in the node's local time."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def count(number: int, one: str, several: str = "") -> str:
    """A number with its noun.

    Examples
    --------
    >>> count(1, "image"), count(20, "image"), count(2, "study", "studies")
    ('1 image', '20 images', '2 studies')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}".replace(",", "\u202f")
