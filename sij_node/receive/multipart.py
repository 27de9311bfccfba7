"""The parts of a multipart/related body that is complete and mapped, without copying them.

Source: RFC 2046 5.1.1 (multipart syntax), RFC 2387 (multipart/related), DICOM PS3.18 8.6.1.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from sij_node.errors import RequestMalformed

MAX_PART_HEADER_BYTES = 4096
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 allows 70 characters; Orthanc's are 73."""
_END_OF_LINE = re.compile(rb"[ \t]*\r\n")


@dataclass(frozen=True)
class Part:
    """Media type of a part without parameters, and start and end of its content."""

    media_type: str
    start: int
    end: int


def media_type_of(header: str) -> str:
    """The media type in a Content-Type header, without parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def boundary_of(header: str) -> bytes:
    """The boundary in a Content-Type header.

    Raises
    ------
    RequestMalformed
        If there is none, or it is not a valid one.
    """
    message = Message()
    message["Content-Type"] = header
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise RequestMalformed("Content-Type needs a boundary of 1 to 200 characters (RFC 2046).")
    return boundary.encode("ascii")


def parts_of(body: mmap.mmap, boundary: bytes) -> Iterator[Part]:
    """The parts of a body in order.

    Raises
    ------
    RequestMalformed
        If the body does not begin, continue or end as RFC 2046 requires.
    """
    delimiter = b"\r\n--" + boundary
    at = len(delimiter) - 2 if body[: len(delimiter) - 2] == delimiter[2:] else -1
    if at < 0:
        at = _next(body, delimiter, 0, "begins without its boundary") + len(delimiter)
    while body[at : at + 2] != b"--":
        line_end = _END_OF_LINE.match(body, at)
        if line_end is None:
            raise RequestMalformed("A boundary of the body is not followed by a line break.")
        # The header may be empty: the line break of the boundary is then half of its end.
        header_start = line_end.end() - 2
        start = body.find(b"\r\n\r\n", header_start, header_start + MAX_PART_HEADER_BYTES) + 4
        if start < 4:
            raise RequestMalformed("A part of the body has no header, or too long a one.")
        end = _next(body, delimiter, start - 2, "ends without its last boundary")
        yield Part(_part_type(body[header_start:start]), start, max(start, end))
        at = end + len(delimiter)


def _next(body: mmap.mmap, delimiter: bytes, start: int, problem: str) -> int:
    found = body.find(delimiter, start)
    if found < 0:
        raise RequestMalformed(f"The body {problem}; it was probably not sent completely.")
    return found


def _part_type(header: bytes) -> str:
    for line in header.split(b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip().lower() == "content-type":
            return media_type_of(value)
    return ""
