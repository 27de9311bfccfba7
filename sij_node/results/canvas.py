"""The drawing surface of the score sheet: a picture or a PDF page, each with its own units."""

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
        Background of every second row of a table.
    bar
        Background of a probability bar.
    absent
        Probability bar below the threshold.
    """

    ink: Colour
    faint: Colour
    stripe: Colour
    bar: Colour
    absent: Colour
    warning: Colour


class Canvas(Protocol):
    """Points are (across, down); text is centred vertically on its point."""

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
