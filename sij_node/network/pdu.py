"""Encoding and decoding of PDUs of the DICOM upper layer protocol.

Pure functions on bytes. Whatever a peer sends is decoded within fixed limits or raises
`ProtocolViolated`.

Source: DICOM PS3.8 section 9.3, PS3.7 Annex D.3.3.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum

from sij_node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sij_node.domain.storage_commitment import PUSH_MODEL
from sij_node.errors import ProtocolViolated

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
HEADER = struct.Struct(">BxI")
"""PDU type and length of what follows, PS3.8 9.3.1."""

MAX_REQUEST_BYTES = 1 << 18
"""Maximum length of an A-ASSOCIATE-RQ. 128 contexts of 40 transfer syntaxes fit."""
MAX_CONTEXTS = 128
MAX_TRANSFER_SYNTAXES = 64
"""In one presentation context."""

_FIXED_FIELDS = struct.Struct(">HH16s16s32s")
_ITEM = struct.Struct(">BxH")
_PDV = struct.Struct(">IBB")


class PduType(IntEnum):
    """PS3.8 Table 9-11 and following."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortReason(IntEnum):
    """Reason/Diag. of an A-ABORT by the service provider, PS3.8 Table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class _Item(IntEnum):
    """Items and sub-items, PS3.8 9.3.2 and 9.3.3, PS3.7 D.3.3."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    ANSWERED_CONTEXT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS = 0x52
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION = 0x55


class ContextResult(IntEnum):
    """Result of one presentation context, PS3.8 Table 9-18."""

    ACCEPTED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True)
class ProposedContext:
    """A proposed presentation context: a SOP class and its transfer syntaxes."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AnsweredContext:
    """The result of one proposed presentation context."""

    context_id: int
    result: ContextResult
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ, PS3.8 9.3.2.

    Parameters
    ----------
    called_ae, calling_ae
        Without padding; characters that are not printable ASCII are replaced by ``?``.
    addressing
        Called and calling AE title and reserved bytes as received, to be echoed in the response.
    max_pdu_bytes
        Maximum length of a P-DATA-TF to the peer; 0 means no limit.
    roles
        Proposed SCU and SCP role by SOP class, two bytes each 0 or 1 (PS3.7 D.3.3.4).
    """

    protocol_version: int
    called_ae: str
    calling_ae: str
    addressing: bytes
    application_context: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int
    roles: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ, PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int
    text: str

    def __str__(self) -> str:
        return f"{self.result},{self.source},{self.reason}"


CONTEXT_NAME_UNKNOWN = Rejection(1, 1, 2, "application context name not supported")
VERSION_UNKNOWN = Rejection(1, 2, 2, "protocol version not supported")
CALLED_TITLE_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognized")
CALLING_TITLE_UNKNOWN = Rejection(1, 1, 3, "calling AE title is not a configured peer")
CERTIFICATE_NOT_OF_PEER = Rejection(1, 1, 3, "certificate contains none of the names of this peer")
ADDRESS_NOT_ALLOWED = Rejection(1, 1, 1, "address not allowed for this peer")
TOO_MANY_ASSOCIATIONS = Rejection(2, 3, 2, "maximum number of associations reached")
OUT_OF_SPACE = Rejection(2, 3, 2, "out of disk space")
STOPPING = Rejection(2, 3, 2, "the node is shutting down")


@dataclass(frozen=True)
class Fragment:
    """A presentation data value: a fragment of a command or dataset, PS3.8 9.3.5.1, E.2."""

    context_id: int
    is_command: bool
    is_last: bool
    content: memoryview


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Decode an A-ASSOCIATE-RQ without its PDU header.

    User identity, asynchronous operations and extended negotiation are ignored, which leaves
    their defaults in force (PS3.7 D.3.3).

    Raises
    ------
    ProtocolViolated
        If it violates PS3.8 9.3.2 or exceeds the limits of this module.
    """
    if len(body) < _FIXED_FIELDS.size:
        raise _invalid("A-ASSOCIATE-RQ shorter than its fixed fields")
    version, _, called, calling, _ = _FIXED_FIELDS.unpack_from(body)
    application_context, contexts = "", list[ProposedContext]()
    max_pdu_bytes, roles = 0, dict[str, bytes]()
    for kind, content in _items(memoryview(body)[_FIXED_FIELDS.size :]):
        if kind == _Item.APPLICATION_CONTEXT:
            application_context = _uid(content)
        elif kind == _Item.PROPOSED_CONTEXT:
            contexts.append(_proposed_context(content))
        elif kind == _Item.USER_INFORMATION:
            max_pdu_bytes, roles = _maximum_length(content), _roles(content)
        if len(contexts) > MAX_CONTEXTS:
            raise _invalid(f"more than {MAX_CONTEXTS} presentation contexts")
    if len({context.context_id for context in contexts}) < len(contexts):
        raise _invalid("duplicate presentation context ID")
    return AssociateRequest(
        protocol_version=version,
        called_ae=_title(called),
        calling_ae=_title(calling),
        addressing=body[4 : _FIXED_FIELDS.size],
        application_context=application_context,
        contexts=tuple(contexts),
        max_pdu_bytes=max_pdu_bytes,
        roles=roles,
    )


def encode_associate_accept(
    request: AssociateRequest, answers: tuple[AnsweredContext, ...], max_pdu_bytes: int
) -> bytes:
    """An A-ASSOCIATE-AC, PS3.8 9.3.3 with the result of each proposed context.

    Roles are accepted as proposed for storage commitment, whose reports come from the requestor;
    for other SOP classes the requestor is the SCU.
    """
    user_information = (
        _item(_Item.MAXIMUM_LENGTH, struct.pack(">I", max_pdu_bytes))
        + _item(_Item.IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode())
        + _role_answer(request, answers)
        + _item(_Item.IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME.encode())
    )
    body = (
        struct.pack(">HH", 1, 0)
        + request.addressing
        + _item(_Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode())
        + b"".join(_answered_context(answer) for answer in answers)
        + _item(_Item.USER_INFORMATION, user_information)
    )
    return HEADER.pack(PduType.ASSOCIATE_AC, len(body)) + body


def encode_associate_reject(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ, PS3.8 9.3.4."""
    fields = bytes((0, rejection.result, rejection.source, rejection.reason))
    return HEADER.pack(PduType.ASSOCIATE_RJ, 4) + fields


