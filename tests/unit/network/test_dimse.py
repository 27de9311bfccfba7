"""DIMSE commands are parsed, answered, or reported as protocol violations."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from sij_node.domain.storage_commitment import PUSH_MODEL
from sij_node.errors import ProtocolViolated
from sij_node.network.dimse import (
    EchoRequest,
    NormalizedRequest,
    NormalizedStatus,
    Status,
    StoreRequest,
    decode_request,
    encode_echo_response,
    encode_normalized_response,
    encode_store_response,
)
from tests.support.raw_peer import (
    MR,
    VERIFICATION,
    command,
    command_elements,
    echo_command,
    element,
    store_command,
    us,
    with_group_length,
)


def test_a_store_and_an_echo_are_understood():
    assert decode_request(store_command("1.2.3")) == StoreRequest(7, MR, "1.2.3", has_dataset=True)
    assert decode_request(echo_command()) == EchoRequest(7, VERIFICATION)


def test_the_answer_to_a_store_is_read_by_pydicom():
    response = encode_store_response(
        StoreRequest(7, MR, "1.2.3", has_dataset=True), Status.OUT_OF_RESOURCES, "disk full"
    )

    answered = decode(BytesIO(response), True, True)

    assert answered.CommandGroupLength == len(response) - 12
    assert (answered.CommandField, answered.MessageIDBeingRespondedTo) == (0x8001, 7)
    assert (answered.AffectedSOPClassUID, answered.AffectedSOPInstanceUID) == (MR, "1.2.3")
    assert (answered.Status, answered.ErrorComment) == (0xA700, "disk full")
    assert answered.CommandDataSetType == 0x0101


def test_the_answer_to_an_echo_is_success():
    answered = decode(BytesIO(encode_echo_response(EchoRequest(9, VERIFICATION))), True, True)

    assert (answered.CommandField, answered.MessageIDBeingRespondedTo) == (0x8030, 9)
    assert answered.Status == 0


def test_an_error_comment_has_at_most_64_characters():
    response = encode_store_response(
        StoreRequest(7, MR, "1.2", has_dataset=True), Status.CANNOT_UNDERSTAND, "x" * 100
    )

    assert command_elements(response)[0x0902] == b"x" * 64


@pytest.mark.parametrize("foreign", ["1" * 65, "", "1.2\x003", "\u00e9", "1\n2"])
def test_foreign_text_is_not_repeated_in_an_answer(foreign):
    request = StoreRequest(7, MR, foreign, has_dataset=True)

    assert 0x1000 not in command_elements(encode_store_response(request, Status.SUCCESS))


@pytest.mark.parametrize("field", [0x0020, 0x0021, 0x0010, 0x0110, 0x0120, 0x0140, 0x8001])
def test_requests_that_were_never_offered_are_violations(field):
    with pytest.raises(ProtocolViolated, match=f"0x{field:04x}"):
        decode_request(command(field))


@pytest.mark.parametrize(
    ("field", "uids", "type_element"),
    [(0x0100, (0x0002, 0x1000), 0x1002), (0x0130, (0x0003, 0x1001), 0x1008)],
    ids=["N-EVENT-REPORT", "N-ACTION"],
)
def test_storage_commitment_is_understood_and_answered(field, uids, type_element):
    sop_class, instance = uids
    raw = with_group_length(
        element(sop_class, PUSH_MODEL.encode())
        + us(0x0100, field)
        + us(0x0110, 7)
        + us(0x0800, 1)
        + element(instance, (PUSH_MODEL + ".1").encode() + b"")
        + us(type_element, 1)
    )

    request = decode_request(raw)
    response = command_elements(
        encode_normalized_response(request, NormalizedStatus.INVALID_ARGUMENT_VALUE)
    )

    is_report = field == 0x0100
    assert request == NormalizedRequest(7, PUSH_MODEL, PUSH_MODEL + ".1", True, is_report, 1)
    assert int.from_bytes(response[0x0100], "little") == field | 0x8000
    assert int.from_bytes(response[0x0900], "little") == 0x0115
    assert int.from_bytes(response[type_element], "little") == 1
    with pytest.raises(ProtocolViolated):
        decode_request(command(field))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        store_command("1.2.3")[:-1],
        store_command("1.2.3") + us(0x0110, 1),
        with_group_length(element(0x0100, b"\1\0\0\0") + us(0x0110, 7) + us(0x0800, 1)),
        with_group_length(us(0x0100, 1)),
        b"\x08\0\x16\0\0\0\0\0",
    ],
    ids=["empty", "cut off", "doubled", "US of 4 bytes", "no message ID", "not a command"],
)
def test_a_malformed_command_is_a_violation(raw):
    with pytest.raises(ProtocolViolated):
        decode_request(raw)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_violation(raw):
    try:
        request = decode_request(raw)
    except ProtocolViolated:
        return
    assert isinstance(request, EchoRequest | StoreRequest)


@given(st.data())
def test_a_flipped_byte_is_a_request_or_a_violation(data):
    raw = bytearray(store_command("1.2.3"))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = decode_request(bytes(raw))
    except ProtocolViolated:
        return
    assert encode_store_response(
        request if isinstance(request, StoreRequest) else StoreRequest(1, "", "", False),
        Status.SUCCESS,
    )
