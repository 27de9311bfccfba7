"""The words and pictures of a page and where they stand, read from a PDF as a viewer reads it.

Reads what the node's own pages consist of: one page, deflated streams, fonts by glyph number with
a map back to letters, pictures in true colour that are predicted as in PNG.

Source: ISO 32000-1 7.3 (objects), 7.4.4 (Flate and predictors), 8.9 (images), 9.4.3 (showing
text), 9.10.3 (ToUnicode); PNG specification 5.3 (chunks).
"""

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sij_node.errors import ResultsInconsistent

_OBJECT = re.compile(rb"(\d+) 0 obj\n<<(.*?)>>\n(stream\r?\n|endobj)", re.DOTALL)
_TOKEN = re.compile(rb"\((?:\\.|[^\\()])*\)|[^\s()]+", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PLACED = re.compile(rb"([\d.]+) ([\d.]+) cm /(I\d+) Do")
_PNG = b"\x89PNG\r\n\x1a\n"
_LETTERS = re.compile(rb"<([0-9A-Fa-f]{4})>\s*<([0-9A-Fa-f]+)>")


@dataclass(frozen=True)
class TextLine:
    """One line of text.

    Parameters
    ----------
    across_pt, up_pt
        Where it begins, from the lower left corner of the page.
    """

    text: str
    across_pt: float
    up_pt: float


@dataclass(frozen=True, eq=False)
class PdfImage:
    """One picture.

    Parameters
    ----------
    pixels
        Shape ``(rows, columns, 3)``.
    across_pt, up_pt
        Its lower left corner, from that of the page.
    """

    pixels: NDArray[np.uint8]
    across_pt: float
    up_pt: float


@dataclass(frozen=True)
class _Object:
    said: bytes
    stream: bytes

    def reference(self, name: bytes) -> bytes:
        """The number of an object that is referred to."""
        found = re.search(rb"/" + name + rb" (\d+) 0 R", self.said)
        if found is None:
            raise ResultsInconsistent(f"The page has no {name.decode()}.")
        return found[1]


def words_of(pdf: bytes) -> list[TextLine]:
    """Every line of text of a page, in the order of drawing.

    Raises
    ------
    ResultsInconsistent
        If it is no page as the node makes them. What is broken within raises `ValueError` or
        `LookupError`.
    """
    objects, content, named = _page(pdf)
    fonts = {
        name: _letters(objects[objects[number].reference(b"ToUnicode")].stream)
        for name, number in named.items()
        if name.startswith(b"F")
    }
    return _shown(content, fonts)


def pictures_of(pdf: bytes) -> list[PdfImage]:
    """Every picture of a page, in the order of drawing; raises as `words_of`."""
    objects, content, named = _page(pdf)
    return [
        PdfImage(_pixels(objects[named[name]]), float(across), float(up))
        for across, up, name in _PLACED.findall(content)
    ]


def _page(pdf: bytes) -> tuple[Mapping[bytes, "_Object"], bytes, Mapping[bytes, bytes]]:
    """All objects, what draws the page, and the numbers of its fonts and pictures by name."""
    if not pdf.startswith(b"%PDF-"):
        raise ResultsInconsistent("It holds no PDF.")
    objects = _objects(pdf)
    (page,) = (one for one in objects.values() if re.search(rb"/Type /Page\b(?!s)", one.said))
    named = re.findall(rb"/([FI]\d+) (\d+) 0 R", objects[page.reference(b"Resources")].said)
    return objects, objects[page.reference(b"Contents")].stream, dict(named)


def _pixels(image: _Object) -> NDArray[np.uint8]:
    """A picture's pixels, decoded as those of a PNG file, whose rows are predicted alike."""
    width, height = (
        int(re.findall(rb"/" + name + rb" (\d+)", image.said)[0]) for name in (b"Width", b"Height")
    )
    if any(part not in image.said for part in (b"/DeviceRGB", b"/FlateDecode", b"/Predictor 15")):
        raise ResultsInconsistent("A picture of the page is in another encoding.")
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", image.stream), (b"IEND", b""))
    written = b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    try:
        with Image.open(BytesIO(_PNG + written)) as picture:
            return np.asarray(picture)
    except (OSError, SyntaxError) as error:  # Pillow's words for a broken file
        raise ResultsInconsistent("A picture of the page cannot be decoded.") from error


def _objects(pdf: bytes) -> Mapping[bytes, _Object]:
    found = {}
    at = 0
    while match := _OBJECT.search(pdf, at):
        number, said, ending = match.groups()
        stream, at = b"", match.end()
        if ending.startswith(b"stream"):
            length = int(re.findall(rb"/Length (\d+)", said)[0])
            stream, at = pdf[at : at + length], at + length
            if b"/FlateDecode" in said and b"/Image" not in said:
                stream = _inflated(stream)
        found[number] = _Object(said, stream)
    return found


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error as error:
        raise ResultsInconsistent("A part of the page cannot be inflated.") from error


def _letters(to_unicode: bytes) -> Mapping[int, str]:
    """Letters by glyph number."""
    return {
        int(glyph, 16): bytes.fromhex(letters.decode()).decode("utf-16-be")
        for glyph, letters in _LETTERS.findall(to_unicode)
    }


def _shown(content: bytes, fonts: Mapping[bytes, Mapping[int, str]]) -> list[TextLine]:
    words: list[TextLine] = []
    operands: list[bytes] = []
    font: Mapping[int, str] = {}
    text, place = "", (0.0, 0.0)
    for token in _TOKEN.findall(content):
        if token == b"Tf":
            font = fonts[operands[-2][1:]]
        elif token == b"BT":
            text = ""
        elif token in (b"Td", b"Tm") and not text:
            place = float(operands[-2]), float(operands[-1])
        elif token == b"Tj":
            text += _decoded(operands[-1], font)
        elif token == b"ET" and text.strip():
            words.append(TextLine(text, *place))
        operands = [*operands[-6:], token]
    return words


def _decoded(shown: bytes, font: Mapping[int, str]) -> str:
    octets = _ESCAPED.sub(lambda one: b"\r" if one[1] == b"r" else one[1], shown[1:-1])
    numbers = (int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets), 2))
    return "".join(font[number] for number in numbers)
