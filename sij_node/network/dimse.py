"""Command sets of C-ECHO, C-STORE, N-ACTION, N-EVENT-REPORT: requests decoded, responses encoded.

Command sets are always implicit VR little endian, without sequences.

Source: DICOM PS3.7 sections 6.3, 9.3.1 (C-STORE), 9.3.5 (C-ECHO), 10.3.1 (N-EVENT-REPORT),
10.3.4 (N-ACTION) and Annex E.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from sij_node.errors import ProtocolViolated

MAX_COMMAND_BYTES = 4096
"""A C-STORE-RQ has about 300 bytes."""

_NO_DATASET = 0x0101
_RESPONSE = 0x8000
_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<HHIH")
_GROUP_LENGTH = struct.Struct("<HHII")


class Status(IntEnum):
    """Status codes of a C-STORE-RSP, PS3.4 Table B.2-1 and PS3.7 Annex C."""

    SUCCESS = 0x0000
    CLASS_NOT_SUPPORTED = 0x0122
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    CONFLICTING_COPY = 0xC001
    NODE_FAULT = 0xC211


class NormalizedStatus(IntEnum):
    """Status codes of an N-ACTION-RSP or N-EVENT-REPORT-RSP, PS3.7 Annex C."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    NO_SUCH_ACTION = 0x0123
    RESOURCE_LIMITATION = 0x0213


