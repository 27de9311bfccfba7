"""The score sheet: a diagram of both joints, and a table of all 28 scores as bars."""

from collections.abc import Mapping

from models.findings import HEADS, Finding, Position, Presence, Side
from sij_node.domain.prior_comparison import NOTHING_EARLIER, LesionChange, SincePrior
from sij_node.results import joint_diagram as diagram
from sij_node.results.canvas import Canvas, Point
from sij_node.results.joint_diagram import Mark, Patch
from sij_node.results.language import Wording

Findings = Mapping[Position, Finding]

TABLE_WIDTH, ROW_HEIGHT = 896.0, 25.0
TABLE_HEIGHT = ROW_HEIGHT * (len(HEADS) + 1)
_COLUMNS: Mapping[Side, float] = {Side.RIGHT: 260.0, Side.LEFT: 580.0}
_BEFORE_ENDS = 314.0
"""Right edge of the prior score, from the left edge of a cell."""
_BAR_WIDTH = 80.0
_TEXT = 15.0


def draw_table(
    canvas: Canvas,
    at: Point,
    unit: float,
    findings: Findings,
    wording: Wording,
    since: SincePrior = NOTHING_EARLIER,
) -> None:
    """Draw a row for each lesion and region, the patient's right before the left.

    Parameters
    ----------
    at
        Upper left corner; the table is `TABLE_WIDTH` × `TABLE_HEIGHT` units.
    unit
        Size of a unit on the canvas.
    since
        Adds to each cell the prior score, and whether a lesion is new or resolved.
    """
    left, top = at
    ink = canvas.palette.ink
    if since.prior:
        words = wording.prior_in_brackets.format(date=since.prior.studied)
        middle = top + ROW_HEIGHT / 2 * unit
        canvas.write((left + 8 * unit, middle), words, 11 * unit, canvas.palette.faint)
    for side, x in _COLUMNS.items():
        place = (left + x * unit, top + ROW_HEIGHT / 2 * unit)
        canvas.write(place, wording.sides[side].upper(), _TEXT * unit, ink, bold=True)
    for number, head in enumerate(HEADS):
        y = top + ROW_HEIGHT * (number + 1.5) * unit
        half = ROW_HEIGHT / 2 * unit
        if number % 2 == 0:
            lower_right = (left + TABLE_WIDTH * unit, y + half)
            canvas.box((left, y - half), lower_right, canvas.palette.stripe)
        canvas.write((left + 8 * unit, y), wording.head(head), _TEXT * unit, ink)
        for side, x in _COLUMNS.items():
            finding, cell = findings[Position(side, head)], (left + x * unit, y)
            _draw_cell(canvas, cell, unit, finding, wording, since)


def _draw_cell(
    canvas: Canvas,
    at: Point,
    unit: float,
    finding: Finding,
    wording: Wording,
    since: SincePrior,
) -> None:
    """Draw the probability bar with a tick at the threshold, the number, and a word."""
    (x, y), palette = at, canvas.palette
    _draw_before(
        canvas, (x + _BEFORE_ENDS * unit, y), unit, since.before(finding.position), wording
    )
    if finding.probability is None:
        canvas.write(at, wording.not_evaluable, _TEXT * unit, palette.faint)
        return
    present = finding.presence is Presence.PRESENT
    colour = diagram.COLOURS[finding.position.head.lesion] if present else palette.absent
    bar, half = _BAR_WIDTH * unit, 6 * unit
    canvas.box((x, y - half), (x + bar, y + half), palette.bar)
    canvas.box((x, y - half), (x + bar * finding.probability, y + half), colour)
    tick = x + bar * finding.threshold
    canvas.box((tick - 0.7 * unit, y - 9 * unit), (tick + 0.7 * unit, y + 9 * unit), palette.ink)
    ink = palette.ink if present else palette.faint
    number = wording.percent(finding.probability)
    canvas.write((x + bar + 60 * unit, y), number, _TEXT * unit, ink, anchor="right")
    change = since.change(finding)
    has_changed = change in (LesionChange.NEW, LesionChange.RESOLVED)
    word = wording.changes[change] if change and has_changed else wording.presence(finding)
    canvas.write((x + bar + 68 * unit, y), word, _TEXT * unit, ink, bold=present or has_changed)


def _draw_before(
    canvas: Canvas, right: Point, unit: float, before: Finding | None, wording: Wording
) -> None:
    """Draw the prior score in brackets."""
    if before is not None:
        score = "–" if before.probability is None else wording.percent(before.probability)
        canvas.write(right, f"({score})", 12 * unit, canvas.palette.faint, anchor="right")


def draw_joints(
    canvas: Canvas, at: Point, scale: float, findings: Findings, wording: Wording
) -> None:
    """Draw the diagram of both joints with its bones, sides and parts in words.

    Parameters
    ----------
    at
        Upper left corner of the diagram.
    scale
        Size of a unit of the diagram, which is `diagram.WIDTH` × `diagram.HEIGHT` units and has
        its words in a margin of `diagram.MARGIN` units on every side.
    """
    left, top = at

    def place(point: Point) -> Point:
        return left + point[0] * scale, top + point[1] * scale

    for shape in diagram.shapes(findings, wording.letters):
        if isinstance(shape, Patch):
            canvas.patch([place(corner) for corner in shape.corners], shape.fill)
        else:
            _draw_mark(canvas, place(shape.centre), scale, shape)
    for name, point in diagram.NAMES:
        word, height = wording.diagram_names[name], diagram.NAME_HEIGHT * scale
        canvas.write(place(point), word, height, canvas.palette.faint, anchor="middle")
    for side, x in diagram.SIDES.items():
        words, height = wording.sides[side].upper(), diagram.SIDE_HEIGHT * scale
        ink = canvas.palette.ink
        canvas.write(place((x, -8.0)), words, height, ink, bold=True, anchor="middle")


def draw_legend(canvas: Canvas, at: Point, scale: float, wording: Wording) -> None:
    """Draw the colour, letter and name of each lesion in a column."""
    for number, (lesion, letter) in enumerate(wording.letters.items()):
        x, y = at[0], at[1] + number * diagram.LEGEND_STEP * scale
        _draw_mark(canvas, (x, y), scale, Mark((0, 0), diagram.COLOURS[lesion], letter))
        name, ink = wording.lesions[lesion], canvas.palette.ink
        canvas.write((x + 5 * scale, y), name, diagram.NAME_HEIGHT * scale, ink)


def _draw_mark(canvas: Canvas, centre: Point, scale: float, mark: Mark) -> None:
    radius = diagram.MARK_RADIUS * scale
    canvas.disc(centre, radius, mark.fill or diagram.WHITE, mark.fill or diagram.LINE)
    letter = diagram.WHITE if mark.fill else diagram.LINE
    canvas.write(centre, mark.letter, radius * 1.4, letter, bold=True, anchor="middle")
