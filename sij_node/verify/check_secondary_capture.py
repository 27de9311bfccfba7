"""Checks the Secondary Capture: all pictures are there, complete and in order.

Their content is verified by the tests (``tests/oracle``): pictures are drawn from the same values
as the other objects, in the same columns as the table of the PDF.

Source: DICOM PS3.3 C.7.6.3 (image pixels), C.8.6.2 (Secondary Capture); PS3.5 A.4 (fragments).
"""

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.errors import ResultsInconsistent

MAX_PICTURES = 7
"""The score sheet and six key images."""
_JPEG_LS = "1.2.840.10008.1.2.4.80"
_PLAIN = "1.2.840.10008.1.2.1"
_ITEM = struct.Struct("<HHI")

Picture = NDArray[np.uint8]


def check_capture(capture: Attributes) -> None:
    """Check that all pictures of a summary are there, complete and in order.

    Raises
    ------
    ResultsInconsistent
        If one is missing, cannot be decoded or has the wrong size.
    """
    frames = _frames(capture)
    if not 1 <= frames <= MAX_PICTURES:
        raise ResultsInconsistent(f"The summary has {frames} pictures.")
    pages = [int(page) for page in capture.numbers("PageNumberVector")]
    if pages and pages != list(range(1, frames + 1)):
        raise ResultsInconsistent("The pictures of the summary are not numbered in order.")
    pictures = pictures_of_capture(capture)
    if len(pictures) != frames:
        raise ResultsInconsistent(f"The summary contains {len(pictures)} of {frames} pictures.")
    if any(picture.shape != _shape(capture) for picture in pictures):
        raise ResultsInconsistent("A picture of the summary has the wrong size.")


def pictures_of_capture(capture: Attributes) -> Sequence[Picture]:
    """The pictures, each of shape ``(rows, columns, 3)``.

    Raises
    ------
    ResultsInconsistent
        If one cannot be decoded or is truncated.
    """
    octets, syntax = capture.octets("PixelData"), capture.text("TransferSyntaxUID")
    if syntax == _PLAIN:
        shape = _shape(capture)
        length = int(np.prod(shape))
        whole = len(octets) // length * length
        if len(octets) - whole > 1:  # one byte may pad to an even length
            raise ResultsInconsistent("The last picture of the summary is truncated.")
        return list(np.frombuffer(octets[:whole], np.uint8).reshape(-1, *shape))
    if syntax != _JPEG_LS:
        raise ResultsInconsistent(f"The summary is encoded as {syntax}.")
    try:
        return [imagecodecs.jpegls_decode(one) for one in _fragments(octets)]
    except (RuntimeError, TypeError) as error:  # raised by imagecodecs for a corrupt codestream
        raise ResultsInconsistent("A picture of the summary cannot be decoded.") from error


def _frames(capture: Attributes) -> int:
    return int(capture.numbers("NumberOfFrames")[0]) if "NumberOfFrames" in capture else 1


def _shape(capture: Attributes) -> tuple[int, int, int]:
    return capture.integer("Rows"), capture.integer("Columns"), 3


def _fragments(octets: bytes) -> list[bytes]:
    """The fragments after the offset table, one for each picture."""
    found, at = [], 0
    while at + _ITEM.size <= len(octets):
        _, number, size = _ITEM.unpack_from(octets, at)
        at += _ITEM.size
        if number == 0xE0DD:
            break
        found.append(octets[at : at + size])
        at += size
    return found[1:]
