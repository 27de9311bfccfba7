"""The dataset scan finds identifiers and missing attributes within limits."""

import struct
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from sij_node.dicom.dataset_scan import is_uid, scan
from sij_node.errors import DatasetUnreadable
from tests.support.raw_peer import MR, encoded
from tests.support.running_listener import mr_image

ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """A long-form explicit element, with a length that may be a lie."""
    size = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, size) + value


def nested(depth: int, undefined: bool) -> bytes:
    """A Referenced Series Sequence within itself, `depth` times."""
    if undefined:
        opened = explicit(0x0008_1115, b"SQ", b"", 0xFFFFFFFF) + ITEM
        return opened * depth + (ITEM_END + SEQUENCE_END) * depth
    content = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
        content = explicit(0x0008_1115, b"SQ", item)
    return content


@pytest.mark.parametrize("explicit_vr", [True, False])
def test_an_image_says_who_it_is(explicit_vr):
    image = mr_image(
        "1.2.3.4",
        PatientID="  4711 ",
        IssuerOfPatientID="HOSPITAL",
        SpecificCharacterSet="ISO_IR 100",
        NumberOfFrames="12",
    )

    found = scan(encoded(image, explicit_vr), explicit_vr)

    assert (found.sop_class_uid, found.sop_instance_uid) == (MR, "1.2.3.4")
    assert (found.study_uid, found.series_uid) == ("1.2.826.1", "1.2.826.1.1")
    assert (found.patient_id, found.issuer_of_patient_id) == ("4711", "HOSPITAL")
    assert found.specific_character_set == "ISO_IR 100"
    assert (found.rows, found.columns, found.bits_allocated) == (8, 8, 16)
    assert found.number_of_frames == 12


def test_what_is_absent_is_empty_or_none():
    image = mr_image()
    for keyword in ("PatientID", "Rows", "Columns", "BitsAllocated"):
        delattr(image, keyword)

    found = scan(encoded(image), explicit_vr=True)

    assert (found.patient_id, found.issuer_of_patient_id) == ("", "")
    assert (found.rows, found.columns, found.bits_allocated) == (None, None, None)
    assert found.number_of_frames is None


def test_patient_ids_in_latin_1_are_distinguished():
    raw = encoded(mr_image(PatientID="M-ller-1")).replace(b"M-ller-1", b"M\xfcller-1")

    assert scan(raw, explicit_vr=True).patient_id == "Müller-1"


@pytest.mark.parametrize("explicit_vr", [True, False])
def test_sequences_of_any_kind_are_walked_over(explicit_vr):
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "9.9.9"
    outer = Dataset()
    outer.ReferencedSOPSequence = Sequence([inner, inner])
    image = mr_image("1.2.3", ReferencedSeriesSequence=Sequence([outer]))
    for is_undefined in (False, True):
        image["ReferencedSeriesSequence"].is_undefined_length = is_undefined
        outer.is_undefined_length_sequence_item = is_undefined

        assert scan(encoded(image, explicit_vr), explicit_vr).sop_instance_uid == "1.2.3"


def test_compressed_pixels_are_walked_over():
    image = mr_image("1.2.3", pixels=encapsulate([b"ab" * 40, b"cd" * 3]))
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    raw = encoded(image)

    assert scan(raw, explicit_vr=True).sop_instance_uid == "1.2.3"
    for cut in (1, 8, 9, 20):
        with pytest.raises(DatasetUnreadable):
            scan(raw[:-cut], explicit_vr=True)


@pytest.mark.parametrize("explicit_vr", [True, False])
def test_an_image_cut_anywhere_is_noticed(explicit_vr):
    image = mr_image(ReferencedSeriesSequence=Sequence([Dataset()]))
    raw = encoded(image, explicit_vr)

    for length in range(len(raw)):
        with pytest.raises(DatasetUnreadable):
            scan(raw[:length], explicit_vr)


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
@pytest.mark.parametrize(
    "value", ["", "../../etc/passwd", "/abs", "1.2.x", "1" * 65, "1.2\x003", None]
)
def test_a_uid_that_is_none_is_refused(keyword, value):
    raw = encoded(mr_image("1.2.3.4"))
    old = explicit_uid(keyword, getattr(mr_image("1.2.3.4"), keyword))
    assert raw.count(old) == 1
    raw = raw.replace(old, b"" if value is None else explicit_uid(keyword, value))

    with pytest.raises(DatasetUnreadable, match=r"is missing or not a valid UID"):
        scan(raw, explicit_vr=True)


