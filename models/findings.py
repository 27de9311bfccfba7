"""The 28 findings of a study: lesion, position, probability, and whether it is called present.

There are 14 per joint: oedema, erosion and fatty lesion in each of four quadrants, and sclerosis
and ankylosis of the whole joint. Left and right are always the patient's.

Source: paper, "The SIJ lesions"; positive means a Berlin score of 1 or more.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite


class Side(StrEnum):
    """A side of the patient."""

    RIGHT = "right"
    LEFT = "left"


class Lesion(StrEnum):
    """The five types of lesion in the paper."""

    OEDEMA = "oedema"
    EROSION = "erosion"
    FATTY_LESION = "fatty lesion"
    SCLEROSIS = "sclerosis"
    ANKYLOSIS = "ankylosis"


class Region(StrEnum):
    """Where a lesion is scored: one of four quadrants, or the whole joint."""

    UPPER_ILIUM = "upper ilium"
    LOWER_ILIUM = "lower ilium"
    UPPER_SACRUM = "upper sacrum"
    LOWER_SACRUM = "lower sacrum"
    JOINT = "joint"


ILIUM = (Region.UPPER_ILIUM, Region.LOWER_ILIUM)
SACRUM = (Region.UPPER_SACRUM, Region.LOWER_SACRUM)
QUADRANTS = (*ILIUM, *SACRUM)


@dataclass(frozen=True)
class Head:
    """One output of the lesion network: a lesion at a region of a joint."""

    lesion: Lesion
    region: Region


HEADS: tuple[Head, ...] = (
    *(
        Head(lesion, region)
        for lesion in (Lesion.OEDEMA, Lesion.EROSION, Lesion.FATTY_LESION)
        for region in QUADRANTS
    ),
    Head(Lesion.SCLEROSIS, Region.JOINT),
    Head(Lesion.ANKYLOSIS, Region.JOINT),
)
"""The 14 heads of a joint, in the order of the network's outputs."""


@dataclass(frozen=True)
class Position:
    """One of the 28 positions of a study: a head on one side of the patient."""

    side: Side
    head: Head

    def __str__(self) -> str:
        """As text, for instance ``left lower ilium oedema``."""
        return f"{self.side} {self.head.region} {self.head.lesion}"


POSITIONS: tuple[Position, ...] = tuple(Position(side, head) for side in Side for head in HEADS)
"""The 28 positions of a study: the right joint's heads, then the left joint's."""


class Presence(StrEnum):
    """Result of comparing a probability with its threshold."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


class OperatingPoint(StrEnum):
    """The purpose for which a threshold was chosen."""

    BALANCED = "balanced"
    SENSITIVE = "sensitive"
    SPECIFIC = "specific"


class Sequence(StrEnum):
    """The two MRI sequences that the networks read."""

    T1 = "T1"
    STIR = "STIR"


@dataclass(frozen=True)
class Sight:
    """The point that shows a lesion best.

    Parameters
    ----------
    sequence
        The series it lies on.
    slice_index
        Index along the first axis of that series' volume, in its original orientation.
    row, column
        Indices on that slice in its original orientation, index-centred: (0, 0) is the centre of
        the first pixel.
    """

    sequence: Sequence
    slice_index: int
    row: float
    column: float

    def __post_init__(self) -> None:
        if self.slice_index < 0 or not (isfinite(self.row) and isfinite(self.column)):
            raise ValueError(
                f"slice {self.slice_index}, ({self.row}, {self.column}) is not a valid point"
            )


@dataclass(frozen=True)
class Finding:
    """The result for one position.

    Parameters
    ----------
    position
        Lesion, region and side.
    probability
        Between 0 and 1; None if the position was not evaluable.
    threshold
        The lesion is called present at or above this probability.
    sight
        Where it is seen best, if known.
    operating_point
        The purpose of the threshold.
    """

    position: Position
    probability: float | None
    threshold: float
    sight: Sight | None = None
    operating_point: OperatingPoint = OperatingPoint.BALANCED

    def __post_init__(self) -> None:
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(
                f"{self.position}: probability {self.probability} is not within 0 to 1"
            )
        if not 0 < self.threshold < 1:
            raise ValueError(f"{self.position}: threshold {self.threshold} is not within 0 to 1")

    @property
    def presence(self) -> Presence:
        """Present, absent, or undetermined if the position was not evaluable."""
        if self.probability is None:
            return Presence.UNDETERMINED
        return Presence.PRESENT if self.probability >= self.threshold else Presence.ABSENT
