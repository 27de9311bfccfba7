"""A scan of a received dataset: checks its structure and reads its UIDs and patient ID.

The raw little endian bytes are scanned element by element without building a dataset, so time and
memory are bounded by the size of what was received, and nesting by a limit. Only the few elements
that identify the object are decoded.

Sequences of defined length are scanned as well, to limit their depth. An invalid element inside one
does not make the object invalid, because the length of the sequence tells where to continue.

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
"""Maximum per instance, including nested elements and pixel data fragments: about a second."""
MAX_TEXT_BYTES = 1024
"""Maximum length of a decoded element; the standard allows 64 characters of up to 4 bytes."""

UID = re.compile(r"[0-9.]{1,64}")
IMAGE_CLASSES = frozenset(
    uid
    for uid, (name, kind, *_) in UID_dictionary.items()
    if kind == "SOP Class" and "Image Storage" in name
)
"""SOP classes that require pixel data."""


def _swapped(tag: int) -> int:
    """A tag as its four little endian bytes read as one number."""
    return (tag & 0xFFFF) << 16 | tag >> 16


class _Tag(IntEnum):
    """The decoded elements, by their swapped tag."""

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
    """Identifying attributes of a dataset, from its top level.

    Parameters
    ----------
    patient_id, issuer_of_patient_id
        Without padding; decoded as UTF-8, or as Latin-1 if that fails: good enough to tell
        patients apart, not for display. Empty if absent.
    rows, columns, number_of_frames, bits_allocated
        None if absent or not a number.
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
    """Whether a text has the characters and length of a UID, PS3.5 9.1."""
    return UID.fullmatch(text) is not None


def scan(dataset: bytes | bytearray | memoryview, explicit_vr: bool, max_nesting: int = 16) -> Scan:
    """Scan a whole dataset and read its identifying attributes.

    Parameters
    ----------
    dataset
        Little endian, as received, without file meta information.
    explicit_vr
        Whether the transfer syntax has explicit value representations.
    max_nesting
        Maximum nesting depth of sequences.

    Raises
    ------
    DatasetUnreadable
        If an element exceeds the dataset or its sequence, sequences are nested too deeply, a UID
        is missing or invalid, or an image has no pixel data.
    """
    found, has_pixels = _Scanner(memoryview(dataset), explicit_vr, max_nesting).top_level()
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
        raise DatasetUnreadable(
            "The image has no pixel data. It was probably truncated: send it again."
        )
    return described


def check_structure(dataset: bytes, explicit_vr: bool, max_nesting: int) -> None:
    """Check the encoding of a dataset that need not identify an instance.

    Raises
    ------
    DatasetUnreadable
        As `scan` does, without UIDs and pixel data.
    """
    _Scanner(memoryview(dataset), explicit_vr, max_nesting).top_level()


@dataclass(frozen=True, slots=True)
class _Container:
    """A sequence or item being scanned.

    `end` is -1 if a delimiter ends it. `depth` counts the enclosing sequences.
    """

    is_item: bool
    end: int
    depth: int
    explicit_vr: bool