def encode_release_response() -> bytes:
    """An A-RELEASE-RP, PS3.8 9.3.7."""
    return HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)


def encode_abort(reason: int = AbortReason.NOT_SPECIFIED) -> bytes:
    """An A-ABORT by the service provider (source 2), PS3.8 9.3.8."""
    return HEADER.pack(PduType.ABORT, 4) + bytes((0, 0, 2, reason))


def encode_command(context_id: int, command: bytes) -> bytes:
    """A P-DATA-TF with a whole command in one presentation data value."""
    return (
        HEADER.pack(PduType.P_DATA, len(command) + 6)
        + _PDV.pack(len(command) + 2, context_id, 0b11)
        + command
    )


def fragments(body: memoryview) -> Iterator[Fragment]:
    """Presentation data values of a P-DATA-TF without its PDU header.

    Raises
    ------
    ProtocolViolated
        If their lengths do not add up to the length of the PDU.
    """
    position, end = 0, len(body)
    while position < end:
        if end - position < 6:
            raise _invalid("truncated header of a presentation data value")
        length, context_id, control = _PDV.unpack_from(body, position)
        start, position = position + 6, position + 4 + length
        if length < 2 or position > end:
            raise _invalid("presentation data value exceeds its PDU")
        yield Fragment(context_id, bool(control & 1), bool(control & 2), body[start:position])


def _invalid(message: str) -> ProtocolViolated:
    return ProtocolViolated(message, AbortReason.INVALID_PARAMETER)


def _items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    position, end = 0, len(content)
    while position < end:
        if end - position < 4:
            raise _invalid("truncated item header in A-ASSOCIATE-RQ")
        kind, length = _ITEM.unpack_from(content, position)
        start, position = position + 4, position + 4 + length
        if position > end:
            raise _invalid("item exceeds the A-ASSOCIATE-RQ")
        yield kind, content[start:position]


def _proposed_context(content: memoryview) -> ProposedContext:
    if len(content) < 4 or content[0] % 2 == 0:
        raise _invalid("presentation context without odd ID and three reserved bytes")
    abstract_syntax, transfer_syntaxes = "", list[str]()
    for kind, name in _items(content[4:]):
        if kind == _Item.ABSTRACT_SYNTAX:
            abstract_syntax = _uid(name)
        elif kind == _Item.TRANSFER_SYNTAX:
            transfer_syntaxes.append(_uid(name))
        if len(transfer_syntaxes) > MAX_TRANSFER_SYNTAXES:
            raise _invalid(f"more than {MAX_TRANSFER_SYNTAXES} transfer syntaxes in one context")
    return ProposedContext(content[0], abstract_syntax, tuple(transfer_syntaxes))


def _answered_context(answer: AnsweredContext) -> bytes:
    fields = bytes((answer.context_id, 0, answer.result, 0))
    transfer_syntax = _item(_Item.TRANSFER_SYNTAX, answer.transfer_syntax.encode())
    return _item(_Item.ANSWERED_CONTEXT, fields + transfer_syntax)


def _maximum_length(user_information: memoryview) -> int:
    for kind, content in _items(user_information):
        if kind == _Item.MAXIMUM_LENGTH:
            if len(content) != 4:
                raise _invalid("maximum length item without 4 bytes")
            return int.from_bytes(content, "big")
    return 0


def _roles(user_information: memoryview) -> dict[str, bytes]:
    """SCU and SCP role of each role selection up to the first malformed item, PS3.7 D.3.3.4."""
    roles = dict[str, bytes]()
    with suppress(ProtocolViolated):
        for kind, content in _items(user_information):
            if kind == _Item.ROLE_SELECTION and len(content) > 4:
                roles[_uid(content[2:-2])] = bytes(content[-2:])
    return roles


def _role_answer(request: AssociateRequest, answers: tuple[AnsweredContext, ...]) -> bytes:
    roles = request.roles.get(PUSH_MODEL)
    accepted = {one.abstract_syntax for one in answers if one.result is ContextResult.ACCEPTED}
    if roles is None or PUSH_MODEL not in accepted:
        return b""
    uid = PUSH_MODEL.encode()
    return _item(_Item.ROLE_SELECTION, struct.pack(">H", len(uid)) + uid + roles)


def _item(kind: _Item, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _uid(content: memoryview) -> str:
    if len(content) > 65:
        raise _invalid("UID longer than 64 characters in A-ASSOCIATE-RQ")
    try:
        return bytes(content).decode("ascii").rstrip("\0 ")
    except UnicodeDecodeError as error:
        raise _invalid("UID in A-ASSOCIATE-RQ is not ASCII") from error


def _title(field: bytes) -> str:
    text = field.decode("latin-1").strip(" \0")
    return "".join(character if " " <= character <= "~" else "?" for character in text)
