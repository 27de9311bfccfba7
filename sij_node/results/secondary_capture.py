"""The summary as a Secondary Capture: score sheet and key images, for any viewer.

True colour, without patient data in the pixels, and with a margin for the viewer's own overlay.

Source: DICOM PS3.3 A.8.5 (Multi-frame True Color Secondary Capture), A.8.1 (single-frame).
"""

from collections.abc import Sequence
from textwrap import wrap

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage as MultiFrame
from pydicom.uid import SecondaryCaptureImageStorage as SingleFrame

from models.burden_scores import BurdenScore
from models.findings import POSITIONS, Finding
from sij_node.config.profiles import SeriesKind
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.canvas import Anchor, Colour, Palette, Point
from sij_node.results.conclusion import burden_in_words, conclusion, since_prior_in_words
from sij_node.results.fonts import needs_cjk, pixel_font
from sij_node.results.joint_diagram import ON_IMAGES
from sij_node.results.key_images import (
    FINENESS,
    KeyLocation,
    LabelledLesion,
    SeriesView,
    cameras,
    key_places,
    not_shown,
)
from sij_node.results.language import Wording
from sij_node.results.provenance import ResultContext, stamp
from sij_node.results.score_sheet import draw_joints, draw_legend, draw_table
from sij_node.results.sr_document import first_header, referenced_images

WIDTH, HEIGHT, MARGIN = 1280, 800, 24
"""Pixels; the edge of a viewport is left to the viewer's own text."""
_TEXT_SIZES = (24.0, 21.0, 18.0, 16.0, 14.0, 12.5, 11.0, 9.5, 8.0, 7.0)
_NOTE_SIZES = _TEXT_SIZES[2:]
_LETTER_WIDTH, _LINE_HEIGHT = 0.504, 1.2
"""Mean width of a letter and height of a line, relative to the size of the text.

Wider letters make shorter lines."""
_TITLE, _BELOW_TITLE = 46, 74
_FOOT, _BELOW_FOOT = HEIGHT - 52, HEIGHT - 33
_DIAGRAM = ((62.0, 262.0), 3.1)
"""Upper left corner and scale of the diagram."""
_LEGEND = (62.0, 478.0)
_TABLE = ((490.0, 240.0), 0.85)
"""Upper left corner and unit of the table."""
_CONCLUSION = ((MARGIN, 90.0), (WIDTH - 2.0 * MARGIN, 88.0))
_SINCE = ((MARGIN, 180.0), (WIDTH - 2.0 * MARGIN, 42.0))
_REMARKS = ((MARGIN, 610.0), (WIDTH - 2.0 * MARGIN, 126.0))
"""Upper left corner and size (across, down) of texts on the score sheet."""
_PANEL_TOP = 120
_PANEL_WIDTH, _PANEL_HEIGHT = 610, 440
_PANELS = (MARGIN, WIDTH - MARGIN - _PANEL_WIDTH)
"""Left edges of T1 and STIR."""
_CAPTIONS_TOP = _PANEL_TOP + _PANEL_HEIGHT + 20


def summary(
    series: Sequence[AnalysedSeries],
    findings: Sequence[Finding],
    context: ResultContext,
    remarks: Sequence[str] = (),
    asas_met: bool | None = None,
    burden: Sequence[BurdenScore] = (),
) -> list[Dataset]:
    """One multi-frame object, or one object for each picture, according to the profile.

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
    list of Dataset
        Secondary Capture Images, all in one series.
    """
    pictures = pages(series, findings, context, remarks, asas_met, burden)
    headers = [header for one in series for header in one.headers]
    return captures(pictures, headers, context, "summary")


def captures(
    pictures: Sequence[Image.Image],
    headers: Sequence[Dataset],
    context: ResultContext,
    kind: SeriesKind,
    *instance: str,
) -> list[Dataset]:
    """Pictures as Secondary Capture Images of one series; `instance` as for `stamp`."""
    stacks = [pictures]
    if context.profile.summary_class == "single-frame":
        stacks = [[picture] for picture in pictures]
    return [
        _capture(stack, headers, context, number, kind, *instance)
        for number, stack in enumerate(stacks, 1)
    ]


