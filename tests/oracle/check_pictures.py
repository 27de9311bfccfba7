"""What the summary and the PDF show, measured in their pixels and compared with the findings.

An oracle for tests: it reads letters, bars, contours and rings from the pictures as a person does.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from pypdf import PdfReader

from models.findings import HEADS, Position, Presence, Side
from sij_node.dicom.read_back.pdf_text import TextLine, lines_of_text
from sij_node.dicom.read_back.result_reader import Attributes, read_result
from sij_node.errors import ResultsInconsistent
from sij_node.verify.check_results import check_results
from sij_node.verify.check_secondary_capture import Picture, pictures_of_capture
from sij_node.verify.expected_results import ExpectedResults
from tests.oracle.key_image_ink import check_key_image, has_rings, views

_MOST_PICTURES = 7
"""The score sheet and six places."""
_CAPTION = re.compile(r"(T1|STIR), \w+ (\S+)")
_LEAST_CONTRAST = 4.0
"""Standard deviation of a picture that is not empty; the score sheet has 30."""
_PANEL_SIZE = (610, 440)
_PANELS = ((24, 120), (646, 120))
"""Upper left corners of T1 and STIR on a picture, across and down."""
_FIRST_ROW, _ROW, _BELOW_MIDDLE = 271.875, 21.25, 3.0
_BARS = {Side.RIGHT: 711, Side.LEFT: 983}
_BAR_PX = 68
_SAME_BAR_PX, _TICK_PX = 1.6, 2.0
_EMPTY_BAR = (58, 62, 68)
_GREY = 20
"""Colours of a grey bar differ by less."""


@dataclass(frozen=True, eq=False)
class PdfImage:
    """One picture of a PDF page.

    Parameters
    ----------
    pixels
        Shape ``(rows, columns, 3)``.
    across_pt, up_pt
        Its lower left corner, from that of the page.
    """

    pixels: Picture
    across_pt: float
    up_pt: float


def check_results_and_pictures(files: Iterable[bytes], expected: ExpectedResults) -> None:
    """The node's self-check, followed by a check of every rendered image.

    Raises
    ------
    ResultsInconsistent
        Naming the object by its modality.
    """
    files = list(files)
    check_results(files, expected)
    for result in map(read_result, files):
        check = {"OT": check_capture, "DOC": check_pdf}.get(result.text("Modality"))
        if check is not None:
            try:
                check(result, expected)
            except ResultsInconsistent as error:
                raise ResultsInconsistent(f"{result.text('Modality')}: {error}") from error


def check_capture(capture: Attributes, evidence: ExpectedResults) -> None:
    """Scores as bars on the sheet; key images unmirrored, of their slices, drawn upon rightly."""
    pictures = pictures_of_capture(capture)
    if any(float(picture.std()) < _LEAST_CONTRAST for picture in pictures):
        raise ResultsInconsistent("A picture of the summary is empty.")
    sheets = 1 if capture.integer("InstanceNumber") == 1 else 0
    for sheet in pictures[:sheets]:
        check_bars(sheet, evidence)
    pointed_at = _check_key_images(pictures[sheets:], evidence)
    if 1 < len(pictures) < _MOST_PICTURES:
        _check_all_shown(pointed_at, evidence)


def check_pdf(document: Attributes, evidence: ExpectedResults) -> None:
    """Every picture of the PDF shows the image that is named above it."""
    pdf = document.octets("EncapsulatedDocument")[: document.integer("EncapsulatedDocumentLength")]
    captions = [one for one in lines_of_text(pdf) if _CAPTION.fullmatch(one.text)]
    pictures = images_of_pdf(pdf)
    if len(captions) != len(pictures):
        raise ResultsInconsistent(f"{len(pictures)} key images have {len(captions)} captions.")
    if not pictures:
        return
    rows, columns, _ = pictures[0].pixels.shape
    looking = views(evidence, (columns, rows))
    for shown in pictures:
        caption = min(captions, key=partial(_between_pt, shown))
        ((sequence, number),) = _CAPTION.findall(caption.text)
        (own,) = (view for view in looking if view.series.sequence == sequence)
        check_key_image(shown.pixels, own, looking, evidence, number)


def images_of_pdf(pdf: bytes) -> list[PdfImage]:
    """Every picture of a page, in drawing order."""
    (page,) = PdfReader(BytesIO(pdf)).pages
    corners = []

    def add(
        operator: bytes, operands: Sequence[object], matrix: Sequence[float], _: object
    ) -> None:
        if operator == b"Do":
            corners.append((str(operands[0]), matrix[4], matrix[5]))

    page.extract_text(visitor_operand_before=add)
    return [
        PdfImage(np.asarray(page.images[name].image.convert("RGB")), across, up)
        for name, across, up in corners
    ]


def _between_pt(shown: PdfImage, caption: TextLine) -> tuple[float, float]:
    """From the left edge of a picture to where a caption above it begins, and how far above."""
    apart, above = caption.across_pt - shown.across_pt, caption.up_pt - shown.up_pt
    return (apart, above) if apart >= 0 and above > 0 else (float("inf"), float("inf"))


def check_bars(sheet: Picture, evidence: ExpectedResults) -> None:
    """Hold the bars of the score sheet against the scores of their side.

    Raises
    ------
    ResultsInconsistent
        If one is longer, shorter or of another colour than its score.
    """
    for number, head in enumerate(HEADS):
        for side, left in _BARS.items():
            finding = evidence.finding_at[Position(side, head)]
            if finding.probability is None:
                continue
            y = int(_FIRST_ROW + number * _ROW + _BELOW_MIDDLE)
            bar = sheet[y, left : left + _BAR_PX].astype(int)
            tick = abs(np.arange(_BAR_PX) + 0.5 - finding.threshold * _BAR_PX) < _TICK_PX
            filled = (abs(bar - _EMPTY_BAR) > _GREY).any(axis=1) & ~tick
            told = float(np.flatnonzero(filled).max(initial=-1)) + 1
            if not _is_bar(told, finding.probability, finding.threshold):
                raise ResultsInconsistent(f"The bar of {finding.position} tells another score.")
            coloured = bool(filled.any()) and float(np.ptp(bar[filled], axis=1).max()) > _GREY
            if told > 3 and coloured != (finding.presence is Presence.PRESENT):
                raise ResultsInconsistent(f"The bar of {finding.position} has another colour.")


def _is_bar(told_px: float, probability: float, threshold: float) -> bool:
    """Whether a bar is as long as its score; the tick at the threshold may hide its end."""
    hidden_px = 2 * _TICK_PX if abs(probability - threshold) * _BAR_PX < 2 * _TICK_PX else 0.0
    return abs(told_px - probability * _BAR_PX) <= _SAME_BAR_PX + hidden_px


def _check_key_images(
    pictures: Sequence[Picture], evidence: ExpectedResults
) -> set[tuple[str, int]]:
    """Check every picture of a slice; returns the slices on which something is pointed at."""
    across, down = _PANEL_SIZE
    looking = views(evidence, _PANEL_SIZE)
    pointed_at = set()
    for picture in pictures:
        for own, (left, top) in zip(looking, _PANELS, strict=True):
            panel = picture[top : top + down, left : left + across]
            if panel.any():
                index = check_key_image(panel, own, looking, evidence)
                if has_rings(panel):
                    pointed_at.add((str(own.series.sequence), index))
    return pointed_at


def _check_all_shown(pointed_at: set[tuple[str, int]], evidence: ExpectedResults) -> None:
    seen = {
        (str(one.sequence), finding.sight.slice_index)
        for one in evidence.series
        for finding in evidence.seen_on(one)
        if finding.sight
    }
    if not seen <= pointed_at:
        raise ResultsInconsistent("The summary leaves out a place where a lesion is seen.")
