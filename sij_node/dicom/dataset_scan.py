"""A first look at an object while it comes in: whose it is, and whether it is all there.

The raw little endian bytes are walked from element to element without building anything, so
the work and the memory are bounded by what was received, and nesting by a limit. Nothing is
decoded but a handful of elements that say what the object is.

What a sequence of defined length holds is followed as far as it can be read, to bound its depth;
an element in there that cannot be read does not make the object unreadable, since the length of
the sequence says where to go on.

Source: DICOM PS3.5 sections 6.2, 7.1, 7.5 and A.4.
"""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary

from sij_node.errors import DatasetUnreadable

MAX_ELEMENTS = 2_000_000
"""In one instance, nested ones and fragments of pixel data included: about a second of work."""
MAX_TEXT_BYTES = 1024
"""Of an element that is read. The longest by standard is 64 characters of up to 4 bytes."""

UID = re.compile(r"[0-9.]{1,64}")
IMAGE_CLASSES = frozenset(
    uid
    for uid, (name, kind, *_) in UID_dictionary.items()
    if kind == "SOP Class" and "Image Storage" in name
)
"""SOP classes without pixel data in which something is missing."""


def _swapped(tag: int) -> int:
    """A tag as it looks when its four bytes are read as one little endian number."""
    return (tag & 0xFFFF) << 16 | tag >> 16


class _Tag(IntEnum):
    """The elements that are read, by the number their four bytes make."""

    SPECIFIC_CHARACTER_SET = _swapped(0x0008_0005)
    SOP_CLASS_UID = _swapped(0x0008_0016)
    SOP_INSTANCE_UID = _swapped(0x0008_0018)
    PATIENT_ID = _swapped(0x0010_0020)
    ISSUER_OF_PATIENT_ID = _swapped(0x0010_0021)
    STUDY_INSTANCE_UID = _swapped(0x0020_000D)
    SERIES_INSTANCE_UID = _swapped(0x0020_000E)
    NUMBER_OF_FRAMES = _swapped(0x0028_0008)
    ROWS = _swapped(0x0028_0010)
    COLUMNS = _swapped(0x0028_0011)
    BITS_ALLOCATED = _swapped(0x0028_0100)