def _capture(
    pictures: Sequence[Image.Image],
    headers: Sequence[Dataset],
    context: ResultContext,
    number: int,
    kind: SeriesKind,
    *instance: str,
) -> Dataset:
    capture, header = Dataset(), first_header(headers)
    stamp(capture, header, context, kind, *instance, *([str(number)] if number > 1 else []))
    series = context.uid(capture.StudyInstanceUID, kind, *instance, "series")
    capture.SeriesInstanceUID = series
    capture.Modality, capture.InstanceNumber = "OT", number
    capture.SOPClassUID = SingleFrame
    capture.ConversionType = "WSD"
    capture.BodyPartExamined = "PELVIS"  # any paired part would need a side
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DateOfSecondaryCapture = capture.ContentDate
    capture.TimeOfSecondaryCapture = capture.ContentTime
    capture.BurnedInAnnotation = "NO"
    capture.RecognizableVisualFeatures = "NO"
    capture.PatientOrientation = []
    capture.DerivationDescription = context.intended_use
    capture.ImageComments = context.intended_use
    capture.SourceImageSequence = referenced_images(headers)
    put = _put_compressed if context.profile.summary_compression == "jpeg-ls" else _put_pixels
    put(capture, np.stack([np.asarray(picture) for picture in pictures]))
    if len(pictures) > 1:
        capture.SOPClassUID = MultiFrame
        capture.NumberOfFrames = len(pictures)
        capture.FrameIncrementPointer = 0x00182001
        capture.PageNumberVector = list(range(1, len(pictures) + 1))
    return capture


def _put_compressed(capture: Dataset, values: NDArray[np.uint8]) -> None:
    """Set JPEG-LS lossless pixel data, one fragment for each picture (PS3.5 A.4.3)."""
    _describe(capture, values)
    capture.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(each)) for each in values])
    capture["PixelData"].VR = "OB"
    capture["PixelData"].is_undefined_length = True


def _put_pixels(capture: Dataset, values: NDArray[np.uint8]) -> None:
    _describe(capture, values)
    capture.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    capture["PixelData"].VR = "OB"


def _describe(capture: Dataset, values: NDArray[np.uint8]) -> None:
    capture.SamplesPerPixel, capture.PhotometricInterpretation = 3, "RGB"
    capture.PlanarConfiguration, capture.PixelRepresentation = 0, 0
    capture.Rows, capture.Columns = values.shape[1:3]
    capture.BitsAllocated, capture.BitsStored, capture.HighBit = 8, 8, 7
    capture.LossyImageCompression = "00"


# ---- pictures ------------------------------------------------------------------------------------


def pages(
    series: Sequence[AnalysedSeries],
    findings: Sequence[Finding],
    context: ResultContext,
    remarks: Sequence[str] = (),
    asas_met: bool | None = None,
    burden: Sequence[BurdenScore] = (),
) -> list[Image.Image]:
    """The score sheet with the conclusion, then the key images."""
    looking, wording = cameras(series, _PANEL_WIDTH, _PANEL_HEIGHT), context.wording
    places = key_places(series, findings, letters=wording.letters)
    missing = "; ".join(map(wording.caption, not_shown(findings, places)))
    notes = [*remarks, *([wording.not_shown.format(lesions=missing)] if missing else [])]
    return [
        _score_page(findings, context, notes, asas_met, burden),
        *(_key_page(place, looking, context) for place in places),
    ]


