"""The findings as a one-page PDF report.

The text can be selected and searched. All fonts are embedded, so that names in Latin, Greek,
Cyrillic, Arabic, Hebrew, Thai, Devanagari, Chinese, Japanese and Korean scripts look the same
everywhere.

Source: DICOM PS3.3 A.45.1 (Encapsulated PDF), C.24 (Encapsulated Document).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import noto_cjk_sans_jp_regular
from fpdf import FPDF
from fpdf.enums import MethodReturnValue
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EncapsulatedPDFStorage

from models.burden_scores import BurdenScore
from models.findings import POSITIONS, Finding
from sij_node.config.profiles import SeriesKind
from sij_node.dicom import codes
from sij_node.dicom.headers import text
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.canvas import Anchor, Colour, Palette, Point, on_one_line
from sij_node.results.conclusion import burden_in_words, conclusion, since_prior_in_words
from sij_node.results.fonts import font_file
from sij_node.results.joint_diagram import COLOURS
from sij_node.results.key_images import KeyLocation, cameras, key_places, not_shown
from sij_node.results.language import ReportField, Wording
from sij_node.results.provenance import ResultContext, code_item, stamp
from sij_node.results.score_sheet import (
    TABLE_HEIGHT,
    TABLE_WIDTH,
    Findings,
    draw_joints,
    draw_legend,
    draw_table,
)
from sij_node.results.scores_sr import in_numbers
from sij_node.results.sr_document import first_header, referenced_images

WIDTH_MM, HEIGHT_MM, MARGIN_MM = 210.0, 297.0, 12.0
INNER_MM = WIDTH_MM - 2 * MARGIN_MM
RIGHT_MM = WIDTH_MM - MARGIN_MM
PT_MM = 25.4 / 72
PLACES = 2
"""Key images come in pairs of T1 and STIR."""
PX_PER_MM = 8.0
"""203 dots per inch."""
_HEADER_MM, _HEADER_ROW_MM = 22.0, 9.0
_FIELDS: Sequence[Sequence[tuple[ReportField, float, float]]] = (
    (("name", 0.0, 78.0), ("id", 80.0, 62.0), ("born", 144.0, 20.0), ("sex", 166.0, 18.0)),
    (("description", 0.0, 78.0), ("accession", 80.0, 62.0), ("date", 144.0, 40.0)),
)
"""Each field with its left edge and width, from the left edge of the header."""
_TOP_MM = 44.0
"""Top of the diagram and the conclusion."""
_DIAGRAM_SCALE_MM = 0.5
_CONCLUSION_MM = (109.0, 89.0, 39.0)
"""Left edge, width and height of the conclusion."""
_KEY_MM = 85.0
"""Top of the key images."""
_PICTURES_MM = {1: (92.0, 61.0), 2: (68.0, 45.0)}
"""Size of a picture, by the number of locations shown."""
_GAP_MM, _CAPTION_MM = 2.0, 4.0
_LABEL_MM = 5.0
"""Width of the labels of lesions."""
_TABLE_MM = 199.0
"""Top of the table of scores."""
_TABLE_UNIT_MM = 0.152
_FOOT_MM = 266.0
"""Top of the fine print."""
_CONCLUSION_SIZES_MM = (4.3, 3.9, 3.5, 3.1, 2.8, 2.5, 2.2, 1.9, 1.6)
_NOTE_SIZES_MM = (3.0, 2.8, 2.5, 2.2, 1.9, 1.6, 1.3)


def page_report(
    series: Sequence[AnalysedSeries],
    findings: Sequence[Finding],
    remarks: Sequence[str],
    context: ResultContext,
    asas_met: bool | None = None,
    burden: Sequence[BurdenScore] = (),
) -> Dataset:
    """The page as a DICOM object.

    Parameters
    ----------
    series
        T1 and STIR.
    remarks
        Notes for the reader, in full sentences.
    asas_met
        As from `sij_node.results.conclusion.asas_criterion`.
    burden
        Scores of lesion burden that the slices allow.

    Returns
    -------
    Dataset
        Encapsulated PDF, unverified.
    """
    headers = [header for one in series for header in one.headers]
    pdf = page(series, findings, remarks, context, asas_met, burden)
    return pdf_document(pdf, headers, context, codes.SCORES_TITLE, context.wording.title, "pdf")


def pdf_document(
    pdf: bytes,
    headers: Sequence[Dataset],
    context: ResultContext,
    concept: Code,
    title: str,
    kind: SeriesKind,
    *instance: str,
) -> Dataset:
    """A PDF file as a DICOM object; `kind` and `instance` as for `stamp`."""
    document, header = Dataset(), first_header(headers)
    stamp(document, header, context, kind, *instance)
    document.SOPClassUID = EncapsulatedPDFStorage
    document.Modality, document.InstanceNumber = "DOC", 1
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "YES"
    document.RecognizableVisualFeatures = "NO"
    document.DocumentTitle = title
    document.ConceptNameCodeSequence = [code_item(concept)]
    document.VerificationFlag = "UNVERIFIED"
    document.SourceInstanceSequence = referenced_images(headers)
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    return document


def page(
    series: Sequence[AnalysedSeries],
    findings: Sequence[Finding],
    remarks: Sequence[str],
    context: ResultContext,
    asas_met: bool | None = None,
    burden: Sequence[BurdenScore] = (),
) -> bytes:
    """The page as a PDF file; the same inputs yield the same bytes."""
    wording = context.wording
    by_position = {finding.position: finding for finding in findings}
    ordered = [by_position[position] for position in POSITIONS]
    concluded = (*conclusion(ordered, asas_met, wording), *burden_in_words(burden, wording))
    since = since_prior_in_words(context.since, ordered, wording, burden)
    with TemporaryDirectory() as folder:
        sheet = Page(Path(folder), context, wording.title)
        sheet.title(wording.title, context.intended_use)
        sheet.patient(first_header([h for one in series for h in one.headers]), wording)
        sheet.overview(by_position, concluded, since, wording)
        sheet.key_images(series, ordered, wording)
        draw_table(
            sheet, (MARGIN_MM, _TABLE_MM), _TABLE_UNIT_MM, by_position, wording, context.since
        )
        sheet.notes(_notes(by_position, remarks, wording))
        sheet.fine_print(_fine_print(context))
        return sheet.finished()


def _notes(findings: Findings, remarks: Sequence[str], wording: Wording) -> list[str]:
    """What a reader must know beside the scores."""
    sides = wording.side_of_patient
    return [*remarks, *in_numbers(findings, wording), f"{sides[:1].upper()}{sides[1:]}."]


def _fine_print(context: ResultContext) -> list[str]:
    """Limitations, models and software."""
    wording = context.wording
    networks = "; ".join(
        f"{each.name} {each.version}, sha256 {each.weights_sha256}" for each in context.networks
    )
    return [
        f"{wording.limitations}: {wording.limitations_text} {context.intended_use}",
        f"{wording.models}: {networks}",
        software(context),
    ]


def software(context: ResultContext) -> str:
    """Version of the node, and the time of creation."""
    moment = context.moment.strftime("%Y-%m-%d %H:%M %Z").strip()
    return f"{context.wording.software}: sij_node {context.software_version}, {moment}"


class Page:
    """A page to draw on, in millimetres.

    Parameters
    ----------
    folder
        Temporary folder for font files; needed until the page is finished.
    heading
        Title of the file.
    """

    palette = Palette(
        ink=(25, 30, 36),
        faint=(115, 122, 130),
        stripe=(243, 245, 247),
        bar=(222, 226, 231),
        absent=(165, 172, 181),
        warning=(190, 75, 0),
    )

    def __init__(self, folder: Path, context: ResultContext, heading: str) -> None:
        self._pdf = FPDF(format="A4")
        self._pdf.set_auto_page_break(False)
        self._pdf.set_creation_date(context.moment)
        self._pdf.set_title(heading)
        self._pdf.set_lang(context.wording.language.value)
        for style, file in (("", "regular"), ("B", "bold")):
            path = folder / f"{file}.ttf"
            path.write_bytes(font_file(file))
            self._pdf.add_font("fira", style, path)
        self._pdf.set_text_shaping(True)
        self._pdf.set_margin(0)
        self._pdf.c_margin = 0
        self._pdf.add_page()

    # ---- what a canvas does ----

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
        self._font(height / PT_MM, colour, bold, words)
        width = self._pdf.get_string_width(words)
        shift = {"left": 0.0, "middle": width / 2, "right": width}[anchor]
        self._pdf.set_xy(at[0] - shift, at[1] - height / 2)
        self._pdf.cell(width, height, words)

    def box(self, upper_left: Point, lower_right: Point, fill: Colour) -> None:
        """A filled rectangle."""
        self._pdf.set_fill_color(*fill)
        width, height = lower_right[0] - upper_left[0], lower_right[1] - upper_left[1]
        self._pdf.rect(*upper_left, width, height, style="F")

    def patch(self, corners: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._pdf.set_fill_color(*fill)
        self._pdf.polygon(corners, style="F")

    def disc(self, centre: Point, radius: float, fill: Colour, outline: Colour) -> None:
        """A filled circle."""
        self._pdf.set_fill_color(*fill)
        self._pdf.set_draw_color(*outline)
        self._pdf.set_line_width(0.15)
        self._pdf.circle(*centre, radius, style="DF")

    # ---- parts of the page ----

    def title(self, heading: str, intended_use: str) -> None:
        """What this is, and what it is not for."""
        self.write((MARGIN_MM, 12.5), heading, 5.4, self.palette.ink, bold=True)
        self.write((MARGIN_MM, 18.5), intended_use, 3.4, self.palette.warning, bold=True)

    def patient(self, header: Dataset, wording: Wording) -> None:
        """Patient and study: every value whole, smaller where it is long."""
        lower = _HEADER_MM + len(_FIELDS) * _HEADER_ROW_MM + 1
        self.box((MARGIN_MM, _HEADER_MM), (RIGHT_MM, lower), self.palette.stripe)
        values = _header_values(header)
        for row, fields in enumerate(_FIELDS):
            top = _HEADER_MM + row * _HEADER_ROW_MM
            for field, left, width in fields:
                x = MARGIN_MM + 2 + left
                self.write((x, top + 2.4), wording.fields[field], 2.4, self.palette.faint)
                self.fitted((x, top + 4.0), (width, 5.2), [values[field]])

    def overview(
        self,
        findings: Findings,
        concluded: Sequence[str],
        since: Sequence[str],
        wording: Wording,
    ) -> None:
        """The diagram of both joints; beside it the conclusion, and what is new below it."""
        scale = _DIAGRAM_SCALE_MM
        draw_joints(self, (MARGIN_MM + 6, _TOP_MM + 5.5), scale, findings, wording)
        draw_legend(self, (MARGIN_MM + 71.5, _TOP_MM + 12), scale, wording)
        left, width, height = _CONCLUSION_MM
        upper = height / 2 if since else height
        self.fitted((left, _TOP_MM), (width, upper), concluded, _CONCLUSION_SIZES_MM)
        self.fitted((left, _TOP_MM + upper), (width, height - upper), since, _NOTE_SIZES_MM)

    def fitted(
        self,
        at: Point,
        space: tuple[float, float],
        sentences: Sequence[str],
        sizes: Sequence[float] = (3.9, 3.2, 2.6, 2.0, 1.6, 1.2),
    ) -> float:
        """Wrapped lines below a point, in the first of some sizes that fits; returns their end."""
        (width, height), words = space, "\n".join(sentences)
        for size in sizes:
            self._font(size / PT_MM, self.palette.ink, False, words)
            used = self._height(width, size * 1.25, words)
            if used <= height:
                break
        self._pdf.set_xy(*at)
        self._pdf.multi_cell(width, size * 1.25, words, align="L")
        return at[1] + used

    def _height(self, width: float, line_height: float, words: str) -> float:
        would_be = MethodReturnValue.HEIGHT
        return float(
            self._pdf.multi_cell(width, line_height, words, dry_run=True, output=would_be)  # type: ignore[arg-type]
        )

    def paragraph(self, at: Point, width: float, words: str, height: float = 3.5) -> None:
        """Wrapped text."""
        self._font(height / PT_MM, self.palette.ink, False, words)
        self._pdf.set_xy(*at)
        self._pdf.multi_cell(width, height * 1.3, words, align="L")

    def notes(self, sentences: Sequence[str]) -> None:
        """Full sentences to the right of the table."""
        left = MARGIN_MM + TABLE_WIDTH * _TABLE_UNIT_MM + 4
        size = RIGHT_MM - left, TABLE_HEIGHT * _TABLE_UNIT_MM
        self.fitted((left, _TABLE_MM + 1), size, sentences, _NOTE_SIZES_MM)

    def key_images(
        self, series: Sequence[AnalysedSeries], findings: Sequence[Finding], wording: Wording
    ) -> None:
        """The key images with most lesions, T1 next to STIR, and what they do not show."""
        places = key_places(series, findings, PLACES, wording.letters)
        self.write((MARGIN_MM, _KEY_MM), wording.key_images, 4.2, self.palette.ink, bold=True)
        top = _KEY_MM + 3
        for place in places:
            top = self._key_image(place, top, _PICTURES_MM[len(places)], series, wording)
        missing = "; ".join(map(wording.caption, not_shown(findings, places)))
        if missing:
            words, space = (
                wording.not_shown.format(lesions=missing),
                (INNER_MM, _TABLE_MM - top - 2),
            )
            self.fitted((MARGIN_MM, top), space, [words], _NOTE_SIZES_MM)

    def _key_image(
        self,
        place: KeyLocation,
        top: float,
        size_mm: tuple[float, float],
        series: Sequence[AnalysedSeries],
        wording: Wording,
    ) -> float:
        """One location on both series, with its lesions beside or below; returns its end."""
        width, height = size_mm
        size_px = round(width * PX_PER_MM), round(height * PX_PER_MM)
        x, upper = MARGIN_MM, top + _CAPTION_MM
        for view, slice_index in zip(cameras(series, *size_px), place.slices, strict=True):
            if slice_index is not None:
                image = wording.image.format(image=view.series.image_number(slice_index))
                self._pdf.image(
                    view.picture(slice_index, place.seen, *size_px), x, upper, width, height
                )
                caption = f"{view.series.sequence}, {image}"
                self.write((x + 0.2, top + 2), caption, 2.9, self.palette.ink)
            x += width + _GAP_MM
        if x + 30 < RIGHT_MM:
            self._name_lesions(place, (x + 1, upper), (RIGHT_MM - x - 1, height), wording)
            return upper + height + 1
        lines_mm = _TABLE_MM - upper - height - 4
        self._name_lesions(place, (MARGIN_MM, upper + height + 1), (INNER_MM, lines_mm), wording)
        return upper + height + 1 + min(lines_mm, 4.0 * len(place.seen))

    def _name_lesions(
        self, place: KeyLocation, at: Point, space: tuple[float, float], wording: Wording
    ) -> None:
        """A line for each lesion, in a size in which all of them fit."""
        lines = [f"{wording.caption(one.finding)}, {one.sight.sequence}" for one in place.seen]
        step = min(4.0, space[1] / max(len(lines), 1))
        size_mm = step * 0.72
        for line in lines:
            self._font(size_mm / PT_MM, self.palette.ink, False, line)
            size_mm *= min(1.0, (space[0] - _LABEL_MM) / self._pdf.get_string_width(line))
        for row, (line, one) in enumerate(zip(lines, place.seen, strict=True)):
            middle = at[1] + (row + 0.5) * step
            colour = COLOURS[one.finding.position.head.lesion]
            self.write((at[0], middle), one.label, size_mm, colour, bold=True)
            self.write((at[0] + _LABEL_MM, middle), line, size_mm, self.palette.ink)

    def fine_print(self, lines: Sequence[str]) -> None:
        """Small text at the foot of the page."""
        self.paragraph((MARGIN_MM, _FOOT_MM), INNER_MM, "\n".join(lines), 2.3)

    def finished(self) -> bytes:
        """The file."""
        return bytes(self._pdf.output())

    def _font(self, points: float, colour: Colour, bold: bool, words: str) -> None:
        """Set the font, adding one for Chinese, Japanese and Korean if needed."""
        self._pdf.set_font("fira", "B" if bold else "", points)
        self._pdf.set_text_color(*colour)
        if "cjk" not in self._pdf.fonts and not self._knows(words):
            self._pdf.add_font("cjk", "", str(noto_cjk_sans_jp_regular.FONT_PATH))
            self._pdf.set_fallback_fonts(["cjk"], exact_match=False)

    def _knows(self, words: str) -> bool:
        letters: Any = self._pdf.current_font
        return all(ord(letter) in letters.cmap for letter in words if letter.isprintable())


def _name(header: Dataset) -> str:
    """All component groups of the name, for instance ``Yamada, Tarou / 山田, 太郎``."""
    groups = _shown(header, "PatientName").split("=")
    spoken = (", ".join(part for part in group.split("^") if part) for group in groups)
    return " / ".join(group for group in spoken if group)


def _header_values(header: Dataset) -> Mapping[ReportField, str]:
    """Patient and study, as far as the images name them."""
    identity = (_shown(header, key) for key in ("PatientID", "IssuerOfPatientID"))
    return {
        "name": _name(header) or "–",
        "id": "  ·  ".join(filter(None, identity)) or "–",
        "born": _date(_shown(header, "PatientBirthDate")) or "–",
        "sex": _shown(header, "PatientSex") or "–",
        "accession": _shown(header, "AccessionNumber") or "–",
        "date": _date(_shown(header, "StudyDate")) or "–",
        "description": _shown(header, "StudyDescription") or "–",
    }


def _shown(header: Dataset, keyword: str) -> str:
    return on_one_line(text(header, keyword))


def _date(stated: str) -> str:
    """A DICOM date as ISO 8601; anything else unchanged."""
    complete = len(stated) == 8 and stated.isdigit()
    return f"{stated[:4]}-{stated[4:6]}-{stated[6:]}" if complete else stated
