"""Association requests and fragments are parsed within limits, or reported as violations."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from sij_node.errors import ProtocolViolated
from sij_node.network.pdu import (
    CALLED_TITLE_UNKNOWN,
    PUSH_MODEL,
    AnsweredContext,
    ContextResult,
    _roles,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    fragments,
)
from tests.support.raw_peer import (
    EXPLICIT,
    IMPLICIT,
    MR,
    VERIFICATION,
    associate_request,
    context,
    fragment,
    item,
    pdu,
)


def test_a_request_is_read_as_pynetdicom_reads_it():
    body = associate_request(contexts=context(1, MR, EXPLICIT, IMPLICIT) + context(3, VERIFICATION))
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(pdu(1, body))

    ours = decode_associate_request(body)

    assert ours.calling_ae == theirs.calling_ae_title.strip()
    assert ours.called_ae == theirs.called_ae_title.strip()
    assert ours.application_context == theirs.application_context_name
    assert [c.context_id for c in ours.contexts] == [1, 3]
    assert ours.contexts[0].abstract_syntax == MR
    assert ours.contexts[0].transfer_syntaxes == (EXPLICIT, IMPLICIT)
    assert ours.max_pdu_bytes == 16384


def role_selection(uid: str, roles: bytes) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + roles)


@pytest.mark.parametrize("roles", [b"\0\1", b"\1\0"])
def test_roles_are_accepted_as_proposed_for_storage_commitment_alone(roles):
    user = item(0x51, struct.pack(">I", 16384))
    user += role_selection(PUSH_MODEL, roles) + role_selection(MR, b"\1\1")
    request = replace(
        decode_associate_request(associate_request()),
        roles=_roles(memoryview(user + b"\x54\0\xff\xff")),  # the last one is cut off
    )
    answers = (
        AnsweredContext(1, ContextResult.ACCEPTED, PUSH_MODEL, EXPLICIT),
        AnsweredContext(3, ContextResult.ACCEPTED, MR, EXPLICIT),
    )

    answer = A_ASSOCIATE_AC()
    answer.decode(encode_associate_accept(request, answers, 65536))

    assert set(request.roles) == {PUSH_MODEL, MR}
    (selected,) = answer.user_information.role_selection.values()
    assert selected.uid == PUSH_MODEL
    assert bytes((selected.scu_role, selected.scp_role)) == roles


def test_an_answer_is_read_by_pynetdicom():
    request = decode_associate_request(associate_request())
    answers = (
        AnsweredContext(1, ContextResult.ACCEPTED, MR, EXPLICIT),
        AnsweredContext(3, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, VERIFICATION, IMPLICIT),
    )

    answer = A_ASSOCIATE_AC()
    answer.decode(encode_associate_accept(request, answers, 65536))

    assert [c.result for c in answer.presentation_context] == [0, 4]
    assert answer.presentation_context[0].transfer_syntax == EXPLICIT
    assert answer.user_information.maximum_length == 65536
    assert (answer.reserved_aet.strip(), answer.reserved_aec.strip()) == ("SIJ", "MODALITY")


def test_what_is_not_negotiated_is_passed_over():
    user_items = b"".join(
        (
            item(0x52, b"1.2.3"),
            item(0x53, struct.pack(">HH", 5, 5)),
            item(0x54, struct.pack(">H", len(MR)) + MR.encode() + b"\1\0"),
            item(0x55, b"PEER"),
            item(0x56, struct.pack(">H", len(MR)) + MR.encode() + b"\2\0\0\0\0\0"),
            item(0x58, b"\1\1" + struct.pack(">H", 4) + b"user" + struct.pack(">H", 0)),
            item(0xEE, b"something of the future"),
        )
    )

    request = decode_associate_request(associate_request(user_items=user_items))

    assert request.max_pdu_bytes == 16384


def test_titles_lose_their_padding_and_what_could_forge_a_log_line():
    request = decode_associate_request(associate_request(calling=b"EVIL\nTITLE\x1b[0m"))

    assert request.calling_ae == "EVIL?TITLE?[0m"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        associate_request()[:-1],
        associate_request(contexts=context(1, MR, EXPLICIT) + context(1, MR, IMPLICIT)),
        associate_request(contexts=context(2, MR, EXPLICIT)),
        associate_request(contexts=b"".join(context(1 + 2 * (n % 128), MR) for n in range(5000))),
        associate_request(contexts=context(1, MR, *[EXPLICIT] * 65)),
        associate_request(contexts=context(1, "1" * 66, EXPLICIT)),
        associate_request(contexts=item(0x20, b"\1")),
        associate_request(application_context="\xe9"),
        associate_request()[:-12] + item(0x50, item(0x51, b"\0")),
    ],
    ids=[
        "empty",
        "cut off",
        "context twice",
        "even context",
        "5000 contexts",
        "65 syntaxes",
        "long UID",
        "short context",
        "UID not ASCII",
        "cut off length",
    ],
)
def test_a_request_that_breaks_the_rules_is_a_violation(body):
    with pytest.raises(ProtocolViolated):
        decode_associate_request(body)


@given(st.binary(max_size=600))
def test_any_bytes_are_a_request_or_a_violation(body):
    try:
        request = decode_associate_request(body)
    except ProtocolViolated:
        return
    assert request.calling_ae.isascii()


@given(st.data())
def test_a_request_with_a_flipped_byte_is_a_request_or_a_violation(data):
    body = bytearray(associate_request())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    try:
        request = decode_associate_request(bytes(body))
    except ProtocolViolated:
        return
    assert len(request.contexts) <= 128


def test_fragments_of_one_pdu_come_in_their_order():
    body = memoryview(fragment(1, 1, b"ab") + fragment(1, 3, b"cd") + fragment(1, 0, b""))

    found = list(fragments(body))

    assert [bytes(f.content) for f in found] == [b"ab", b"cd", b""]
    assert [f.is_command for f in found] == [True, True, False]
    assert [f.is_last for f in found] == [False, True, False]


@pytest.mark.parametrize(
    "body",
    [fragment(1, 3, b"abcd")[:-1], b"\0\0", struct.pack(">IBB", 1, 1, 3), b"\xff" * 6],
)
def test_fragments_that_do_not_fit_are_a_violation(body):
    with pytest.raises(ProtocolViolated):
        list(fragments(memoryview(body)))


@given(st.binary(max_size=300))
def test_any_bytes_are_fragments_or_a_violation(body):
    try:
        found = list(fragments(memoryview(body)))
    except ProtocolViolated:
        return
    assert sum(len(f.content) + 6 for f in found) == len(body)


def test_a_rejection_and_an_abort_say_who_and_why():
    assert encode_associate_reject(CALLED_TITLE_UNKNOWN) == pdu(3, bytes((0, 1, 1, 7)))
    assert encode_abort(6) == pdu(7, bytes((0, 0, 2, 6)))
