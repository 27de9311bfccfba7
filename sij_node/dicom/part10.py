"""The first bytes of a stored DICOM file, which say how the rest is encoded and who sent it.

Source: DICOM PS3.10 section 7.1.
"""

import struct

from sij_node.errors import DatasetUnreadable

IMPLEMENTATION_CLASS_UID = "2.25.85760755561676773237149891031255170338"
IMPLEMENTATION_VERSION_NAME = "SIJ_NODE_0_1"

_PREAMBLE = bytes(128) + b"DICM"
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_SHORT_ELEMENT = struct.Struct("<HH2sH")
_LONG_VRS = (b"OB", b"OW", b"UN", b"SQ", b"UT")
_VERSION_1 = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")


def part10_header(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str
) -> bytes:
    """Zero preamble, ``DICM`` and file meta information, to be followed by the dataset.

    Parameters
    ----------
    source_ae
        AE title of the system that sent the dataset, for (0002,0016).
    """
    meta = _VERSION_1 + b"".join(
        (
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", source_ae),
        )
    )
    return _PREAMBLE + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(meta)) + meta


def dataset_offset(beginning: bytes) -> int:
    """Where the dataset begins in a file that starts with a `part10_header`.

    Parameters
    ----------
    beginning
        The first 144 bytes of the file, or more.

    Raises
    ------
    DatasetUnreadable
        When this is not the beginning of such a file.
    """
    first = len(_PREAMBLE)
    end_of_length = first + _GROUP_LENGTH.size
    if len(beginning) < end_of_length or beginning[128:first] != b"DICM":
        raise DatasetUnreadable("A stored file does not begin as a DICOM file.")
    group, element, vr, _, length = _GROUP_LENGTH.unpack_from(beginning, first)
    if (group, element, vr) != (0x0002, 0x0000, b"UL"):
        raise DatasetUnreadable("A stored file has no group length in its file meta information.")
    return end_of_length + int(length)


def transfer_syntax_of(beginning: bytes) -> str:
    """Transfer Syntax UID of a file that starts with a `part10_header`.

    Parameters
    ----------
    beginning
        The file's bytes up to its dataset, or more.

    Raises
    ------
    DatasetUnreadable
        When it is not there.
    """
    meta = memoryview(beginning)[len(_PREAMBLE) : dataset_offset(beginning)]
    position = _GROUP_LENGTH.size
    while len(meta) - position >= _SHORT_ELEMENT.size:
        _, element, vr, length = _SHORT_ELEMENT.unpack_from(meta, position)
        if vr == b"OB":
            position += len(_VERSION_1)
            continue
        start, position = position + 8, position + 8 + length
        if element == 0x0010:
            return bytes(meta[start:position]).decode("latin-1").rstrip("\0 ")
    raise DatasetUnreadable("A stored file does not name its transfer syntax.")


def beginning_of(content: bytes) -> tuple[str, int]:
    """Transfer Syntax UID of anybody's Part 10 file, and where its dataset begins.

    Raises
    ------
    DatasetUnreadable
        When this is not the beginning of such a file.
    """
    position, syntax = len(_PREAMBLE), ""
    if content[128:position] != b"DICM":
        raise DatasetUnreadable("This is not a DICOM file: it does not begin as one (PS3.10 7.1).")
    while content[position : position + 2] == b"\x02\x00":
        number, start, end = _meta_element(content, position)
        if number == 0x0010:
            syntax = content[start:end].decode("latin-1").rstrip("\0 ")
        position = end
    if not syntax:
        raise DatasetUnreadable("The file does not name its transfer syntax.")
    return syntax, position


def _meta_element(content: bytes, at: int) -> tuple[int, int, int]:
    """Number of an element of the file meta, and where its value begins and ends."""
    try:
        _, number, vr, short = _SHORT_ELEMENT.unpack_from(content, at)
        if vr not in _LONG_VRS:
            return number, at + 8, at + 8 + short
        (length,) = struct.unpack_from("<I", content, at + 8)
    except struct.error as error:
        raise DatasetUnreadable("The file ends within its file meta information.") from error
    return number, at + 12, at + 12 + length


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _SHORT_ELEMENT.pack(0x0002, element, vr, len(value)) + value