class Sheet:
    """A picture to draw on, in its final pixels; supersampled for smooth lines."""

    palette = Palette(
        ink=(245, 245, 245),
        faint=(160, 160, 160),
        stripe=(22, 24, 27),
        bar=(58, 62, 68),
        absent=(95, 100, 108),
        warning=(255, 170, 80),
    )

    def __init__(self) -> None:
        self._fine = Image.new("RGB", (WIDTH * FINENESS, HEIGHT * FINENESS))
        self._pen = ImageDraw.Draw(self._fine)

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
        style, size_px = "bold" if bold else "regular", round(height * FINENESS)
        font = pixel_font(size_px, style, needs_cjk(words))
        self._pen.text(_fine(at), words, colour, font, anchor=f"{anchor[0]}m")

    def fitted(
        self,
        at: Point,
        space: tuple[float, float],
        sentences: Sequence[str],
        sizes: Sequence[float] = _TEXT_SIZES,
    ) -> float:
        """Wrapped lines below a point, in the first of some sizes that fits; returns their end."""
        across, down = space
        for size in sizes:
            lines = [line for one in sentences for line in _wrapped(one, size, across)]
            if len(lines) * size * _LINE_HEIGHT <= down:
                break
        for number, line in enumerate(lines):
            y = at[1] + (number + 0.5) * size * _LINE_HEIGHT
            self.write((at[0], y), line, size, self.palette.ink)
        return at[1] + len(lines) * size * _LINE_HEIGHT

    def box(self, upper_left: Point, lower_right: Point, fill: Colour) -> None:
        """A filled rectangle."""
        (left, upper), (right, lower) = _fine(upper_left), _fine(lower_right)
        if right - left >= 1:  # Pillow includes the last pixel
            self._pen.rectangle((left, upper, right - 1, lower - 1), fill)

    def patch(self, corners: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._pen.polygon([_fine(corner) for corner in corners], fill)

    def disc(self, centre: Point, radius: float, fill: Colour, outline: Colour) -> None:
        """A filled circle."""
        (x, y), r = _fine(centre), radius * FINENESS
        self._pen.ellipse((x - r, y - r, x + r, y + r), fill, outline, FINENESS)

    def paste(self, picture: Image.Image, at: tuple[int, int]) -> None:
        """Paste a picture at its upper left corner."""
        larger = (picture.width * FINENESS, picture.height * FINENESS)
        fine = picture.resize(larger, Image.Resampling.NEAREST)
        self._fine.paste(fine, (at[0] * FINENESS, at[1] * FINENESS))

    def finished(self) -> Image.Image:
        """The finished picture."""
        return self._fine.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def _wrapped(sentence: str, size: float, across: float) -> list[str]:
    """Lines that are no longer than a width in pixels."""
    font = pixel_font(round(size * FINENESS), has_cjk=needs_cjk(sentence))
    letters = int(across / (size * _LETTER_WIDTH))
    while letters > 1:
        lines = wrap(sentence, letters)
        if all(font.getlength(line) <= across * FINENESS for line in lines):
            return lines
        letters = int(0.9 * letters)
    return [sentence]


def _fine(at: Point) -> Point:
    return at[0] * FINENESS, at[1] * FINENESS


def _score_page(
    findings: Sequence[Finding],
    context: ResultContext,
    notes: Sequence[str],
    asas_met: bool | None,
    burden: Sequence[BurdenScore],
) -> Image.Image:
    wording, sheet = context.wording, Sheet()
    by_position = {finding.position: finding for finding in findings}
    ordered = [by_position[position] for position in POSITIONS]
    since = since_prior_in_words(context.since, ordered, wording, burden)
    concluded = (*conclusion(ordered, asas_met, wording), *burden_in_words(burden, wording))
    draw_frame(sheet, wording.title, f"{wording.scores}; {wording.side_of_patient}", context)
    sheet.fitted(*_CONCLUSION, concluded)
    sheet.fitted(*_SINCE, [" ".join(since)], _NOTE_SIZES)
    draw_joints(sheet, *_DIAGRAM, by_position, wording)
    draw_legend(sheet, _LEGEND, _DIAGRAM[1], wording)
    draw_table(sheet, *_TABLE, by_position, wording, context.since)
    sheet.fitted(*_REMARKS, notes, _NOTE_SIZES)
    return sheet.finished()


def draw_frame(sheet: Sheet, title: str, below: str, context: ResultContext) -> None:
    """Draw the title at the top, and models and intended use at the bottom."""
    palette = sheet.palette
    sheet.write((MARGIN, _TITLE), title, 24, palette.ink, bold=True)
    sheet.write((MARGIN, _BELOW_TITLE), below, 15, palette.faint)
    made_by = ", ".join(f"{network.name} {network.version}" for network in context.networks)
    sheet.write((MARGIN, _FOOT), made_by, 13, palette.faint)
    sheet.write((MARGIN, _BELOW_FOOT), context.intended_use, 15, palette.warning, bold=True)


def _key_page(
    place: KeyLocation, looking: Sequence[SeriesView], context: ResultContext
) -> Image.Image:
    wording = context.wording
    sheet = Sheet()
    draw_frame(sheet, wording.key_images, wording.side_of_patient, context)
    for camera, slice_index, x in zip(looking, place.slices, _PANELS, strict=True):
        if slice_index is None:
            continue
        image = wording.image.format(image=camera.series.image_number(slice_index))
        title = f"{camera.series.sequence}, {image}"
        middle = x + _PANEL_WIDTH / 2
        sheet.write((middle, 104), title, 17, sheet.palette.ink, bold=True, anchor="middle")
        sheet.paste(
            camera.picture(slice_index, place.seen, _PANEL_WIDTH, _PANEL_HEIGHT), (x, _PANEL_TOP)
        )
    for camera, x in zip(looking, _PANELS, strict=True):
        mine = [one for one in place.seen if one.sight.sequence is camera.series.sequence]
        _name_lesions(sheet, mine, x, wording)
    if not place.seen:
        sheet.write((MARGIN, _CAPTIONS_TOP), wording.no_lesion_best_seen, 15, sheet.palette.faint)
    return sheet.finished()


def _name_lesions(
    sheet: Sheet, seen: Sequence[LabelledLesion], left: float, wording: Wording
) -> None:
    """Describe each ring below the picture on which it is drawn, in its colour."""
    step = min(26.0, (_FOOT - 12 - _CAPTIONS_TOP) / max(len(seen), 1))
    size = min(17.0, 0.9 * step)
    for row, one in enumerate(seen):
        y, colour = _CAPTIONS_TOP + row * step, ON_IMAGES[one.finding.position.head.lesion]
        sheet.write((left + 30, y), one.label, size, colour, bold=True, anchor="right")
        sheet.write((left + 40, y), wording.caption(one.finding), size, sheet.palette.ink)
