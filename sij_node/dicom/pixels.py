"""Decode pixel data after checking it against the header.

Before decoding, the header is compared with the size each compressed frame states, so that a
small file cannot claim a huge image and a wrong header cannot yield a wrong image.

Source: DICOM PS3.3 C.7.6.3 (Image Pixel), PS3.5 section 8 and annexes A.4, F and G; ISO/IEC
10918-1 B.2.2 (JPEG), 14495-1 C.2.2 (JPEG-LS), 15444-1 A.5.1 (JPEG 2000).
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from sij_node.dicom.headers import number, text
from sij_node.errors import PixelsUnusable

MAX_DECODED_BYTES = 1 << 30
"""Maximum decoded size of one object."""
MAX_PADDING_BYTES = 4096
"""Some devices fill pixel data up to a block of their disk."""
MAX_TILES = 1024
"""Maximum number of tiles in a JPEG 2000 codestream."""

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
"""Implicit and Explicit VR Little Endian."""


@dataclass(frozen=True)
class PixelFormat:
    """The Image Pixel module, validated."""

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool
    """True for MONOCHROME1, in which low values are bright."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one decoded frame."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True)
class CodestreamSize:
    """Size stated by a compressed frame; an RLE frame states only its byte planes."""

    rows: int | None
    columns: int | None
    samples: int
    bits: int

    def agrees_with(self, stated: PixelFormat) -> bool:
        """Whether the header agrees."""
        return (
            self.rows in (None, stated.rows)
            and self.columns in (None, stated.columns)
            and self.samples == 1
            and stated.bits_stored <= self.bits <= stated.bits_allocated
        )

    def __str__(self) -> str:
        """For messages, for instance ``320×320 in 12 bits``."""
        planes = f"×{self.samples}" if self.samples > 1 else ""
        return f"{self.rows or '?'}×{self.columns or '?'}{planes} in {self.bits} bits"


@dataclass(frozen=True)
class Codec:
    """Reads the stated size of a compressed frame, and decodes it."""

    size: Callable[[bytes], CodestreamSize]
    decode: Callable[[bytes, PixelFormat], NDArray[Any]]


def stored_values(dataset: Dataset) -> NDArray[Any]:
    """Stored pixel values of a classic or multi-frame image.

    Parameters
    ----------
    dataset
        As read by ``pydicom.dcmread``, with its file meta information.

    Returns
    -------
    NDArray
        Signed or unsigned integers, shape ``(frames, rows, columns)``. MONOCHROME1 is inverted,
        so that high values are always bright. Rescale is not applied.

    Raises
    ------
    PixelsUnusable
        If the encoding is not supported, or pixel data contradict the header.
    """
    uid = text(dataset, "SOPInstanceUID")
    stated = pixel_format(dataset)
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    if syntax in NATIVE:
        values = _native(dataset, stated, uid)
    elif syntax in CODECS:
        values = _encapsulated(dataset, stated, CODECS[syntax], uid)
    else:
        raise PixelsUnusable(
            f"Image {uid} has an unsupported transfer syntax ({syntax.name or 'not stated'}). "
            "Send it uncompressed or losslessly compressed."
        )
    values = _signed(values, stated)
    return _inverted(values, stated) if stated.inverted else values


