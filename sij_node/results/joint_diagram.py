"""A diagram of both joints in frontal view: which lesion is present in which quadrant.

The patient's right is on the left, as on the images. Lengths are in units of the diagram; the
Secondary Capture and the PDF draw the same shapes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from models.findings import (
    ILIUM,
    QUADRANTS,
    Finding,
    Head,
    Lesion,
    Position,
    Presence,
    Region,
    Side,
)
from sij_node.results.canvas import Colour, Point

DiagramName = Literal["ilium", "sacrum", "upper", "lower"]
WIDTH, HEIGHT = 120.0, 64.0
MARK_RADIUS = 2.9
COLOURS: Mapping[Lesion, Colour] = {
    Lesion.OEDEMA: (40, 110, 220),
    Lesion.EROSION: (205, 45, 45),
    Lesion.FATTY_LESION: (215, 140, 0),
    Lesion.SCLEROSIS: (135, 75, 185),
    Lesion.ANKYLOSIS: (15, 130, 110),
}
ON_IMAGES: Mapping[Lesion, Colour] = {
    Lesion.OEDEMA: (90, 165, 255),
    Lesion.EROSION: (255, 90, 70),
    Lesion.FATTY_LESION: (255, 135, 0),
    Lesion.SCLEROSIS: (205, 140, 255),
    Lesion.ANKYLOSIS: (45, 215, 150),
}
"""The same colours, bright enough for rings and letters on grey images."""
TINTS: Mapping[Lesion, Colour] = {
    lesion: (255 - (255 - red) // 3, 255 - (255 - green) // 3, 255 - (255 - blue) // 3)
    for lesion, (red, green, blue) in COLOURS.items()
}
"""Fill colours of bone with a lesion, visible before any letter is read."""
HEALTHY: Colour = (232, 236, 240)
UNKNOWN: Colour = (200, 200, 200)
LINE: Colour = (110, 118, 128)
WHITE: Colour = (255, 255, 255)

MARGIN = 12.0
"""Room for the words around the diagram."""
NAME_HEIGHT, SIDE_HEIGHT, LEGEND_STEP = 4.6, 6.0, 8.5
NAMES: Sequence[tuple[DiagramName, Point]] = (
    ("ilium", (19.0, 4.0)),
    ("sacrum", (60.0, 4.0)),
    ("ilium", (101.0, 4.0)),
    ("upper", (2.0, 20.0)),
    ("lower", (8.0, 44.0)),
    ("upper", (118.0, 20.0)),
    ("lower", (112.0, 44.0)),
)
"""Where bones and parts are named."""
SIDES: Mapping[Side, float] = {Side.RIGHT: 30.0, Side.LEFT: 90.0}
"""Where each side is named, across."""

_TOP, _MIDDLE, _BOTTOM = 9.0, 32.0, 55.0
_MIDLINE = WIDTH / 2
_GAP = 1.6


@dataclass(frozen=True)
class Patch:
    """A region of bone, or the joint space."""

    corners: tuple[Point, ...]
    fill: Colour


@dataclass(frozen=True)
class Mark:
    """The mark of a lesion: a filled disc if present, otherwise an outline."""

    centre: Point
    fill: Colour | None
    letter: str


def shapes(
    findings: Mapping[Position, Finding], letters: Mapping[Lesion, str]
) -> list[Patch | Mark]:
    """The shapes of both joints, from back to front.

    Parameters
    ----------
    letters
        The letter for each lesion.
    """
    drawn: list[Patch | Mark] = []
    for side in Side:
        for region in (*QUADRANTS, Region.JOINT):
            found = _at(findings, side, region)
            drawn.append(Patch(_corners(side, region), _ground(found)))
            drawn += _bands(side, region, found)
            drawn += _marks(side, region, found, letters)
    return drawn


def _at(findings: Mapping[Position, Finding], side: Side, region: Region) -> list[Finding]:
    return [
        findings[Position(side, Head(lesion, region))]
        for lesion in Lesion
        if Position(side, Head(lesion, region)) in findings
    ]


def _ground(found: list[Finding]) -> Colour:
    unknown = all(finding.presence is Presence.UNDETERMINED for finding in found)
    return UNKNOWN if unknown else HEALTHY


def _bands(side: Side, region: Region, found: list[Finding]) -> Iterator[Patch]:
    """Divide a region into one band per lesion, coloured if the lesion is present."""
    for number, finding in enumerate(found):
        if finding.presence is Presence.PRESENT:
            part = (number / len(found), (number + 1) / len(found))
            yield Patch(_corners(side, region, part), TINTS[finding.position.head.lesion])


def _joint_x(y: float) -> float:
    """The right joint runs from superolateral to inferomedial."""
    return 33.0 + (y - _TOP) * 12.0 / (_BOTTOM - _TOP)


def _lateral_x(y: float) -> float:
    return 8.0 + (y - _TOP) * 16.0 / (_BOTTOM - _TOP)


def _corners(
    side: Side, region: Region, part: tuple[float, float] = (0.0, 1.0)
) -> tuple[Point, ...]:
    """Corners of a region, or of a part of its height."""
    upper = region in (Region.UPPER_ILIUM, Region.UPPER_SACRUM)
    top, bottom = (_TOP, _MIDDLE - 0.3) if upper else (_MIDDLE + 0.3, _BOTTOM)
    if region is Region.JOINT:
        top, bottom = _TOP, _BOTTOM
    top, bottom = (top + (bottom - top) * each for each in part)
    corners = [
        (_edges(region, top)[0], top),
        (_edges(region, top)[1], top),
        (_edges(region, bottom)[1], bottom),
        (_edges(region, bottom)[0], bottom),
    ]
    return tuple((_on(side, x), y) for x, y in corners)


def _edges(region: Region, y: float) -> tuple[float, float]:
    """Lateral and medial edge of a right-sided region at a height."""
    if region is Region.JOINT:
        return _joint_x(y) - _GAP + 0.4, _joint_x(y) + _GAP - 0.4
    if region in ILIUM:
        return _lateral_x(y), _joint_x(y) - _GAP
    return _joint_x(y) + _GAP, _MIDLINE - 0.3


def _on(side: Side, x: float) -> float:
    return x if side is Side.RIGHT else WIDTH - x


def _marks(
    side: Side, region: Region, found: list[Finding], letters: Mapping[Lesion, str]
) -> Iterator[Mark]:
    for number, finding in enumerate(found):
        lesion = finding.position.head.lesion
        colour = COLOURS[lesion] if finding.presence is Presence.PRESENT else None
        letter = "?" if finding.presence is Presence.UNDETERMINED else letters[lesion]
        x, y = _place(region, number, len(found))
        yield Mark((_on(side, x), y), colour, letter)


def _place(region: Region, number: int, of: int) -> Point:
    if region is Region.JOINT:  # one above and one below the joint space
        y = _TOP - 4.0 if number == 0 else _BOTTOM + 4.0
        return _joint_x(y), y
    upper = region in (Region.UPPER_ILIUM, Region.UPPER_SACRUM)
    middle = (_TOP + _MIDDLE) / 2 if upper else (_MIDDLE + _BOTTOM) / 2
    y = middle + (number - (of - 1) / 2) * 7.0
    return sum(_edges(region, y)) / 2, y
