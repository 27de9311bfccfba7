"""The drawing surface of the score sheet: a picture or a PDF page, each with its own units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from unicodedata import category

CONTROL_SIGN = "?"
"""Shown in place of a control character."""
BIDI_CONTROLS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Unicode TR 9: they could show an identifier in another order than it is stored."""

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

    def fitted(
        self,
        at: Point,
        space: tuple[float, float],
        sentences: Sequence[str],
        sizes: Sequence[float],
    ) -> float:
        """Wrapped lines below a point, in the first of some sizes that fits; returns their end."""


def on_one_line(received: str) -> str:
    """Received text; controls, which could break or reorder the line, are shown as a sign."""
    return "".join(
        CONTROL_SIGN if category(letter) == "Cc" or letter in BIDI_CONTROLS else letter
        for letter in received
    )
