"""DICOM files with wrong or missing file meta, as careless senders produce them."""

import struct
from dataclasses import dataclass

from tests.support.raw_peer import EXPLICIT, MR

_LONG = (b"OB", b"OW", b"UN", b"SQ", b"UT")
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True)
class Part10:
    """Announced SOP class and transfer syntax, and the bytes sent; they may disagree."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes


def part10(content: bytes) -> Part10:
    """Split a file without validating it; a missing SOP class becomes MR Image Storage."""
    at = 132 if content[128:132] == b"DICM" else 0
    meta: dict[int, str] = {}
    while content[at : at + 2] == b"\2\0":
        number, value, end = _element(content, at)
        if end > len(content):
            break
        meta[number] = value.decode("latin-1").strip(" \0")
        at = end
    return Part10(
        meta.get(_SOP_CLASS, MR),
        meta.get(_SOP_INSTANCE, "1.2.3.4"),
        meta.get(_TRANSFER_SYNTAX, EXPLICIT),
        content[at:],
    )


def _element(content: bytes, at: int) -> tuple[int, bytes, int]:
    """Number, value and end of an element of the file meta, Explicit VR Little Endian."""
    _, number, vr = struct.unpack_from("<HH2s", content.ljust(at + 12, b"\0"), at)
    length_at, form, start = (at + 8, "<I", at + 12) if vr in _LONG else (at + 6, "<H", at + 8)
    (length,) = struct.unpack_from(form, content.ljust(start, b"\0"), length_at)
    return number, content[start : start + length], start + length