_WANTED = frozenset(int(tag) for tag in _Tag)
_PIXELS = frozenset(_swapped(tag) for tag in (0x7FE0_0008, 0x7FE0_0009, 0x7FE0_0010))
_SEQUENCES = frozenset(_swapped(tag) for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_ITEM = _swapped(0xFFFE_E000)
_ITEM_END = _swapped(0xFFFE_E00D)
_SEQUENCE_END = _swapped(0xFFFE_E0DD)
_UNDEFINED = 0xFFFF_FFFF
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_EXPLICIT = struct.Struct("<I2sH")
_TAG_AND_LENGTH = struct.Struct("<II")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Scan:
    """What an object says about itself at its top level.

    Parameters
    ----------
    patient_id, issuer_of_patient_id
        Without padding; read as UTF-8, or as Latin-1 where that fails, to tell patients apart
        and not to be shown. Empty where absent.
    rows, columns, number_of_frames, bits_allocated
        None where absent or not a number.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    patient_id: str
    issuer_of_patient_id: str
    specific_character_set: str
    rows: int | None
    columns: int | None
    number_of_frames: int | None
    bits_allocated: int | None


def is_uid(text: str) -> bool:
    """Whether a text has the characters and the length of a UID, PS3.5 9.1."""
    return UID.fullmatch(text) is not None


def scan(dataset: bytes | bytearray | memoryview, explicit_vr: bool, max_nesting: int = 16) -> Scan:
    """Walk over a whole dataset and read what it is.

    Parameters
    ----------
    dataset
        Little endian, as received, without file meta information.
    explicit_vr
        Whether value representations are written, as in every syntax but implicit VR.
    max_nesting
        How many sequences may lie in one another.

    Raises
    ------
    DatasetUnreadable
        When an element does not fit, the end falls inside an element, sequences are nested too
        deeply, a UID is missing or none, or an image has no pixel data.
    """
    found, has_pixels = _Walk(memoryview(dataset), explicit_vr, max_nesting).top_level()
    described = Scan(
        sop_class_uid=_uid(found, _Tag.SOP_CLASS_UID),
        sop_instance_uid=_uid(found, _Tag.SOP_INSTANCE_UID),
        study_uid=_uid(found, _Tag.STUDY_INSTANCE_UID),
        series_uid=_uid(found, _Tag.SERIES_INSTANCE_UID),
        patient_id=_text(found, _Tag.PATIENT_ID),
        issuer_of_patient_id=_text(found, _Tag.ISSUER_OF_PATIENT_ID),
        specific_character_set=_text(found, _Tag.SPECIFIC_CHARACTER_SET),
        rows=_unsigned_short(found, _Tag.ROWS),
        columns=_unsigned_short(found, _Tag.COLUMNS),
        number_of_frames=_integer_string(found, _Tag.NUMBER_OF_FRAMES),
        bits_allocated=_unsigned_short(found, _Tag.BITS_ALLOCATED),
    )
    if described.sop_class_uid in IMAGE_CLASSES and not has_pixels:
        raise DatasetUnreadable("An image has no pixel data. It was probably cut off: send again.")
    return described


@dataclass(frozen=True, slots=True)
class _Container:
    """A sequence or an item that has been entered.

    `end` is -1 where a delimiter ends it. `depth` counts the sequences.
    """

    is_item: bool
    end: int
    depth: int
    explicit_vr: bool


class _Walk:
    """One pass over the bytes. `position` never goes back, so the work is bounded."""

    def __init__(self, dataset: memoryview, explicit_vr: bool, max_nesting: int) -> None:
        self._dataset = dataset
        self._size = len(dataset)
        self._explicit_vr = explicit_vr
        self._max_nesting = max_nesting
        self._elements_left = MAX_ELEMENTS

    def top_level(self) -> tuple[dict[int, memoryview], bool]:
        """Values of the wanted elements, and whether there is pixel data."""
        dataset, size, explicit_vr = self._dataset, self._size, self._explicit_vr
        found: dict[int, memoryview] = {}
        has_pixels = False
        position = 0
        while position < size:
            self._count()
            tag, vr, length, start = self._header(position, size, explicit_vr)
            if tag & 0xFFFF < 8 or tag & 0xFFFF == 0xFFFE:
                _refuse("An element that does not belong into a dataset was found")
            if length == _UNDEFINED:
                has_pixels |= tag in _PIXELS
                position = self._past_undefined_length(tag, vr, start, explicit_vr)
                continue
            position = start + length
            if position > size:
                _refuse("An element is longer than what was received")
            if tag in _WANTED:
                if tag in found:
                    _refuse(f"{_Tag(tag).name} is there twice")
                found[tag] = dataset[start:position]
            elif tag in _PIXELS:
                has_pixels = True
            elif vr == b"SQ" or (tag in _SEQUENCES and vr in (None, b"UN")):
                self._past_sequence(start, position, explicit_vr and vr == b"SQ")
        return found, has_pixels

    def _header(
        self, position: int, end: int, explicit_vr: bool
    ) -> tuple[int, bytes | None, int, int]:
        """Tag, VR, length and first byte of the value of the element at `position`."""
        if end - position < 8:
            _refuse("The end falls inside an element")
        if not explicit_vr:
            tag, length = _TAG_AND_LENGTH.unpack_from(self._dataset, position)
            return tag, None, length, position + 8
        tag, vr, length = _EXPLICIT.unpack_from(self._dataset, position)
        if vr in _SHORT_VRS:
            return tag, vr, length, position + 8
        if tag & 0xFFFF == 0xFFFE:
            return tag, None, _LENGTH.unpack_from(self._dataset, position + 4)[0], position + 8
        if not (vr.isalpha() and vr.isupper()):
            _refuse("A value representation is not one; the transfer syntax may be wrong")
        if end - position < 12:
            _refuse("The end falls inside an element")
        return tag, vr, _LENGTH.unpack_from(self._dataset, position + 8)[0], position + 12

    def _past_undefined_length(
        self, tag: int, vr: bytes | None, start: int, explicit_vr: bool
    ) -> int:
        if tag in _PIXELS:
            return self._past_fragments(start, self._size)
        return self._past_sequence(start, -1, explicit_vr and vr != b"UN")

    def _past_fragments(self, position: int, end: int) -> int:
        """Encapsulated pixel data: items of defined length up to a delimiter, PS3.5 A.4."""
        while True:
            self._count()
            if end - position < 8:
                _refuse("Pixel data ends without a delimiter")
            tag, length = _TAG_AND_LENGTH.unpack_from(self._dataset, position)
            position += 8
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM or length > end - position:
                _refuse("A fragment of pixel data does not fit")
            position += length

    def _past_sequence(self, start: int, end: int, explicit_vr: bool) -> int:
        """Where to go on after a sequence; `end` is -1 where a delimiter ends it."""
        open_ones = [_Container(is_item=False, end=end, depth=1, explicit_vr=explicit_vr)]
        position = start
        while open_ones:
            inside = open_ones[-1]
            if position == inside.end:
                open_ones.pop()
                continue
            self._count()
            try:
                position = self._step(open_ones, position)
            except _NotReadable as error:
                position = _skip_to_known_end(open_ones, error)
        return position

    def _step(self, open_ones: list[_Container], position: int) -> int:
        """Read one header, enter or leave what it begins or ends; returns where to go on."""
        inside = open_ones[-1]
        limit = inside.end if inside.end >= 0 else self._limit(open_ones)
        tag, vr, length, start = self._header(position, limit, inside.explicit_vr)
        if tag == (_ITEM_END if inside.is_item else _SEQUENCE_END) and inside.end < 0:
            open_ones.pop()
            return start
        end = -1 if length == _UNDEFINED else start + length
        if end > limit:
            _refuse("A nested element does not fit")
        if not inside.is_item:
            if tag != _ITEM:
                _refuse("A sequence holds something that is no item")
            open_ones.append(_Container(True, end, inside.depth, inside.explicit_vr))
            return start
        if end < 0 and tag in _PIXELS:
            return self._past_fragments(start, limit)
        if end < 0 or vr == b"SQ" or (tag in _SEQUENCES and vr in (None, b"UN")):
            self._enter(open_ones, end, explicit_vr=inside.explicit_vr and vr != b"UN")
            return start
        return end

    def _enter(self, open_ones: list[_Container], end: int, explicit_vr: bool) -> None:
        depth = open_ones[-1].depth + 1
        if depth > self._max_nesting:
            raise DatasetUnreadable(
                f"Sequences are nested more than {self._max_nesting} deep. "
                "[listener] max_nesting is the limit."
            )
        open_ones.append(_Container(False, end, depth, explicit_vr))

    def _limit(self, open_ones: list[_Container]) -> int:
        return next((one.end for one in reversed(open_ones) if one.end >= 0), self._size)

    def _count(self) -> None:
        self._elements_left -= 1
        if self._elements_left < 0:
            raise DatasetUnreadable(f"There are more than {MAX_ELEMENTS} elements.")


class _NotReadable(DatasetUnreadable):
    """What can be passed over inside a container whose length is known."""


def _skip_to_known_end(open_ones: list[_Container], error: _NotReadable) -> int:
    """Leave everything up to the nearest container whose length says where to go on."""
    while open_ones:
        left = open_ones.pop()
        if left.end >= 0:
            return left.end
    raise error


def _refuse(what: str) -> NoReturn:
    raise _NotReadable(f"{what}. Send the instance again.")


def _raw_text(found: dict[int, memoryview], tag: _Tag) -> bytes:
    value = found.get(tag, memoryview(b""))
    if len(value) > MAX_TEXT_BYTES:
        raise DatasetUnreadable(f"{tag.name} is longer than {MAX_TEXT_BYTES} bytes.")
    return bytes(value)


def _text(found: dict[int, memoryview], tag: _Tag) -> str:
    raw = _raw_text(found, tag)
    try:
        return raw.decode("utf-8").strip(" \0")
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip(" \0")


def _uid(found: dict[int, memoryview], tag: _Tag) -> str:
    uid = _raw_text(found, tag).decode("latin-1").removesuffix("\0").rstrip(" ")
    if not is_uid(uid):
        raise DatasetUnreadable(f"{tag.name} is missing or is no UID.")
    return uid


def _unsigned_short(found: dict[int, memoryview], tag: _Tag) -> int | None:
    value = found.get(tag)
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None


def _integer_string(found: dict[int, memoryview], tag: _Tag) -> int | None:
    text = _text(found, tag)
    return int(text) if len(text) <= 12 and text.isascii() and text.isdigit() else None
