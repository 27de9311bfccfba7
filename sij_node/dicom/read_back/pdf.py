"""The words of a page and where they stand, read from a PDF as a viewer reads it.

Reads what the node's own pages consist of: one page, deflated streams, fonts by glyph number with
a map back to letters.

Source: ISO 32000-1 7.3 (objects), 9.4.3 (showing text), 9.10.3 (ToUnicode).
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from sij_node.errors import ResultsInconsistent

_OBJECT = re.compile(rb"(\d+) 0 obj\n<<(.*?)>>\n(stream\r?\n|endobj)", re.DOTALL)
_TOKEN = re.compile(rb"\((?:\\.|[^\\()])*\)|[^\s()]+", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LETTERS = re.compile(rb"<([0-9A-Fa-f]{4})>\s*<([0-9A-Fa-f]+)>")


@dataclass(frozen=True)
class Words:
    """One line of text.

    Parameters
    ----------
    across_pt, up_pt
        Where it begins, from the lower left corner of the page.
    """

    text: str
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


def words_of(pdf: bytes) -> list[Words]:
    """Every line of text of a page, in the order of drawing.

    Raises
    ------
    ResultsInconsistent
        If it is no page as the node makes them. What is broken within raises `ValueError` or
        `LookupError`.
    """
    if not pdf.startswith(b"%PDF-"):
        raise ResultsInconsistent("It holds no PDF.")
    objects = _objects(pdf)
    (page,) = (one for one in objects.values() if re.search(rb"/Type /Page\b(?!s)", one.said))
    fonts = {
        name: _letters(objects[objects[number].reference(b"ToUnicode")].stream)
        for name, number in re.findall(
            rb"/(F\d+) (\d+) 0 R", objects[page.reference(b"Resources")].said
        )
    }
    return _shown(objects[page.reference(b"Contents")].stream, fonts)


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


def _shown(content: bytes, fonts: Mapping[bytes, Mapping[int, str]]) -> list[Words]:
    words: list[Words] = []
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
            words.append(Words(text, *place))
        operands = [*operands[-6:], token]
    return words


def _decoded(shown: bytes, font: Mapping[int, str]) -> str:
    octets = _ESCAPED.sub(lambda one: b"\r" if one[1] == b"r" else one[1], shown[1:-1])
    numbers = (int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets), 2))
    return "".join(font[number] for number in numbers)
