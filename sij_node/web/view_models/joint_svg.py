"""The diagram of both joints as SVG: sharp at any size, for light and dark pages."""

from collections.abc import Sequence
from html import escape

from models.findings import Finding, Lesion
from sij_node.results import joint_diagram as diagram
from sij_node.results.canvas import Point
from sij_node.results.joint_diagram import Mark, Patch, shapes
from sij_node.results.language import ENGLISH

_MARGIN = 6.0
_LESIONS = {lesion: f"lesion-{lesion.value.split()[0]}" for lesion in Lesion}
_FILLS = {
    diagram.HEALTHY: "healthy",
    diagram.UNKNOWN: "unknown",
    **{colour: _LESIONS[lesion] for lesion, colour in diagram.COLOURS.items()},
    **{colour: f"tint {_LESIONS[lesion]}" for lesion, colour in diagram.TINTS.items()},
}
"""Colours are CSS classes, so that the style sheet sets them."""


def drawn_joints(findings: Sequence[Finding]) -> str:
    """The diagram of the summary as an SVG element; empty if nothing was analysed."""
    if not findings:
        return ""
    by_position = {finding.position: finding for finding in findings}
    parts = [_shape(shape) for shape in shapes(by_position, ENGLISH.letters)]
    width, height = diagram.WIDTH + 2 * _MARGIN, diagram.HEIGHT + 2 * _MARGIN
    return (
        f'<svg class="joints" viewBox="{-_MARGIN} {-_MARGIN} {width} {height}" role="img" '
        "aria-label=\"Diagram of both joints from anterior, patient's right on the left; "
        'the table has the same values.">'
        f"{''.join(parts)}"
        f'<text class="side" x="2" y="-1">R</text>'
        f'<text class="side" x="{diagram.WIDTH - 2:g}" y="-1" text-anchor="end">L</text>'
        "</svg>"
    )


def legend() -> list[tuple[str, str, str]]:
    """Class, letter and name of each lesion."""
    return [
        (_LESIONS[lesion], ENGLISH.letters[lesion], ENGLISH.lesions[lesion]) for lesion in Lesion
    ]


def _shape(shape: Patch | Mark) -> str:
    if isinstance(shape, Patch):
        return f'<polygon class="{_FILLS[shape.fill]}" points="{_points(shape.corners)}"/>'
    (x, y), kind = shape.centre, _FILLS[shape.fill] if shape.fill else "none"
    return (
        f'<circle class="mark {kind}" cx="{x:.2f}" cy="{y:.2f}" r="{diagram.MARK_RADIUS}"/>'
        f'<text class="letter {kind}" x="{x:.2f}" y="{y + 1.35:.2f}">{escape(shape.letter)}</text>'
    )


def _points(corners: Sequence[Point]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in corners)