class _Element(IntEnum):
    """Command elements (0000,eeee), PS3.7 Table E.1-1."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    DATASET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008


class _CommandField(IntEnum):
    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130


@dataclass(frozen=True)
class EchoRequest:
    """A C-ECHO-RQ, PS3.7 9.3.5.1."""

    message_id: int
    sop_class_uid: str


@dataclass(frozen=True)
class StoreRequest:
    """A C-STORE-RQ, PS3.7 9.3.1.1.

    The UIDs are as sent, without padding, and not validated.
    """

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool


@dataclass(frozen=True)
class NormalizedRequest:
    """An N-ACTION-RQ or N-EVENT-REPORT-RQ, PS3.7 10.3.

    Parameters
    ----------
    is_report
        True for N-EVENT-REPORT.
    type_id
        Action or event type.
    """

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool
    is_report: bool
    type_id: int


def decode_request(command: bytes) -> EchoRequest | StoreRequest | NormalizedRequest:
    """Decode a command set.

    Raises
    ------
    ProtocolViolated
        If it is malformed or a request this node does not support.
    """
    elements = _elements(command)
    field = _number(elements, _Element.COMMAND_FIELD)
    message_id = _number(elements, _Element.MESSAGE_ID)
    has_dataset = _number(elements, _Element.DATASET_TYPE) != _NO_DATASET
    sop_class_uid = _text(elements, _Element.AFFECTED_SOP_CLASS_UID)
    if field == _CommandField.C_STORE_RQ:
        sop_instance_uid = _text(elements, _Element.AFFECTED_SOP_INSTANCE_UID)
        return StoreRequest(message_id, sop_class_uid, sop_instance_uid, has_dataset)
    if field == _CommandField.C_ECHO_RQ and not has_dataset:
        return EchoRequest(message_id, sop_class_uid)
    if field in _TYPE_IDS:
        return _normalized(elements, _CommandField(field), message_id, has_dataset)
    raise ProtocolViolated(f"command 0x{field:04x} not supported")


_TYPE_IDS = {
    _CommandField.N_EVENT_REPORT_RQ: _Element.EVENT_TYPE_ID,
    _CommandField.N_ACTION_RQ: _Element.ACTION_TYPE_ID,
}


def _normalized(
    elements: dict[int, bytes], field: _CommandField, message_id: int, has_dataset: bool
) -> NormalizedRequest:
    is_report = field is _CommandField.N_EVENT_REPORT_RQ
    uids = (
        (_Element.AFFECTED_SOP_CLASS_UID, _Element.AFFECTED_SOP_INSTANCE_UID)
        if is_report
        else (_Element.REQUESTED_SOP_CLASS_UID, _Element.REQUESTED_SOP_INSTANCE_UID)
    )
    sop_class_uid, sop_instance_uid = (_text(elements, uid) for uid in uids)
    type_id = _number(elements, _TYPE_IDS[field])
    return NormalizedRequest(
        message_id, sop_class_uid, sop_instance_uid, has_dataset, is_report, type_id
    )


def encode_normalized_response(request: NormalizedRequest, status: NormalizedStatus) -> bytes:
    """An N-ACTION-RSP or N-EVENT-REPORT-RSP without dataset, PS3.7 10.3."""
    field = _CommandField.N_EVENT_REPORT_RQ if request.is_report else _CommandField.N_ACTION_RQ
    return _with_group_length(
        _uid_element(_Element.AFFECTED_SOP_CLASS_UID, request.sop_class_uid)
        + _response_fields(field, request.message_id, status)
        + _uid_element(_Element.AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid)
        + _US.pack(0, _TYPE_IDS[field], 2, request.type_id)
    )


def encode_echo_response(request: EchoRequest) -> bytes:
    """A C-ECHO-RSP with status success, PS3.7 9.3.5.2."""
    return _with_group_length(
        _uid_element(_Element.AFFECTED_SOP_CLASS_UID, request.sop_class_uid)
        + _response_fields(_CommandField.C_ECHO_RQ, request.message_id, Status.SUCCESS)
    )


def encode_store_response(request: StoreRequest, status: Status, comment: str = "") -> bytes:
    """A C-STORE-RSP, PS3.7 9.3.1.2.

    Parameters
    ----------
    comment
        For (0000,0902) Error Comment; the first 64 characters are sent.
    """
    body = _uid_element(_Element.AFFECTED_SOP_CLASS_UID, request.sop_class_uid)
    body += _response_fields(_CommandField.C_STORE_RQ, request.message_id, status)
    if comment:
        body += _element(_Element.ERROR_COMMENT, comment.encode("ascii", "replace")[:64], b" ")
    body += _uid_element(_Element.AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid)
    return _with_group_length(body)


def _elements(command: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position, end = 0, len(command)
    while position < end:
        if end - position < _ELEMENT.size:
            raise ProtocolViolated("truncated header of a command element")
        group, element, length = _ELEMENT.unpack_from(command, position)
        start, position = position + 8, position + 8 + length
        if group != 0 or position > end or element in found:
            raise ProtocolViolated("command element duplicated, not of group 0000, or truncated")
        found[element] = command[start:position]
    return found


def _number(elements: dict[int, bytes], element: _Element) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise ProtocolViolated(f"command element (0000,{element:04x}) must have a single US value")
    return int.from_bytes(value, "little")


def _text(elements: dict[int, bytes], element: _Element) -> str:
    value = elements.get(element, b"").decode("latin-1")
    return value.removesuffix("\0").rstrip(" ")


def _response_fields(
    field: _CommandField, message_id: int, status: Status | NormalizedStatus
) -> bytes:
    return (
        _US.pack(0, _Element.COMMAND_FIELD, 2, field | _RESPONSE)
        + _US.pack(0, _Element.MESSAGE_ID_RESPONDED_TO, 2, message_id)
        + _US.pack(0, _Element.DATASET_TYPE, 2, _NO_DATASET)
        + _US.pack(0, _Element.STATUS, 2, status)
    )


def _uid_element(element: _Element, uid: str) -> bytes:
    """Empty for what cannot be a UID: arbitrary text is not echoed."""
    if not uid or len(uid) > 64 or not uid.isascii() or not uid.isprintable():
        return b""
    return _element(element, uid.encode("ascii"), b"\0")


def _element(element: _Element, value: bytes, padding: bytes) -> bytes:
    if len(value) % 2:
        value += padding
    return _ELEMENT.pack(0, element, len(value)) + value


def _with_group_length(elements: bytes) -> bytes:
    return _GROUP_LENGTH.pack(0, 0, 4, len(elements)) + elements
