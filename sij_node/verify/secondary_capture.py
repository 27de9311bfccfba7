"""The summary as pictures, read back: scores and key images are whole, and on their own sides.

Source: DICOM PS3.3 C.7.6.3 (image pixels), C.8.6.2 (Secondary Capture); PS3.5 A.4 (fragments).
"""

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from models.findings import HEADS, Position, Presence, Side
from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.errors import ResultsInconsistent
from sij_node.verify.expected import ExpectedResults
from sij_node.verify.key_images import Picture, check_key_image, has_rings, views

MOST_PICTURES = 7
"""The score sheet and six places."""
_JPEG_LS = "1.2.840.10008.1.2.4.80"
_PLAIN = "1.2.840.10008.1.2.1"
_ITEM = struct.Struct("<HHI")
_LEAST_CONTRAST = 4.0
"""Standard deviation of a picture that is not empty; the score sheet has 30."""
_PANEL_SIZE = (446, 400)
_PANELS = ((60, 166), (518, 166))
"""Upper left corners of T1 and STIR on a picture, across and down."""
_FIRST_ROW, _ROW, _BELOW_MIDDLE = 351.5, 25.0, 3.0
_BARS = {Side.RIGHT: 318, Side.LEFT: 654}
_BAR_PX = 80
_SAME_BAR_PX, _TICK_PX = 1.6, 2.0
_EMPTY_BAR = (58, 62, 68)
_GREY = 20
"""Colours of a grey bar differ by less."""


def check_pictures(capture: Attributes, evidence: ExpectedResults) -> None:
    """Hold a capture against the findings and the images that it shows.

    Raises
    ------
    ResultsInconsistent
        If a picture is missing or empty, a bar tells another score, or a key image is mirrored, of
        another slice, or drawn upon elsewhere than it was found.
    """
    frames = int(capture.numbers("NumberOfFrames")[0]) if "NumberOfFrames" in capture else 1
    if not 1 <= frames <= MOST_PICTURES:
        raise ResultsInconsistent(f"The summary has {frames} pictures.")
    pages = [int(page) for page in capture.numbers("PageNumberVector")]
    if pages and pages != list(range(1, frames + 1)):
        raise ResultsInconsistent("The pictures of the summary are not numbered in their order.")
    shape = (capture.integer("Rows"), capture.integer("Columns"), 3)
    pictures = _decoded(capture, shape)
    if len(pictures) != frames:
        raise ResultsInconsistent(f"The summary holds {len(pictures)} of {frames} pictures.")
    for picture in pictures:
        if picture.shape != shape or float(picture.std()) < _LEAST_CONTRAST:
            raise ResultsInconsistent("A picture of the summary is empty or of another size.")
    sheets = 1 if capture.integer("InstanceNumber") == 1 else 0
    for sheet in pictures[:sheets]:
        check_bars(sheet, evidence)
    pointed_at = _check_key_images(pictures[sheets:], evidence)
    if 1 < frames < MOST_PICTURES:
        _check_all_shown(pointed_at, evidence)


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


def _decoded(capture: Attributes, shape: tuple[int, int, int]) -> Sequence[NDArray[np.uint8]]:
    octets, syntax = capture.octets("PixelData"), capture.text("TransferSyntaxUID")
    if syntax == _PLAIN:
        length = int(np.prod(shape))
        whole = len(octets) // length * length
        if len(octets) - whole > 1:  # one octet may fill up to an even length
            raise ResultsInconsistent("The last picture of the summary is not whole.")
        return list(np.frombuffer(octets[:whole], np.uint8).reshape(-1, *shape))
    if syntax != _JPEG_LS:
        raise ResultsInconsistent(f"The summary is encoded as {syntax}.")
    try:
        return [imagecodecs.jpegls_decode(one) for one in _fragments(octets)]
    except (RuntimeError, TypeError) as error:  # imagecodecs' word for a broken codestream
        raise ResultsInconsistent("A picture of the summary cannot be decoded.") from error


def _fragments(octets: bytes) -> list[bytes]:
    """One for each picture, after the offset table."""
    found, at = [], 0
    while at + _ITEM.size <= len(octets):
        _, number, size = _ITEM.unpack_from(octets, at)
        at += _ITEM.size
        if number == 0xE0DD:
            break
        found.append(octets[at : at + size])
        at += size
    return found[1:]
