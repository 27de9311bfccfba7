"""A small reader of results in the one encoding in which the node writes them.

It shares no code with the libraries that write results, so that their errors are detected, and
is fast enough to read every result completely.

Source: DICOM PS3.5 7.1.2 (Explicit VR), 7.5 (nested data sets), A.2, A.4 (encapsulated pixels).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from pydicom.datadict import tag_for_keyword

from sij_node.errors import ResultsInconsistent

_OTHER_ENCODINGS = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
"""Implicit, deflated, big endian; all others are explicit and little endian."""
_PREAMBLE = 132
_ELEMENT = struct.Struct("<HH2sH")
_ITEM = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"))
_UNDEFINED = 0xFFFFFFFF
_ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_BINARY = {
    b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Attributes:
    """The attributes of an object or of a sequence item, by tag."""

    by_tag: Mapping[int, "Element"]

    def __contains__(self, keyword: str) -> bool:
        return _tag(keyword) in self.by_tag

    def __iter__(self) -> Iterator["Element"]:
        return iter(self.by_tag.values())

    def items(self, keyword: str) -> "tuple[Attributes, ...]":
        """The items of a sequence; none if absent."""
        element = self.by_tag.get(_tag(keyword))
        return element.items if element else ()

    def item(self, keyword: str) -> "Attributes":
        """The only item of a sequence.

        Raises
        ------
        ResultsInconsistent
            If there are none or several.
        """
        found = self.items(keyword)
        if len(found) != 1:
            raise ResultsInconsistent(f"{keyword} has {len(found)} items, not one.")
        return found[0]

    def text(self, keyword: str) -> str:
        """A text without padding; empty if absent."""
        element = self.by_tag.get(_tag(keyword))
        return element.text if element else ""

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """The numbers of an attribute in any encoding; none if absent."""
        element = self.by_tag.get(_tag(keyword))
        return element.numbers if element else ()

    def integer(self, keyword: str) -> int:
        """A single integer.

        Raises
        ------
        ResultsInconsistent
            If there is none or several.
        """
        found = self.numbers(keyword)
        if len(found) != 1:
            raise ResultsInconsistent(f"{keyword} has {len(found)} values, not one.")
        return int(found[0])

    def octets(self, keyword: str) -> bytes:
        """The encoded value; empty if absent."""
        element = self.by_tag.get(_tag(keyword))
        return element.octets if element else b""


@dataclass(frozen=True, eq=False, slots=True)
class Element:
    """One attribute: its VR, and its encoded value or its items."""

    vr: bytes
    octets: bytes
    items: tuple[Attributes, ...] = ()

    @property
    def text(self) -> str:
        """The value as text; results are written in UTF-8."""
        return self.octets.decode("utf-8", "replace").strip(" \0")

    @property
    def numbers(self) -> tuple[float, ...]:
        """The value as numbers: binary, or decimal and integer strings."""
        if self.vr in _BINARY:
            form = _BINARY[self.vr]
            return struct.unpack(f"<{len(self.octets) // struct.calcsize(form)}{form}", self.octets)
        return tuple(float(one) for one in self.text.split("\\")) if self.text else ()


def read_result(file: bytes) -> Attributes:
    """File meta information and data set of a DICOM file in Explicit VR Little Endian.

    Raises
    ------
    ResultsInconsistent
        If it is not such a file. Malformed content raises `struct.error` or `LookupError`.
    """
    if file[_PREAMBLE - 4 : _PREAMBLE] != b"DICM":
        raise ResultsInconsistent("It is not a DICOM file.")
    found, _ = _elements(file, _PREAMBLE, len(file))
    if found.text("TransferSyntaxUID") in _OTHER_ENCODINGS:
        raise ResultsInconsistent("It is not written in Explicit VR Little Endian.")
    return found


@cache
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return int(tag)


def _elements(octets: bytes, at: int, end: int) -> tuple[Attributes, int]:
    """The elements up to `end` or to the item delimiter, and their end position."""
    _check_within(len(octets), end)
    found: dict[int, Element] = {}
    while at < end:
        group, number, vr, length = _ELEMENT.unpack_from(octets, at)
        at += _ELEMENT.size
        if (group, number) == _ITEM_END:
            break
        if vr in _LONG:
            (length,) = _LENGTH.unpack_from(octets, at)
            at += _LENGTH.size
        if vr == b"SQ":
            items, at = _items(octets, at, length)
            found[group << 16 | number] = Element(vr, b"", items)
            continue
        beginning, at = at, _after_value(octets, at, length)
        _check_within(end, at)
        found[group << 16 | number] = Element(vr, octets[beginning:at])
    return Attributes(found), at


def _items(octets: bytes, at: int, length: int) -> tuple[tuple[Attributes, ...], int]:
    """The items of a sequence of defined or undefined length, and its end position."""
    items = []
    end = len(octets) if length == _UNDEFINED else at + length
    _check_within(len(octets), end)
    while at < end:
        group, number, size = _ITEM.unpack_from(octets, at)
        at += _ITEM.size
        if (group, number) == _SEQUENCE_END:
            break
        item, at = _elements(octets, at, len(octets) if size == _UNDEFINED else at + size)
        items.append(item)
    return tuple(items), at


def _after_value(octets: bytes, at: int, length: int) -> int:
    """End position of a value; encapsulated pixel data end with a delimiter."""
    if length != _UNDEFINED:
        return at + length
    while True:
        group, number, size = _ITEM.unpack_from(octets, at)
        at += _ITEM.size + size
        if (group, number) == _SEQUENCE_END:
            return at


def _check_within(length: int, end: int) -> None:
    if end > length:
        raise ResultsInconsistent("It ends inside an attribute.")
