"""A DICOM peer that writes its own PDUs, and can therefore violate the protocol in any way."""

import socket
import struct
from io import BytesIO
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

VERIFICATION = "1.2.840.10008.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def context(context_id: int, abstract_syntax: str, *transfer_syntaxes: str) -> bytes:
    syntaxes = b"".join(item(0x40, syntax.encode()) for syntax in transfer_syntaxes)
    return item(
        0x20, bytes((context_id, 0, 0, 0)) + item(0x30, abstract_syntax.encode()) + syntaxes
    )


DEFAULT_CONTEXTS = context(1, MR, EXPLICIT) + context(3, VERIFICATION, IMPLICIT)


def associate_request(
    called: bytes = b"SIJ",
    calling: bytes = b"MODALITY",
    contexts: bytes = DEFAULT_CONTEXTS,
    user_items: bytes = b"",
    version: int = 1,
    application_context: str = "1.2.840.10008.3.1.1.1",
) -> bytes:
    """The body of an A-ASSOCIATE-RQ, without its PDU header."""
    return (
        struct.pack(">HH16s16s32x", version, 0, called.ljust(16), calling.ljust(16))
        + item(0x10, application_context.encode())
        + contexts
        + item(0x50, item(0x51, struct.pack(">I", 16384)) + user_items)
    )


def element(number: int, value: bytes) -> bytes:
    """A command element (0000,number)."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


def with_group_length(elements: bytes) -> bytes:
    return element(0, struct.pack("<I", len(elements))) + elements


def uid_bytes(uid: str | bytes) -> bytes:
    raw = uid if isinstance(uid, bytes) else uid.encode()
    return raw + b"\0" * (len(raw) % 2)


def command(
    field: int, sop_class: str = MR, dataset_type: int = 0x0101, extra: bytes = b""
) -> bytes:
    return with_group_length(
        element(0x0002, uid_bytes(sop_class))
        + us(0x0100, field)
        + us(0x0110, 7)
        + us(0x0800, dataset_type)
        + extra
    )


def store_command(
    sop_instance: str | bytes, sop_class: str = MR, dataset_type: int = 0x0001
) -> bytes:
    return command(
        0x0001, sop_class, dataset_type, us(0x0700, 0) + element(0x1000, uid_bytes(sop_instance))
    )


def echo_command() -> bytes:
    return command(0x0030, VERIFICATION)


def fragment(context_id: int, control: int, content: bytes) -> bytes:
    """A presentation data value. Control: 1 command, 2 last."""
    return struct.pack(">IBB", len(content) + 2, context_id, control) + content


def encoded(dataset: Dataset, explicit_vr: bool = True) -> bytes:
    """A dataset as encoded on the network, without file meta."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = not explicit_vr
    write_dataset(buffer, dataset)
    return buffer.getvalue()


ANSWER_S = 60.0
"""Timeout for a response, far above what a busy machine needs."""


class RawPeer:
    """A TCP connection to a node, with PDUs on it."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=ANSWER_S, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, kind: int, body: bytes) -> None:
        self.socket.sendall(pdu(kind, body))

    def associate(self, request: bytes = b"") -> tuple[int, bytes]:
        """Request an association; returns the type and body of the response PDU."""
        self.send(ASSOCIATE_RQ, request or associate_request())
        return self.read()

    def read(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") when the connection is closed."""
        header = self._read_exactly(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", header)
        return kind, self._read_exactly(length)

    def store(self, sop_instance: str | bytes, dataset: bytes, context_id: int = 1) -> int:
        """Store an instance; returns the status."""
        self.begin_store(sop_instance, context_id=context_id)
        self.send_dataset(dataset, context_id)
        return self.read_status()

    def begin_store(
        self, sop_instance: str | bytes, sop_class: str = MR, context_id: int = 1
    ) -> None:
        self.send(P_DATA, fragment(context_id, 3, store_command(sop_instance, sop_class)))

    def send_dataset(self, dataset: bytes, context_id: int = 1, piece: int = 16000) -> None:
        for start in range(0, len(dataset), piece) or [0]:
            last = 2 if start + piece >= len(dataset) else 0
            self.send(P_DATA, fragment(context_id, last, dataset[start : start + piece]))

    def echo(self, context_id: int = 3) -> int:
        self.send(P_DATA, fragment(context_id, 3, echo_command()))
        return self.read_status()

    def read_response(self) -> dict[int, bytes]:
        """Elements of the next response."""
        kind, body = self.read()
        assert kind == P_DATA, f"a PDU of type {kind} came: {body!r}"
        return command_elements(body[6:])

    def read_status(self) -> int:
        return int.from_bytes(self.read_response()[0x0900], "little")

    def release(self) -> int:
        """Release the association; returns the type of the response PDU."""
        self.send(RELEASE_RQ, bytes(4))
        return self.read()[0]

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the node closes the connection, possibly after further PDUs."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def _read_exactly(self, size: int) -> bytes:
        buffer = BytesIO()
        while buffer.tell() < size:
            try:
                piece = self.socket.recv(size - buffer.tell())
            except ConnectionError:
                break
            if not piece:
                break
            buffer.write(piece)
        return buffer.getvalue()


def command_elements(raw: bytes) -> dict[int, bytes]:
    found = {}
    while raw:
        _, number, length = struct.unpack_from("<HHI", raw)
        found[number] = raw[8 : 8 + length]
        raw = raw[8 + length :]
    return found
