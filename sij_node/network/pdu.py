"""The envelopes in which two DICOM systems exchange messages: association requests and answers.

Bytes in, values out; no socket is touched here. Whatever a peer sends is either understood
within fixed bounds or named `ProtocolViolated`.

Source: DICOM PS3.8 section 9.3, PS3.7 Annex D.3.3.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from sij_node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sij_node.errors import ProtocolViolated

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
HEADER = struct.Struct(">BxI")
"""PDU type and length of what follows, PS3.8 9.3.1."""

MAX_REQUEST_BYTES = 1 << 18
"""The largest association request that is read. 128 contexts of 40 syntaxes fit."""
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
    IMPLEMENTATION_VERSION = 0x55


class ContextResult(IntEnum):
    """Result of one presentation context, PS3.8 Table 9-18."""

    ACCEPTED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True)
class ProposedContext:
    """One SOP class and the transfer syntaxes in which the peer can send it."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AnsweredContext:
    """What the node says to one proposed context."""

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
        Called title, calling title and reserved bytes as received; the answer repeats them.
    max_pdu_bytes
        The longest P-DATA the peer takes; 0 means any length.
    """

    protocol_version: int
    called_ae: str
    calling_ae: str
    addressing: bytes
    application_context: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ, PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int
    words: str

    def __str__(self) -> str:
        return f"{self.result},{self.source},{self.reason}"


CONTEXT_NAME_UNKNOWN = Rejection(1, 1, 2, "application context is not DICOM's")
VERSION_UNKNOWN = Rejection(1, 2, 2, "protocol version is not 1")
CALLED_TITLE_UNKNOWN = Rejection(1, 1, 7, "called AE title is not this node's")
CALLING_TITLE_UNKNOWN = Rejection(1, 1, 3, "calling AE title is not a configured peer")
ADDRESS_NOT_ALLOWED = Rejection(1, 1, 1, "peer called from an address that is not its own")
TOO_MANY_ASSOCIATIONS = Rejection(2, 3, 2, "as many associations as allowed are open")
NO_ROOM = Rejection(2, 3, 2, "too little free disk space")
STOPPING = Rejection(2, 3, 2, "the node is stopping")


@dataclass(frozen=True)
class Fragment:
    """A presentation data value: a piece of a command or of a dataset, PS3.8 9.3.5.1, E.2."""

    context_id: int
    is_command: bool
    is_last: bool
    content: memoryview


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ without its PDU header.

    User identity, asynchronous operations, role selection and extended negotiation are passed
    over: nothing is negotiated about them, which leaves their defaults (PS3.7 D.3.3).

    Raises
    ------
    ProtocolViolated
        When it does not follow PS3.8 9.3.2 or exceeds the bounds of this module.
    """
    if len(body) < _FIXED_FIELDS.size:
        raise _invalid("association request is shorter than its fixed fields")
    version, _, called, calling, _ = _FIXED_FIELDS.unpack_from(body)
    application_context, contexts, max_pdu_bytes = "", list[ProposedContext](), 0
    for kind, content in _items(memoryview(body)[_FIXED_FIELDS.size :]):
        if kind == _Item.APPLICATION_CONTEXT:
            application_context = _uid(content)
        elif kind == _Item.PROPOSED_CONTEXT:
            contexts.append(_proposed_context(content))
        elif kind == _Item.USER_INFORMATION:
            max_pdu_bytes = _maximum_length(content)
        if len(contexts) > MAX_CONTEXTS:
            raise _invalid(f"more than {MAX_CONTEXTS} presentation contexts")
    if len({context.context_id for context in contexts}) < len(contexts):
        raise _invalid("a presentation context ID is used twice")
    return AssociateRequest(
        protocol_version=version,
        called_ae=_title(called),
        calling_ae=_title(calling),
        addressing=body[4 : _FIXED_FIELDS.size],
        application_context=application_context,
        contexts=tuple(contexts),
        max_pdu_bytes=max_pdu_bytes,
    )


def encode_associate_accept(
    request: AssociateRequest, answers: tuple[AnsweredContext, ...], max_pdu_bytes: int
) -> bytes:
    """An A-ASSOCIATE-AC, PS3.8 9.3.3, that answers each proposed context."""
    user_information = (
        _item(_Item.MAXIMUM_LENGTH, struct.pack(">I", max_pdu_bytes))
        + _item(_Item.IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode())
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
    """A P-DATA-TF that holds one whole command in one presentation data value."""
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
        When their lengths do not add up to the length of the PDU.
    """
    position, end = 0, len(body)
    while position < end:
        if end - position < 6:
            raise _invalid("a presentation data value has no room for its header")
        length, context_id, control = _PDV.unpack_from(body, position)
        start, position = position + 6, position + 4 + length
        if length < 2 or position > end:
            raise _invalid("a presentation data value does not fit its PDU")
        yield Fragment(context_id, bool(control & 1), bool(control & 2), body[start:position])


def _invalid(message: str) -> ProtocolViolated:
    return ProtocolViolated(message, AbortReason.INVALID_PARAMETER)


def _items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    position, end = 0, len(content)
    while position < end:
        if end - position < 4:
            raise _invalid("an item of the association request has no room for its header")
        kind, length = _ITEM.unpack_from(content, position)
        start, position = position + 4, position + 4 + length
        if position > end:
            raise _invalid("an item of the association request does not fit")
        yield kind, content[start:position]


def _proposed_context(content: memoryview) -> ProposedContext:
    if len(content) < 4 or content[0] % 2 == 0:
        raise _invalid("a presentation context needs an odd ID and three reserved bytes")
    abstract_syntax, transfer_syntaxes = "", list[str]()
    for kind, name in _items(content[4:]):
        if kind == _Item.ABSTRACT_SYNTAX:
            abstract_syntax = _uid(name)
        elif kind == _Item.TRANSFER_SYNTAX:
            transfer_syntaxes.append(_uid(name))
        if len(transfer_syntaxes) > MAX_TRANSFER_SYNTAXES:
            raise _invalid(f"a context proposes more than {MAX_TRANSFER_SYNTAXES} syntaxes")
    return ProposedContext(content[0], abstract_syntax, tuple(transfer_syntaxes))


def _answered_context(answer: AnsweredContext) -> bytes:
    fields = bytes((answer.context_id, 0, answer.result, 0))
    transfer_syntax = _item(_Item.TRANSFER_SYNTAX, answer.transfer_syntax.encode())
    return _item(_Item.ANSWERED_CONTEXT, fields + transfer_syntax)


def _maximum_length(user_information: memoryview) -> int:
    for kind, content in _items(user_information):
        if kind == _Item.MAXIMUM_LENGTH:
            if len(content) != 4:
                raise _invalid("the maximum length item must have 4 bytes")
            return int.from_bytes(content, "big")
    return 0


def _item(kind: _Item, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _uid(content: memoryview) -> str:
    if len(content) > 65:
        raise _invalid("a UID of the association request is longer than 64 characters")
    try:
        return bytes(content).decode("ascii").rstrip("\0 ")
    except UnicodeDecodeError as error:
        raise _invalid("a UID of the association request is not ASCII") from error


def _title(field: bytes) -> str:
    text = field.decode("latin-1").strip(" \0")
    return "".join(character if " " <= character <= "~" else "?" for character in text)