def pixel_format(dataset: Dataset) -> PixelFormat:
    """Read and check the Image Pixel module.

    Raises
    ------
    PixelsUnusable
        Naming the first invalid attribute.
    """
    uid = text(dataset, "SOPInstanceUID")
    if text(dataset, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise PixelsUnusable(f"Image {uid} is not greyscale. Send the original MR images.")
    allocated = _integer(dataset, "BitsAllocated", (8, 16))
    stored = _integer(dataset, "BitsStored", range(1, allocated + 1))
    _integer(dataset, "HighBit", (stored - 1,))
    _integer(dataset, "SamplesPerPixel", (1,))
    stated = PixelFormat(
        rows=_integer(dataset, "Rows", range(1, 1 << 16)),
        columns=_integer(dataset, "Columns", range(1, 1 << 16)),
        frames=_integer(dataset, "NumberOfFrames", range(1, 1 << 16), default=1),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=_integer(dataset, "PixelRepresentation", (0, 1)) == 1,
        inverted=text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
    )
    if stated.frames * stated.frame_bytes > MAX_DECODED_BYTES:
        raise PixelsUnusable(
            f"Image {uid} would decode to {stated.frames * stated.frame_bytes >> 20} MB; "
            f"at most {MAX_DECODED_BYTES >> 20} MB are accepted."
        )
    return stated


def _integer(
    dataset: Dataset, keyword: str, allowed: range | tuple[int, ...], default: int | None = None
) -> int:
    """An integer attribute; its value must be one of `allowed`."""
    value = number(dataset, keyword)
    if value is None:
        value = default
    if value is None or int(value) != value or int(value) not in allowed:
        limits = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else str(allowed)
        raise PixelsUnusable(
            f"Image {text(dataset, 'SOPInstanceUID')} has {keyword} {value}; {limits} is required. "
            "Send the original."
        )
    return int(value)


def _native(dataset: Dataset, stated: PixelFormat, uid: str) -> NDArray[Any]:
    pixels = _pixel_data(dataset, uid)
    needed = stated.frames * stated.frame_bytes
    if len(pixels) < needed or not _is_padding(pixels[needed:], stated):
        raise PixelsUnusable(
            f"Image {uid} has {len(pixels)} bytes of pixel data; its header requires {needed}. "
            "Send it again."
        )
    values = np.frombuffer(pixels, f"<u{stated.bits_allocated // 8}", count=_count(stated))
    return values.reshape(stated.frames, stated.rows, stated.columns)


def _is_padding(surplus: bytes, stated: PixelFormat) -> bool:
    """Whether bytes after the pixels are padding (PS3.5 8.1.1), not pixels of a larger image.

    Less than a row and a column cannot come from wrong dimensions; up to a block must be uniform.
    """
    line_bytes = min(stated.rows, stated.columns) * stated.bits_allocated // 8
    return len(surplus) < line_bytes or (
        len(surplus) <= MAX_PADDING_BYTES and len(set(surplus)) == 1
    )


def _count(stated: PixelFormat) -> int:
    return stated.frames * stated.rows * stated.columns


def _pixel_data(dataset: Dataset, uid: str) -> bytes:
    pixels = dataset.get("PixelData")
    if not isinstance(pixels, bytes) or not pixels:
        raise PixelsUnusable(f"Image {uid} has no pixel data. Send it again.")
    return pixels


def _encapsulated(dataset: Dataset, stated: PixelFormat, codec: Codec, uid: str) -> NDArray[Any]:
    """Check every frame before decoding the first."""
    frames = list(_frames(_pixel_data(dataset, uid), stated, uid))
    for frame in frames:
        _check_size(codec, frame, stated, uid)
    values = np.empty(
        (stated.frames, stated.rows, stated.columns), f"<u{stated.bits_allocated // 8}"
    )
    for index, frame in enumerate(frames):
        values[index] = _decoded(codec, frame, stated, uid)
    return values


def _frames(pixels: bytes, stated: PixelFormat, uid: str) -> Iterator[bytes]:
    try:
        frames = list(generate_frames(pixels, number_of_frames=stated.frames))
    except (ValueError, EOFError, IndexError, struct.error) as error:
        raise PixelsUnusable(
            f"Image {uid} has a damaged compressed pixel stream. Send it again."
        ) from error
    if len(frames) != stated.frames:
        raise PixelsUnusable(
            f"Image {uid} has {len(frames)} compressed frames; its header states {stated.frames}. "
            "Send it again."
        )
    yield from frames


def _check_size(codec: Codec, frame: bytes, stated: PixelFormat, uid: str) -> None:
    try:
        found = codec.size(frame)
    except (ValueError, IndexError, struct.error) as error:
        raise PixelsUnusable(
            f"Image {uid} has a compressed frame without a valid header ({error}). Resend it."
        ) from error
    if not found.agrees_with(stated):
        raise PixelsUnusable(
            f"Image {uid} is {stated.rows}×{stated.columns} in {stated.bits_stored} of "
            f"{stated.bits_allocated} bits in the header, but {found} in the compressed frame. "
            "Send the original."
        )


def _decoded(codec: Codec, frame: bytes, stated: PixelFormat, uid: str) -> NDArray[Any]:
    """One frame, shape ``(rows, columns)``, as unsigned integers."""
    try:
        values = codec.decode(frame, stated)
    except (ValueError, RuntimeError, TypeError) as error:
        raise PixelsUnusable(f"Image {uid} cannot be decoded ({error}). Send it again.") from error
    if values.size != stated.rows * stated.columns or values.itemsize * 8 > stated.bits_allocated:
        raise PixelsUnusable(f"Image {uid} does not decode to the size stated in its header.")
    return values.reshape(stated.rows, stated.columns)


def _signed(values: NDArray[Any], stated: PixelFormat) -> NDArray[Any]:
    """Drop bits above the stored ones; extend the sign if there is one."""
    octets = stated.bits_allocated // 8
    unused = stated.bits_allocated - stated.bits_stored
    if not unused:
        return values.view(f"<{'i' if stated.signed else 'u'}{octets}")
    if not stated.signed:
        return np.asarray(values & values.dtype.type((1 << stated.bits_stored) - 1))
    return np.asarray((values << unused).view(f"<i{octets}") >> unused)


def _inverted(values: NDArray[Any], stated: PixelFormat) -> NDArray[Any]:
    """Swap the largest and the smallest storable value."""
    return ~values if stated.signed else (1 << stated.bits_stored) - 1 - values


def _jpeg_size(frame: bytes, start_of_frame: int) -> CodestreamSize:
    """Find the frame header that the transfer syntax requires."""
    if frame[:2] != b"\xff\xd8":
        raise ValueError("no SOI marker")
    at = 2
    while True:
        prefix, marker, length = struct.unpack_from(">BBH", frame, at)
        if prefix != 0xFF or length < 2:
            raise ValueError("invalid marker segment")
        if marker == start_of_frame:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return CodestreamSize(rows, columns, samples, bits)
        if marker in OTHER_FRAMES or marker in (0xDA, 0xD9):
            raise ValueError("JPEG process differs from the transfer syntax")
        at += 2 + length


OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers of all JPEG processes."""


def _lossless_jpeg_size(frame: bytes) -> CodestreamSize:
    return _jpeg_size(frame, 0xC3)


def _jpeg_ls_size(frame: bytes) -> CodestreamSize:
    return _jpeg_size(frame, 0xF7)


def _jpeg_2000_size(frame: bytes) -> CodestreamSize:
    """The SIZ segment, which directly follows the start of the codestream."""
    if frame[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("no JPEG 2000 codestream")
    x1, y1, x0, y0, tile_x, tile_y = struct.unpack_from(">6I", frame, 8)
    (samples,) = struct.unpack_from(">H", frame, 40)
    depth, step_x, step_y = struct.unpack_from(">3B", frame, 42)
    if not tile_x or not tile_y or -(-x1 // tile_x) * -(-y1 // tile_y) > MAX_TILES:
        raise ValueError("invalid tiles")
    if (step_x, step_y) != (1, 1):
        raise ValueError("subsampled")
    return CodestreamSize(y1 - y0, x1 - x0, samples, (depth & 0x7F) + 1)


def _rle_size(frame: bytes) -> CodestreamSize:
    return CodestreamSize(None, None, 1, 8 * len(_rle_planes(frame)))


def _rle_planes(frame: bytes) -> list[bytes]:
    """The byte planes of a frame, most significant first."""
    count, *offsets = struct.unpack_from("<16L", frame)
    edges = [*offsets[:count], len(frame)]
    if not 1 <= count <= 15 or edges[0] != 64 or any(b <= a for a, b in pairwise(edges)):
        raise ValueError("invalid RLE header")
    return [frame[start:end] for start, end in pairwise(edges)]


def _rle_decode(frame: bytes, stated: PixelFormat) -> NDArray[Any]:
    planes = _rle_planes(frame)
    count = stated.rows * stated.columns
    values = np.zeros((count, len(planes)), np.uint8)
    for index, plane in enumerate(reversed(planes)):
        padding = len(plane) - len(plane.rstrip(b"\0"))  # decodes to at most as many bytes
        decoded = imagecodecs.packbits_decode(plane, out=count + 1 + padding)
        if len(decoded) < count:
            raise ValueError(f"byte plane of {len(decoded)} bytes; {count} required")
        values[:, index] = np.frombuffer(decoded, np.uint8)[:count]
    return values.view(f"<u{len(planes)}")


def _jpeg_decode(frame: bytes, _: PixelFormat) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg8_decode(frame))


def _jpeg_ls_decode(frame: bytes, _: PixelFormat) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegls_decode(frame))


def _jpeg_2000_decode(frame: bytes, _: PixelFormat) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg2k_decode(frame))


_LOSSLESS_JPEG = Codec(_lossless_jpeg_size, _jpeg_decode)
_JPEG_LS = Codec(_jpeg_ls_size, _jpeg_ls_decode)
_JPEG_2000 = Codec(_jpeg_2000_size, _jpeg_2000_decode)

CODECS: Mapping[str, Codec] = {
    "1.2.840.10008.1.2.4.57": _LOSSLESS_JPEG,
    "1.2.840.10008.1.2.4.70": _LOSSLESS_JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.5": Codec(_rle_size, _rle_decode),
}
"""Supported compressed transfer syntaxes (PS3.6 A); baseline and extended JPEG are not."""
