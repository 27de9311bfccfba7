"""HL7 v2 messages over MLLP, with or without TLS, and their acknowledgements.

Source: HL7 v2.5.1 2.9 (message processing), table 0008 (acknowledgement codes); HL7 Transport
Specification: MLLP, Release 1.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from sij_node.config.settings import DeliveryConfig, DestinationConfig
from sij_node.errors import DestinationUnavailable
from sij_node.network.http_client import named_destination, tls_context
from sij_node.network.store_scu import SendResult

MAX_ACKNOWLEDGEMENT_BYTES = 1 << 16
_START, _END = b"\x0b", b"\x1c\r"
_ACCEPTED, _CONTENT_ERROR = ("AA", "CA"), ("AE", "CE")
_PROCESSING_FAILURE = 0x0110
_ADVICE = "the receiver does not accept the content of the message; see its log"


@dataclass(frozen=True)
class MllpClient:
    """Sends to a [[destination]] of kind hl7."""

    limits: DeliveryConfig

    def send(
        self, to: DestinationConfig, message: str, control_id: str, sop_instance_uid: str
    ) -> SendResult:
        """Send the message of one report and wait for its acknowledgement.

        A rejection (AR) is retried, an error in the content (AE) is not.

        Raises
        ------
        DestinationUnavailable
            If the receiver does not respond, or not to this message.
        """
        with self._connected(to) as connection:
            try:
                connection.sendall(_START + message.encode() + _END)
                answer = _received(connection, monotonic() + self.limits.response_timeout_s)
            except OSError as error:
                raise _unavailable(to, "does not acknowledge", error) from error
        code, acknowledged = _acknowledgement(answer)
        if acknowledged != control_id:
            raise DestinationUnavailable(
                f"{named_destination(to)} answered with something else than an acknowledgement of "
                "the message; see its log."
            )
        note = f"HL7 {code}"
        if code in _ACCEPTED:
            return SendResult(sop_instance_uid, 0x0000, note)
        if code in _CONTENT_ERROR:
            return SendResult(sop_instance_uid, None, note, f"{note}, {_ADVICE}")
        return SendResult(sop_instance_uid, _PROCESSING_FAILURE, note)

    def check(self, to: DestinationConfig) -> None:
        """Connect, and with TLS complete the handshake; nothing is sent.

        Raises
        ------
        DestinationUnavailable
            If the receiver cannot be reached.
        """
        with self._connected(to):
            pass

    @contextmanager
    def _connected(self, to: DestinationConfig) -> Iterator[socket.socket]:
        try:
            connection: socket.socket = socket.create_connection(
                (to.host, to.port), self.limits.connect_timeout_s
            )
        except (OSError, UnicodeError) as error:
            raise _unavailable(to, "cannot be reached", error) from error
        try:
            if to.url.startswith("mllps:"):
                connection = _secured(connection, to)
            connection.settimeout(self.limits.response_timeout_s)
            yield connection
        finally:
            connection.close()


def _secured(connection: socket.socket, to: DestinationConfig) -> ssl.SSLSocket:
    try:
        return tls_context(to).wrap_socket(connection, server_hostname=to.host)
    except OSError as error:
        connection.close()
        raise _unavailable(to, "cannot be reached", error) from error


def _received(connection: socket.socket, deadline: float) -> bytes:
    """The content of one block; raises `OSError` if it does not come in time or is too long."""
    answer = bytearray()
    while not answer.endswith(_END):
        connection.settimeout(max(0.001, deadline - monotonic()))
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionResetError("connection closed")
        answer += piece
        if len(answer) > MAX_ACKNOWLEDGEMENT_BYTES or monotonic() > deadline:
            raise TimeoutError("no acknowledgement in time")
    return bytes(answer[:-2]).lstrip(_START)


def _acknowledgement(answer: bytes) -> tuple[str, str]:
    """Acknowledgement code and control ID of the message; empty if there are none."""
    text = answer.decode("utf-8", "replace")
    separator = text[3:4] or "|"
    for line in text.split("\r"):
        fields = [*line.split(separator), "", ""]
        if fields[0] == "MSA":
            return fields[1], fields[2]
    return "", ""


def _unavailable(to: DestinationConfig, problem: str, error: Exception) -> DestinationUnavailable:
    reason = "no response in time" if isinstance(error, TimeoutError) else str(error)
    return DestinationUnavailable(f"{named_destination(to)} {problem}: {reason}.")