def explicit_uid(keyword: str, value: str) -> bytes:
    element = Dataset()
    setattr(element, keyword, "1")
    (tag,) = element.keys()
    raw = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", tag.group, tag.element, b"UI", len(raw)) + raw


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [17, 100, 1000, 20_000])
def test_sequences_that_are_nested_too_deeply_are_refused(depth, undefined):
    if depth > 1000 and not undefined:
        depth = 2000
    started = process_time()

    with pytest.raises(DatasetUnreadable, match="nested more than 16 deep"):
        scan(nested(depth, undefined) + encoded(mr_image()), explicit_vr=True)

    assert process_time() - started < 1


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_that_are_nested_as_deeply_as_allowed_are_taken(undefined):
    raw = nested(16, undefined) + encoded(mr_image("1.2.3"))

    assert scan(raw, explicit_vr=True, max_nesting=16).sop_instance_uid == "1.2.3"


def test_depth_is_bounded_within_what_is_declared_unknown():
    content = b""
    for _ in range(40):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
        content = struct.pack("<HHI", 0x0008, 0x1115, len(item)) + item
    raw = explicit(0x0008_1115, b"UN", content[8:]) + encoded(mr_image())

    with pytest.raises(DatasetUnreadable, match="deep"):
        scan(raw, explicit_vr=True)


def test_unreadable_elements_of_known_length_are_left_to_analysis():
    odd = explicit(0x0009_1010, b"SQ", b"not a sequence at all")

    assert scan(odd + encoded(mr_image("1.2.3")), explicit_vr=True).sop_instance_uid == "1.2.3"


def test_fragments_cannot_run_out_of_the_sequence_they_are_in():
    fragments = struct.pack("<HHI", 0xFFFE, 0xE000, 1000) + bytes(8)
    icon = explicit(0x7FE0_0010, b"OB", fragments, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(icon)) + icon
    raw = explicit(0x0088_0200, b"SQ", item) + encoded(mr_image("1.2.3", bytes(5000)))

    assert scan(raw, explicit_vr=True).sop_instance_uid == "1.2.3"


def test_file_meta_within_a_dataset_is_refused():
    sneaked_in = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", 22) + b"1.2.840.10008.1.2.1.99"

    with pytest.raises(DatasetUnreadable, match="not allowed in a dataset"):
        scan(sneaked_in + encoded(mr_image()), explicit_vr=True)


def test_an_object_with_two_patients_is_refused():
    twice = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 4) + b"4712"

    with pytest.raises(DatasetUnreadable, match="PATIENT_ID is duplicated"):
        scan(encoded(mr_image()) + twice, explicit_vr=True)


def test_an_image_without_pixels_is_refused_and_a_report_is_not():
    image = mr_image()
    del image.PixelData
    with pytest.raises(DatasetUnreadable, match="no pixel data"):
        scan(encoded(image), explicit_vr=True)

    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    assert scan(encoded(image), explicit_vr=True).study_uid == "1.2.826.1"


def test_the_wrong_encoding_is_noticed():
    with pytest.raises(DatasetUnreadable):
        scan(encoded(mr_image(), explicit_vr=False), explicit_vr=True)
    with pytest.raises(DatasetUnreadable):
        scan(encoded(mr_image(), explicit_vr=True), explicit_vr=False)


def test_errors_never_identify_the_patient():
    raw = encoded(mr_image())
    for length in range(0, len(raw), 3):
        with pytest.raises(DatasetUnreadable) as refused:
            scan(raw[:length], explicit_vr=True)
        assert "Canary" not in str(refused.value)
        assert "CANARY" not in str(refused.value)


def test_endless_empty_elements_are_bounded_work():
    raw = struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0) * 2_100_000
    started = process_time()

    with pytest.raises(DatasetUnreadable, match="more than 2000000 elements"):
        scan(raw, explicit_vr=True)

    assert process_time() - started < 10


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_an_object_or_unreadable(raw, explicit_vr):
    try:
        found = scan(raw, explicit_vr)
    except DatasetUnreadable:
        return
    assert is_uid(found.sop_instance_uid)


@settings(max_examples=300)
@given(st.data(), st.booleans())
def test_a_damaged_object_is_an_object_or_unreadable(data, explicit_vr):
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "9.9.9"
    image = mr_image("1.2.3", ReferencedSeriesSequence=Sequence([inner]))
    image["ReferencedSeriesSequence"].is_undefined_length = data.draw(st.booleans())
    raw = bytearray(encoded(image, explicit_vr))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = scan(raw, explicit_vr)
    except DatasetUnreadable:
        return
    assert is_uid(found.study_uid)
