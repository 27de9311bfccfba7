"""What the score sheet is drawn on: a picture or a page, each in units of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Colour = tuple[int, int, int]
Point = tuple[float, float]
Anchor = Literal["left", "middle", "right"]


@dataclass(frozen=True)
class Palette:
    """Colours for a dark picture or a white page.

    Parameters
    ----------
    stripe
        Behind every second row of a table.
    bar
        Behind a bar of probability.
    absent
        A bar that does not reach its threshold.
    """

    ink: Colour
    faint: Colour
    stripe: Colour
    bar: Colour
    absent: Colour
    warning: Colour


class Canvas(Protocol):
    """Points are (across, down); a line of text hangs on the middle of its height."""

    palette: Palette

    def write(
        self,
        at: Point,
        words: str,
        height: float,
        colour: Colour,
        bold: bool = False,
        anchor: Anchor = "left",
    ) -> None:
        """One line of text."""

    def box(self, upper_left: Point, lower_right: Point, fill: Colour) -> None:
        """A filled rectangle."""

    def patch(self, corners: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""

    def disc(self, centre: Point, radius: float, fill: Colour, outline: Colour) -> None:
        """A filled circle."""
