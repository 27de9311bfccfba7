"""Charts as SVG, rendered on the server, coloured by the style sheet.

Horizontal positions are in per cent of the width, so that text keeps its size on a phone.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from sij_node.web.view_models.chart_view import Chart, Series

HEIGHT, TOP, BOTTOM = 200, 20, 24
"""Pixels: total height, and the margins above and below for labels."""
_FLOOR = HEIGHT - BOTTOM
_ROOM = _FLOOR - TOP
_GAP = 0.18
"""Between bars, as a fraction of a slot."""
_LABELS = 6


def drawn(chart: Chart) -> str:
    """The chart as an SVG element."""
    highest = nice(_highest(chart))
    shapes = _bars(chart, highest) if chart.shape == "bars" else _lines(chart, highest)
    return (
        f'<svg class="chart" width="100%" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(chart.title)}. {escape(chart.summary)}">'
        f"{''.join(_grid(chart, highest))}{''.join(shapes)}{''.join(_times(chart))}</svg>"
    )


def nice(value: float) -> float:
    """The next round number, for the top of an axis.

    Examples
    --------
    >>> nice(0), nice(3), nice(7), nice(41), nice(130)
    (4, 4, 8, 60, 200)
    """
    size = 1.0
    while True:
        for step in (4, 6, 8, 12, 20, 30):
            if value <= step * size and (size >= 1):
                return step * size
        size *= 10


def _highest(chart: Chart) -> float:
    if chart.shape == "bars":
        stacks = zip(*(one.values for one in chart.series), strict=True)
        return max(sum(value or 0.0 for value in stack) for stack in stacks)
    return max((value or 0.0 for one in chart.series for value in one.values), default=0.0)


def _grid(chart: Chart, highest: float) -> Iterator[str]:
    for part in (0.0, 0.5, 1.0):
        y = _y(part)
        yield f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        if part:
            words = escape(chart.in_words(highest * part))
            yield f'<text class="level" x="0" y="{y - 5:.1f}">{words}</text>'


def _times(chart: Chart) -> Iterator[str]:
    number = len(chart.slots.begins)
    step = -(-number // _LABELS)
    for place in range(0, number, step):
        x, anchor = 100 * (place + 0.5) / number, "start" if place == 0 else "middle"
        shown = "0" if place == 0 else f"{x:.2f}%"
        minor = "" if place // step % 2 == 0 else " minor"
        yield (
            f'<text class="time{minor}" x="{shown}" y="{HEIGHT - 6}" text-anchor="{anchor}">'
            f"{escape(chart.slots.label(place))}</text>"
        )


def _bars(chart: Chart, highest: float) -> Iterator[str]:
    width = 100 / len(chart.slots.begins)
    for place in range(len(chart.slots.begins)):
        below = 0.0
        for one in chart.series:
            value = one.values[place] or 0.0
            if value:
                yield _bar(chart, one, place, width, (below / highest, (below + value) / highest))
                below += value


def _bar(chart: Chart, series: Series, place: int, width: float, parts: tuple[float, float]) -> str:
    low, high = (_y(part) for part in parts)
    said = f"{chart.slots.label(place)}: {chart.in_words(series.values[place] or 0)} {series.name}"
    return (
        f'<rect class="{series.kind}" x="{(place + _GAP / 2) * width:.2f}%" '
        f'width="{(1 - _GAP) * width:.2f}%" y="{high:.1f}" height="{max(low - high, 1):.1f}">'
        f"<title>{escape(said)}</title></rect>"
    )


def _lines(chart: Chart, highest: float) -> Iterator[str]:
    for one in chart.series:
        points = list(_points(one, highest))
        for (x1, y1, _), (x2, y2, _) in pairwise(points):
            yield (
                f'<line class="{one.kind}" x1="{x1:.2f}%" y1="{y1:.1f}" '
                f'x2="{x2:.2f}%" y2="{y2:.1f}"/>'
            )
        for x, y, place in points:
            said = f"{chart.slots.label(place)}: {chart.in_words(one.values[place] or 0)}"
            yield (
                f'<circle class="{one.kind}" cx="{x:.2f}%" cy="{y:.1f}" r="3">'
                f"<title>{escape(f'{said}, {one.name}')}</title></circle>"
            )


def _points(series: Series, highest: float) -> Iterator[tuple[float, float, int]]:
    number: Sequence[float | None] = series.values
    for place, value in enumerate(number):
        if value is not None:
            yield 100 * (place + 0.5) / len(number), _y(value / highest), place


def _y(part: float) -> float:
    return _FLOOR - part * _ROOM
