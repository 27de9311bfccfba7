"""The summary as pictures, read back: all of them are there, whole, and something is on each.

Source: DICOM PS3.3 C.7.6.3 (image pixels), C.8.6.2 (Secondary Capture); PS3.5 A.4 (fragments).
"""

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from sij_node.dicom.read_back.reading import Attributes
from sij_node.errors import ResultsInconsistent

MOST_PICTURES = 7
"""The score sheet and six places."""
_JPEG_LS = "1.2.840.10008.1.2.4.80"
_PLAIN = "1.2.840.10008.1.2.1"
_ITEM = struct.Struct("<HHI")
_LEAST_CONTRAST = 4.0
"""Standard deviation of a picture that is not empty; the score sheet has 30."""


def check_pictures(capture: Attributes) -> None:
    """Check that a capture shows what its header says: so many pictures, none of them empty.

    Raises
    ------
    ResultsInconsistent
        If it does not.
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
