"""The evaluation of one joint on one slice: found or not, and the error of its contour.

A missed contour has an infinite error; it is never left out.

Source: paper, "Performance evaluation & results" (root mean square over closest points).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.contour_tracing import WalkedContour
from models.contour_unet import SIDES
from models.findings import Side
from trainer.metrics.contour_error import ContourError, contour_error
from trainer.prepared_cases import StoredCase


class ContourOutcome(StrEnum):
    """Outcome of one joint on one slice."""

    FOUND = "found"
    MISSED = "missed"
    FALSE = "false"


class SlicePlace(StrEnum):
    """Position of a slice relative to the slices of its sequence that show the joint."""

    BORDER = "first or last"
    ANTERIOR = "anterior third"
    MIDDLE = "middle third"
    POSTERIOR = "posterior third"
    NEXT = "next to the joint"
    OUTSIDE = "no joint there"


@dataclass(frozen=True)
class Judgement:
    """One (slice, joint) with a true contour or a false positive.

    Parameters
    ----------
    subject
        Seed of the patient.
    style
        Style of the phantom.
    error
        In millimetres; infinite if missed, NaN if false.
    network_px_mm, native_px_mm
        Pixel size of the network input and of the acquired image.
    quality
        Of the contour; 0 if missed.
    """

    subject: int
    style: str
    sequence: str
    slice_index: int
    side: Side
    place: SlicePlace
    outcome: ContourOutcome
    error: ContourError
    network_px_mm: float
    native_px_mm: float
    quality: float


_UNDEFINED = ContourError(*[float("nan")] * 4)

Found = Mapping[tuple[int, Side], WalkedContour]


def judged(case: StoredCase, found: Found) -> list[Judgement]:
    """Evaluate every contour of a case.

    Parameters
    ----------
    case
        With its true contours.
    found
        By slice number in `case` and side, in network pixels.
    """
    judgements = []
    there = ~np.isnan(case.contours[:, :, 0, 0])
    places = _places(there, case.stir_from)
    for (number, joint), is_there in np.ndenumerate(there):
        side = SIDES[joint]
        guess = found.get((number, side))
        if not is_there and guess is None:
            continue
        in_stir = number >= case.stir_from
        judgements.append(
            Judgement(
                case.seed,
                case.style,
                "STIR" if in_stir else "T1",
                number - case.stir_from if in_stir else number,
                side,
                places[number][joint],
                _outcome(bool(is_there), guess),
                _error_mm(case, number, joint, guess) if is_there else _UNDEFINED,
                float(case.pixel_mm[number]),
                float(case.native_mm[number]),
                0.0 if guess is None else guess.quality,
            )
        )
    return judgements


def _outcome(there: bool, guess: WalkedContour | None) -> ContourOutcome:
    if not there:
        return ContourOutcome.FALSE
    return ContourOutcome.MISSED if guess is None else ContourOutcome.FOUND


def _error_mm(
    case: StoredCase, number: int, joint: int, guess: WalkedContour | None
) -> ContourError:
    mm = float(case.pixel_mm[number])
    truth = case.contours[number, joint].astype(np.float64) * mm
    return contour_error(truth, None if guess is None else guess.points * mm)


def _places(there: NDArray[np.bool_], stir_from: int) -> list[list[SlicePlace]]:
    """The position of every slice relative to each joint."""
    parts = [_places_of_sequence(part) for part in (there[:stir_from], there[stir_from:])]
    return [row for part in parts for row in part]


def _places_of_sequence(there: NDArray[np.bool_]) -> list[list[SlicePlace]]:
    columns = [
        [_place(number, np.flatnonzero(joint)) for number in range(len(joint))] for joint in there.T
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _place(number: int, shown: NDArray[np.intp]) -> SlicePlace:
    if number not in shown:
        is_next = np.isin(shown, (number - 1, number + 1)).any()
        return SlicePlace.NEXT if is_next else SlicePlace.OUTSIDE
    first, last = int(shown[0]), int(shown[-1])
    if number in (first, last):
        return SlicePlace.BORDER
    thirds = (SlicePlace.ANTERIOR, SlicePlace.MIDDLE, SlicePlace.POSTERIOR)
    return thirds[min(2, int(3 * (number - first) / (last - first)))]
