"""A page for people that a study was not analysed: why, which series there are, what to send.

Viewers without SR support show the report "not analysed" not at all. The page names series by their
numbers and descriptions, as a viewer lists them, never by UID.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.dataset import Dataset

from sij_node.dicom import codes
from sij_node.dicom.headers import text
from sij_node.dicom.series_roles import SERIES_LISTED
from sij_node.domain.analysis_record import SeriesUse
from sij_node.results.canvas import Canvas, Point, on_one_line
from sij_node.results.language import Wording
from sij_node.results.pdf_report import INNER_MM, MARGIN_MM, Page, pdf_document, software
from sij_node.results.provenance import ResultContext
from sij_node.results.secondary_capture import MARGIN, WIDTH, Sheet, captures, draw_frame
from sij_node.results.sr_document import first_header

MOST_ROWS = 12
"""Series in the table; further ones are counted."""
_UID = re.compile(r"(?:(?P<what>series|image|study) )?(?P<uid>\d+(?:\.\d+){2,})", re.IGNORECASE)
_ROW = 26.0
_CELL_SIZES = (16.0, 14.0, 12.0, 10.5, 8.0, 6.0)
_COLUMNS = (0.0, 0.09, 0.44, 0.53)
"""Left edges of the table's columns, as parts of its width."""


@dataclass(frozen=True)
class NotAnalysed:
    """Why a study was not analysed.

    Parameters
    ----------
    reason_code
        Code of the error, as in `sij_node.errors`.
    message
        Its message in English, without UIDs.
    series
        All series received, in the order of their numbers.
    """

    reason_code: str
    message: str
    series: tuple[SeriesUse, ...]


def not_analysed(
    reason_code: str, message: str, series: Sequence[SeriesUse], headers: Iterable[Dataset]
) -> NotAnalysed:
    """The notice of an error, whose UIDs are replaced by what viewers show."""
    names = _names(series, headers)

    def named(found: re.Match[str]) -> str:
        what = found["what"] or ""
        name = names.get(found["uid"], f"{what} without a number".strip())
        return name[:1].upper() + name[1:] if what[:1].isupper() else name

    return NotAnalysed(reason_code, _UID.sub(named, message), tuple(series))


def _names(series: Sequence[SeriesUse], headers: Iterable[Dataset]) -> Mapping[str, str]:
    """By UID: ``series 4 (t1_tse_cor)``, ``image 12 of series 4 (t1_tse_cor)``."""
    names = {one.series_uid: _name(one) for one in series}
    for header in headers:
        number = text(header, "InstanceNumber")
        within = names.get(text(header, "SeriesInstanceUID"), "its series")
        image = f"image {number}" if number else "an image"
        names[text(header, "SOPInstanceUID")] = f"{image} of {within}"
    return names


def _name(series: SeriesUse) -> str:
    number = f"series {series.number}" if series.number else "a series without a number"
    described = on_one_line(series.description)
    return f"{number} ({described})" if described else number


# ---- as objects ----------------------------------------------------------------------------------


def not_analysed_picture(
    notice: NotAnalysed, headers: Sequence[Dataset], context: ResultContext
) -> Dataset:
    """The page as a Secondary Capture, without patient data in the pixels."""
    sheet = Sheet()
    draw_frame(sheet, context.wording.not_analysed_title, "", context)
    _draw(sheet, (MARGIN, 90.0), WIDTH - 2.0 * MARGIN, 1.0, notice, context.wording)
    (made,) = captures(
        [sheet.finished()], headers, context, "not analysed summary", notice.reason_code
    )
    return made


def not_analysed_page(
    notice: NotAnalysed, headers: Sequence[Dataset], context: ResultContext
) -> Dataset:
    """The page as an Encapsulated PDF, with patient and study at its top."""
    wording = context.wording
    with TemporaryDirectory() as folder:
        page = Page(Path(folder), context, wording.not_analysed_title)
        page.title(wording.not_analysed_title, context.intended_use)
        page.patient(first_header(headers), wording)
        _draw(page, (MARGIN_MM, 48.0), INNER_MM, 0.21, notice, wording)
        page.fine_print([software(context)])
        pdf = page.finished()
    title = wording.not_analysed_title
    return pdf_document(
        pdf,
        headers,
        context,
        codes.NOT_ANALYSED_TITLE,
        title,
        "not analysed pdf",
        notice.reason_code,
    )


# ---- as a drawing --------------------------------------------------------------------------------


def _draw(
    canvas: Canvas, at: Point, width: float, unit: float, notice: NotAnalysed, wording: Wording
) -> None:
    """Reason, what to send, and the series received, below a point.

    Parameters
    ----------
    unit
        Size of a unit on the canvas.
    """
    left, y = at

    def paragraph(sentence: str, size: float, most: float) -> float:
        sizes = [part * size * unit for part in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)]
        return canvas.fitted((left, y), (width, most * unit), [sentence], sizes)

    reason = wording.reasons.get(notice.reason_code, wording.not_analysed)
    y = paragraph(reason, 26.0, 64.0) + 12 * unit
    y = paragraph(wording.advice.get(notice.reason_code, ""), 21.0, 80.0) + 12 * unit
    y = paragraph(wording.no_result_is_not_normal, 21.0, 30.0) + 18 * unit
    details = notice.message.partition(SERIES_LISTED)[0]
    y = paragraph(f"{wording.details}: {details}", 16.0, 100.0) + 18 * unit
    _draw_series(canvas, (left, y), width, unit, notice.series, wording)


def _draw_series(
    canvas: Canvas,
    at: Point,
    width: float,
    unit: float,
    series: Sequence[SeriesUse],
    wording: Wording,
) -> None:
    """A row for each series."""
    left, top = at
    rows = [wording.series_columns, *map(_cells, series[:MOST_ROWS])]
    if len(series) > MOST_ROWS:
        rows.append(("…", wording.further_series.format(number=len(series) - MOST_ROWS), "", ""))
    for number, cells in enumerate(rows):
        upper = top + number * _ROW * unit
        if number % 2:
            lower_right = (left + width, upper + _ROW * unit)
            canvas.box((left, upper), lower_right, canvas.palette.stripe)
        for cell, column, end in zip(cells, _COLUMNS, (*_COLUMNS[1:], 1.0), strict=True):
            corner = left + column * width + 4 * unit, upper + 3 * unit
            room = (end - column) * width - 8 * unit, (_ROW - 3) * unit
            canvas.fitted(corner, room, [cell], [size * unit for size in _CELL_SIZES])


def _cells(one: SeriesUse) -> tuple[str, str, str, str]:
    reason = one.reason.removeprefix("not used: ")
    return one.number or "–", on_one_line(one.description) or "–", str(one.images), reason