class _Scanner:
    """One pass over the bytes. `position` never moves back, so the work is bounded."""

    def __init__(self, dataset: memoryview, explicit_vr: bool, max_nesting: int) -> None:
        self._dataset = dataset
        self._size = len(dataset)
        self._explicit_vr = explicit_vr
        self._max_nesting = max_nesting
        self._elements_left = MAX_ELEMENTS

    def top_level(self) -> tuple[dict[int, memoryview], bool]:
        """Values of the decoded elements, and whether there is pixel data."""
        dataset, size, explicit_vr = self._dataset, self._size, self._explicit_vr
        found: dict[int, memoryview] = {}
        has_pixels = False
        position = 0
        while position < size:
            self._count()
            tag, vr, length, start = self._header(position, size, explicit_vr)
            if tag & 0xFFFF < 8 or tag & 0xFFFF == 0xFFFE:
                _refuse("An element is not allowed in a dataset")
            if length == _UNDEFINED:
                has_pixels |= tag in _PIXELS
                position = self._past_undefined_length(tag, vr, start, explicit_vr)
                continue
            position = start + length
            if position > size:
                _refuse("An element extends beyond the end of the dataset")
            if tag in _WANTED:
                if tag in found:
                    _refuse(f"{_Tag(tag).name} is duplicated")
                found[tag] = dataset[start:position]
            elif tag in _PIXELS:
                has_pixels = True
            elif vr == b"SQ" or (tag in _SEQUENCES and vr in (None, b"UN")):
                self._past_sequence(start, position, explicit_vr and vr == b"SQ")
        return found, has_pixels

    def _header(
        self, position: int, end: int, explicit_vr: bool
    ) -> tuple[int, bytes | None, int, int]:
        """Tag, VR, value length and value offset of the element at `position`."""
        if end - position < 8:
            _refuse("The dataset ends inside an element")
        if not explicit_vr:
            tag, length = _TAG_AND_LENGTH.unpack_from(self._dataset, position)
            return tag, None, length, position + 8
        tag, vr, length = _EXPLICIT.unpack_from(self._dataset, position)
        if vr in _SHORT_VRS:
            return tag, vr, length, position + 8
        if tag & 0xFFFF == 0xFFFE:
            return tag, None, _LENGTH.unpack_from(self._dataset, position + 4)[0], position + 8
        if not (vr.isalpha() and vr.isupper()):
            _refuse("A value representation is invalid; the transfer syntax may be wrong")
        if end - position < 12:
            _refuse("The dataset ends inside an element")
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
                _refuse("Pixel data end without a delimiter")
            tag, length = _TAG_AND_LENGTH.unpack_from(self._dataset, position)
            position += 8
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM or length > end - position:
                _refuse("A fragment extends beyond the pixel data")
            position += length

    def _past_sequence(self, start: int, end: int, explicit_vr: bool) -> int:
        """Position after a sequence; `end` is -1 if a delimiter ends it."""
        containers = [_Container(is_item=False, end=end, depth=1, explicit_vr=explicit_vr)]
        position = start
        while containers:
            inside = containers[-1]
            if position == inside.end:
                containers.pop()
                continue
            self._count()
            try:
                position = self._step(containers, position)
            except _Skippable as error:
                position = _skip_to_known_end(containers, error)
        return position

    def _step(self, containers: list[_Container], position: int) -> int:
        """Read one element header, enter or leave its container; returns the next position."""
        inside = containers[-1]
        limit = inside.end if inside.end >= 0 else self._limit(containers)
        tag, vr, length, start = self._header(position, limit, inside.explicit_vr)
        if tag == (_ITEM_END if inside.is_item else _SEQUENCE_END) and inside.end < 0:
            containers.pop()
            return start
        end = -1 if length == _UNDEFINED else start + length
        if end > limit:
            _refuse("A nested element extends beyond its sequence")
        if not inside.is_item:
            if tag != _ITEM:
                _refuse("A sequence contains an element that is not an item")
            containers.append(_Container(True, end, inside.depth, inside.explicit_vr))
            return start
        if end < 0 and tag in _PIXELS:
            return self._past_fragments(start, limit)
        if end < 0 or vr == b"SQ" or (tag in _SEQUENCES and vr in (None, b"UN")):
            self._enter(containers, end, explicit_vr=inside.explicit_vr and vr != b"UN")
            return start
        return end

    def _enter(self, containers: list[_Container], end: int, explicit_vr: bool) -> None:
        depth = containers[-1].depth + 1
        if depth > self._max_nesting:
            raise DatasetUnreadable(
                f"Sequences are nested more than {self._max_nesting} deep. "
                "The limit is [listener] max_nesting."
            )
        containers.append(_Container(False, end, depth, explicit_vr))

    def _limit(self, containers: list[_Container]) -> int:
        return next((one.end for one in reversed(containers) if one.end >= 0), self._size)

    def _count(self) -> None:
        self._elements_left -= 1
        if self._elements_left < 0:
            raise DatasetUnreadable(f"The dataset has more than {MAX_ELEMENTS} elements.")


class _Skippable(DatasetUnreadable):
    """An error that can be skipped inside a container of known length."""


def _skip_to_known_end(containers: list[_Container], error: _Skippable) -> int:
    """Leave containers up to the nearest of known length; returns its end."""
    while containers:
        left = containers.pop()
        if left.end >= 0:
            return left.end
    raise error


def _refuse(what: str) -> NoReturn:
    raise _Skippable(f"{what}. Send the instance again.")


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
        raise DatasetUnreadable(f"{tag.name} is missing or not a valid UID.")
    return uid


def _unsigned_short(found: dict[int, memoryview], tag: _Tag) -> int | None:
    value = found.get(tag)
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None


def _integer_string(found: dict[int, memoryview], tag: _Tag) -> int | None:
    text = _text(found, tag)
    return int(text) if len(text) <= 12 and text.isascii() and text.isdigit() else None
