"""The findings as a one-page PDF report.

The text can be selected and searched. All fonts are embedded, so that names in Latin, Greek,
Cyrillic, Arabic, Hebrew, Thai, Devanagari, Chinese, Japanese and Korean scripts look the same
everywhere.

Source: DICOM PS3.3 A.45.1 (Encapsulated PDF), C.24 (Encapsulated Document).
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import noto_cjk_sans_jp_regular
from fpdf import FPDF
from fpdf.enums import MethodReturnValue
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from models.findings import Finding
from sij_node.dicom import codes
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.canvas import Anchor, Colour, Palette, Point
from sij_node.results.fonts import font_file
from sij_node.results.key_images import KeyLocation, cameras, key_places
from sij_node.results.language import Wording
from sij_node.results.provenance import ResultContext, code_item, stamp
from sij_node.results.score_sheet import (
    DIAGRAM_HEIGHT,
    TABLE_HEIGHT,
    TABLE_WIDTH,
    Findings,
    draw_joints,
    draw_table,
)
from sij_node.results.scores_sr import in_short
from sij_node.results.sr_document import first_header, referenced_images

WIDTH_MM, HEIGHT_MM, MARGIN_MM = 210.0, 297.0, 15.0
INNER_MM = WIDTH_MM - 2 * MARGIN_MM
UNIT_MM = INNER_MM / TABLE_WIDTH
PT_MM = 25.4 / 72
PLACES = 2
"""Key images come in pairs of T1 and STIR."""
_PICTURE_MM = (43.5, 39.0)
_PICTURE_PX = (348, 312)
_GAP_MM = 2.0
_FOOT_MM = 270.0
"""Top of the fine print."""
_NOTE_SIZES_MM = (3.5, 3.1, 2.8, 2.5, 2.2, 1.9)


def page_report(
    series: Sequence[AnalysedSeries],
    findings: Sequence[Finding],
    remarks: Sequence[str],
    context: ResultContext,
) -> Dataset:
    """The page as a DICOM object.

    Parameters
    ----------
    series
        T1 and STIR.
    remarks
        Notes for the reader, in full sentences.

    Returns
    -------
    Dataset
        Encapsulated PDF, unverified.
    """
    headers = [header for one in series for header in one.headers]
    document, header = Dataset(), first_header(headers)
    stamp(document, header, context, "pdf")
    document.SOPClassUID = EncapsulatedPDFStorage
    document.Modality, document.InstanceNumber = "DOC", 1
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "YES"
    document.RecognizableVisualFeatures = "NO"
    document.DocumentTitle = context.wording.title
    document.ConceptNameCodeSequence = [code_item(codes.SCORES_TITLE)]
    document.VerificationFlag = "UNVERIFIED"
    document.SourceInstanceSequence = referenced_images(headers)
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    pdf = page(series, findings, remarks, context)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    return document


def page(
    series: Sequence[AnalysedSeries],
    findings: Sequence[Finding],
    remarks: Sequence[str],
    context: ResultContext,
) -> bytes:
    """The page as a PDF file; the same inputs yield the same bytes."""
    wording = context.wording
    by_position = {finding.position: finding for finding in findings}
    with TemporaryDirectory() as folder:
        sheet = Page(Path(folder), context)
        sheet.title(wording.title, context.intended_use)
        sheet.patient(first_header([h for one in series for h in one.headers]), wording)
        y = 57.0
        draw_joints(sheet, (MARGIN_MM + 11, y), UNIT_MM, by_position, wording)
        in_short = _in_short(by_position, remarks, wording)
        height = DIAGRAM_HEIGHT * UNIT_MM
        sheet.fitted((138, y + 1), 57, height, "\n".join(in_short), _NOTE_SIZES_MM)
        y += DIAGRAM_HEIGHT * UNIT_MM + 3
        draw_table(sheet, (MARGIN_MM, y), UNIT_MM, by_position, wording, context.since)
        y += TABLE_HEIGHT * UNIT_MM + 3
        y = sheet.remark(y, " ".join(wording.prior_comparison(context.since, findings)))
        sheet.key_images(y, series, findings, wording)
        sheet.fine_print(wording, context)
        return sheet.finished()


def _in_short(findings: Findings, remarks: Sequence[str], wording: Wording) -> list[str]:
    """The counts, without the lesions that the table shows."""
    present, *missing = in_short(findings, wording)
    counted = [f"{present.split(':')[0].rstrip('.')}.", *missing]
    sides = wording.side_of_patient
    return [*counted, *remarks, f"{sides[:1].upper()}{sides[1:]}."]


class Page:
    """A page to draw on, in millimetres.

    Parameters
    ----------
    folder
        Temporary folder for font files; needed until the page is finished.
    """

    palette = Palette(
        ink=(25, 30, 36),
        faint=(115, 122, 130),
        stripe=(243, 245, 247),
        bar=(222, 226, 231),
        absent=(165, 172, 181),
        warning=(190, 75, 0),
    )

    def __init__(self, folder: Path, context: ResultContext) -> None:
        self._pdf = FPDF(format="A4")
        self._pdf.set_auto_page_break(False)
        self._pdf.set_creation_date(context.moment)
        self._pdf.set_title(context.wording.title)
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
        self.write((MARGIN_MM, 17), heading, 5.6, self.palette.ink, bold=True)
        self.write((MARGIN_MM, 24.5), intended_use, 3.6, self.palette.warning, bold=True)

    def patient(self, header: Dataset, wording: Wording) -> None:
        """Whose it is: every value whole, smaller where it is long."""
        self.box((MARGIN_MM, 29), (WIDTH_MM - MARGIN_MM, 51), self.palette.stripe)
        rows = (
            (wording.patient, _name(header), 30.5, 7.0),
            ("ID", _identity(header, wording), 38.0, 5.5),
            (wording.study, _study(header), 44.0, 5.5),
        )
        for label, words, top, height in rows:
            self.write((MARGIN_MM + 3, top + 2.5), label, 3.2, self.palette.faint)
            self.fitted((MARGIN_MM + 28, top), INNER_MM - 31, height, words)

    def fitted(
        self,
        at: Point,
        width: float,
        height: float,
        words: str,
        sizes_mm: Sequence[float] = (3.9, 3.2, 2.6, 2.0, 1.6, 1.2),
    ) -> None:
        """Text as large as a space allows, on several lines if need be."""
        for size_mm in sizes_mm:
            self._font(size_mm / PT_MM, self.palette.ink, False, words)
            if self._height(width, size_mm * 1.25, words) <= height:
                break
        self._pdf.set_xy(*at)
        self._pdf.multi_cell(width, size_mm * 1.25, words, align="L")

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

    def remark(self, top: float, words: str) -> float:
        """A full-width paragraph, unless empty; returns the position below it."""
        if not words:
            return top + 4
        self._font(3.1 / PT_MM, self.palette.ink, False, words)
        self._pdf.set_xy(MARGIN_MM, top)
        self._pdf.multi_cell(INNER_MM, 4.0, words, align="L")
        return float(self._pdf.get_y()) + 5

    def key_images(
        self,
        top: float,
        series: Sequence[AnalysedSeries],
        findings: Sequence[Finding],
        wording: Wording,
    ) -> None:
        """The key images with most lesions, T1 next to STIR."""
        looking = cameras(series, *_PICTURE_PX)
        self.write((MARGIN_MM, top), wording.key_images, 4.2, self.palette.ink, bold=True)
        for number, place in enumerate(key_places(series, findings, PLACES)):
            x = MARGIN_MM + number * 2 * (_PICTURE_MM[0] + _GAP_MM)
            for camera, slice_index in zip(looking, place.slices, strict=True):
                if slice_index is not None:
                    picture = camera.picture(slice_index, place.seen, *_PICTURE_PX)
                    image = wording.image.format(image=camera.series.image_number(slice_index))
                    caption = f"{camera.series.sequence}, {image}"
                    self._pdf.image(picture, x, top + 7.5, *_PICTURE_MM)
                    middle = (x + _PICTURE_MM[0] / 2, top + 5)
                    self.write(middle, caption, 2.9, self.palette.ink, anchor="middle")
                x += _PICTURE_MM[0] + _GAP_MM
            self._name_lesions(place, (x - 2 * (_PICTURE_MM[0] + _GAP_MM), top + 48), wording)

    def _name_lesions(self, place: KeyLocation, at: Point, wording: Wording) -> None:
        """A line for each lesion, in a size in which the longest fits below its pictures."""
        lines = [
            f"{one.number}  {wording.comment(one.finding)}  ·  {one.sight.sequence}"
            for one in place.seen
        ]
        step = min(3.6, (_FOOT_MM - 2 - at[1]) / max(len(lines), 1))
        size_mm, longest_mm = step * 0.8, 2 * _PICTURE_MM[0]
        for line in lines:
            self._font(step * 0.8 / PT_MM, self.palette.ink, False, line)
            width_mm = self._pdf.get_string_width(line)
            size_mm = min(size_mm, step * 0.8 * longest_mm / width_mm)
        for row, line in enumerate(lines):
            self.write((at[0], at[1] + 1.5 + row * step), line, size_mm, self.palette.ink)

    def fine_print(self, wording: Wording, context: ResultContext) -> None:
        """Limitations, models and software, at the foot of the page."""
        networks = "; ".join(
            f"{each.name} {each.version}, sha256 {each.weights_sha256}" for each in context.networks
        )
        moment = context.moment.strftime("%Y-%m-%d %H:%M %Z").strip()
        words = (
            f"{wording.limitations}: {wording.limitations_text} {context.intended_use}\n"
            f"{wording.models}: {networks}\n"
            f"{wording.software}: sij_node {context.software_version}, {moment}"
        )
        self.paragraph((MARGIN_MM, _FOOT_MM), INNER_MM, words, 2.5)

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
    groups = str(header.get("PatientName") or "").split("=")
    spoken = (", ".join(part for part in group.split("^") if part) for group in groups)
    return " / ".join(group for group in spoken if group)


def _identity(header: Dataset, wording: Wording) -> str:
    values = [str(header.get(key) or "") for key in ("PatientID", "IssuerOfPatientID")]
    born = str(header.get("PatientBirthDate") or "")
    said = [
        *(value for value in values if value),
        f"{wording.born} {_date(born)}" if born else "",
        str(header.get("PatientSex") or ""),
    ]
    return "  ·  ".join(part for part in said if part)


def _study(header: Dataset) -> str:
    said = (
        _date(str(header.get("StudyDate") or "")),
        str(header.get("StudyDescription") or ""),
        str(header.get("AccessionNumber") or ""),
    )
    return "  ·  ".join(part for part in said if part)


def _date(stated: str) -> str:
    """A DICOM date as ISO 8601; anything else unchanged."""
    complete = len(stated) == 8 and stated.isdigit()
    return f"{stated[:4]}-{stated[4:6]}-{stated[6:]}" if complete else stated
