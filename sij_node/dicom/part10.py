"""File meta information of DICOM files: written for received instances, and read.

Source: DICOM PS3.10 section 7.1.
"""

import struct
from dataclasses import dataclass

from sij_node.errors import DatasetUnreadable

IMPLEMENTATION_CLASS_UID = "2.25.85760755561676773237149891031255170338"
IMPLEMENTATION_VERSION_NAME = "SIJ_NODE_0_1"

FILE_META_BYTES = 1024
"""Upper limit of preamble and file meta information of files that the node writes."""

_PREAMBLE = bytes(128) + b"DICM"
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_SHORT_ELEMENT = struct.Struct("<HH2sH")
_LONG_VRS = (b"OB", b"OW", b"UN", b"SQ", b"UT")
_VERSION_1 = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")


def part10_header(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str
) -> bytes:
    """Preamble, ``DICM`` prefix and file meta information, to be followed by the dataset.

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


@dataclass(frozen=True)
class FileMeta:
    """File meta information of a Part 10 file.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid
        Empty if absent.
    dataset_offset
        Position of the first byte of the dataset.
    source_ae
        AE title of the system that sent the dataset; empty if absent.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int
    source_ae: str = ""


def read_file_meta(beginning: bytes) -> FileMeta:
    """Read the file meta information of a Part 10 file.

    Parameters
    ----------
    beginning
        The file up to its dataset, or more; `FILE_META_BYTES` suffice for files of the node.

    Raises
    ------
    DatasetUnreadable
        If it is not a Part 10 file, is truncated, or states no transfer syntax.
    """
    position, values = len(_PREAMBLE), dict[int, str]()
    if beginning[128:position] != b"DICM":
        raise DatasetUnreadable("This is not a DICOM file: it has no DICM prefix (PS3.10 7.1).")
    while beginning[position : position + 2] == b"\x02\x00":
        element, start, position = _meta_element(beginning, position)
        values[element] = beginning[start:position].decode("latin-1").rstrip("\0 ")
    if position > len(beginning):
        raise _truncated()
    if not values.get(0x0010):
        raise DatasetUnreadable("The file meta information states no transfer syntax.")
    source_ae = values.get(0x0016, "")
    return FileMeta(
        values.get(0x0002, ""), values.get(0x0003, ""), values[0x0010], position, source_ae
    )


def _meta_element(content: bytes, at: int) -> tuple[int, int, int]:
    """Element number of a file meta element, and start and end of its value."""
    try:
        _, number, vr, short = _SHORT_ELEMENT.unpack_from(content, at)
        if vr not in _LONG_VRS:
            return number, at + 8, at + 8 + short
        (length,) = struct.unpack_from("<I", content, at + 8)
    except struct.error as error:
        raise _truncated() from error
    return number, at + 12, at + 12 + length


def _truncated() -> DatasetUnreadable:
    return DatasetUnreadable("The file ends inside its file meta information.")


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _SHORT_ELEMENT.pack(0x0002, element, vr, len(value)) + value
