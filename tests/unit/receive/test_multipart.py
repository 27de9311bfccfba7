"""The parts of a multipart body, as RFC 2046 defines them."""

import mmap

import pytest

from sij_node.errors import RequestMalformed
from sij_node.receive.multipart import boundary_of, parts_of

HEAD = b"--b\r\nContent-Type: application/dicom\r\n\r\n"


def parts(content: bytes, boundary: bytes = b"b") -> list[tuple[str, bytes]]:
    with mmap.mmap(-1, len(content)) as body:
        body[:] = content
        found = list(parts_of(body, boundary))
        return [(one.media_type, body[one.start : one.end]) for one in found]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (HEAD + b"XY\r\n--b--", [("application/dicom", b"XY")]),
        (HEAD.replace(b"C", b"c") + b"\r\n--b--", [("application/dicom", b"")]),
        (b"--b\r\nA: b\r\nContent-Type:Image/X; a=b\r\n\r\nY\r\n--b--", [("image/x", b"Y")]),
        (b"--b\r\n\r\nX\r\n--b--", [("", b"X")]),
        (b"--b \t\r\n\r\nX\r\n--b--", [("", b"X")]),
        (b"preamble\r\n--b\r\n\r\nX\r\n--b--\r\nepilogue", [("", b"X")]),
        (b"--b\r\n\r\n\r\nX\r\n\r\n--b--", [("", b"\r\nX\r\n")]),
        (b"--b\r\n\r\nX\r\n--b\r\nA: b\r\n\r\nX\r\n-b\r\n--b--", [("", b"X"), ("", b"X\r\n-b")]),
        (b"--b\r\nA: b\r\n\r\n--b--", [("", b"")]),
        (b"--b--", []),
    ],
)
def test_the_parts_are_those_between_the_boundaries(body: bytes, expected):
    assert parts(body) == expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"XY", "begins without its boundary"),
        (b"--b", "not followed by a line break"),
        (b"--bX\r\n\r\nX\r\n--b--", "not followed by a line break"),
        (b"--b\r\nContent-Type: application/dicom", "no header"),
        (b"--b\r\nA: " + b"x" * 5000 + b"\r\n\r\nX\r\n--b--", "too long"),
        (b"--b\r\n\r\nXY", "ends without its last boundary"),
        (b"--b\r\n\r\nX\r\n--b\r\n\r\nY\r\n--", "ends without its last boundary"),
        (b"--b\r\n\r\nX\n--b--", "ends without its last boundary"),
    ],
)
def test_a_body_that_breaks_the_rules_is_refused(body: bytes, words: str):
    with pytest.raises(RequestMalformed, match=words):
        parts(body)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("multipart/related; type=application/dicom; boundary=a'b_1", b"a'b_1"),
        ('multipart/related; boundary="a b:c"; type="application/dicom"', b"a b:c"),
    ],
)
def test_the_boundary_is_taken_from_the_header(header: str, expected: bytes):
    assert boundary_of(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "multipart/related",
        "multipart/related; boundary=",
        f"a/b; boundary={'x' * 201}",
        'a/b; boundary="ö"',
        "a/b; boundary*=utf-8''%C3%B6",
    ],
)
def test_a_header_without_a_valid_boundary_is_refused(header: str):
    with pytest.raises(RequestMalformed, match="boundary"):
        boundary_of(header)
