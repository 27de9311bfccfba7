"""One TCP connection: reads and writes whole PDUs, with a timeout on every wait.

To save system calls, each read takes all that the socket has, and PDUs are cut from the buffer.
Responses are sent at once (no Nagle) and packets acknowledged at once, because a peer that uses
Nagle's algorithm waits for the acknowledgement.
"""

import socket
import ssl
from time import monotonic

from sij_node.errors import HandshakeRefused, PeerGone, PeerTimedOut, ProtocolViolated
from sij_node.network.pdu import HEADER, AbortReason, PduType
from sij_node.network.tls import names_in

_ACKNOWLEDGE_AT_ONCE: int | None = getattr(socket, "TCP_QUICKACK", None)
_FIRST_BUFFER_BYTES = 1 << 13
_LINGER_S = 0.5
_LINGER_BYTES = 1 << 24


class Transport:
    """A connected socket that transfers PDUs. All errors are subclasses of `AssociationEnded`.

    Parameters
    ----------
    connection
        Closed only by `close`.
    pdu_timeout_s
        Time limit for one PDU from its first to its last byte, in either direction.
    """

    def __init__(self, connection: socket.socket, pdu_timeout_s: float) -> None:
        self._socket = connection
        self._pdu_timeout_s = pdu_timeout_s
        self._buffer = memoryview(bytearray(_FIRST_BUFFER_BYTES))
        self._start = 0
        self._end = 0
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, tls: ssl.SSLContext, deadline: float) -> None:
        """Complete the TLS handshake as server before `deadline` (monotonic seconds)."""
        try:
            self._socket.settimeout(_time_left(deadline))
            self._socket = tls.wrap_socket(
                self._socket, server_side=True, do_handshake_on_connect=False
            )
            self._socket.do_handshake()
        except TimeoutError as error:
            raise PeerTimedOut("TLS handshake timed out") from error
        except OSError as error:
            left = not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError)
            kind = PeerGone if left else HandshakeRefused
            raise kind(f"TLS handshake failed: {_tls_reason(error)}") from error

    @property
    def certificate_names(self) -> frozenset[str]:
        """Names in the peer's verified certificate; none without one."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return frozenset()
        return names_in(self._socket.getpeercert() or {})

    def read_request(self, deadline: float, limit: int) -> bytes:
        """The first PDU without its header; must be an A-ASSOCIATE-RQ.

        Raises
        ------
        ProtocolViolated
            If it is another PDU or longer than `limit` bytes.
        """
        self._fill(HEADER.size, deadline)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        if kind != PduType.ASSOCIATE_RQ:
            raise ProtocolViolated("first PDU not an A-ASSOCIATE-RQ", AbortReason.UNEXPECTED_PDU)
        _check_length(length, limit)
        self._fill(HEADER.size + length, deadline)
        return bytes(self._take(length))

    def read_pdu(self, idle_timeout_s: float, limit: int) -> tuple[int, memoryview]:
        """Type and content of the next PDU; the content stays valid until the next call.

        Parameters
        ----------
        idle_timeout_s
            Time limit for its first byte.
        limit
            Maximum length in bytes.
        """
        if self._start == self._end:
            self._fill(1, monotonic() + idle_timeout_s)
        deadline = monotonic() + self._pdu_timeout_s
        self._fill(HEADER.size, deadline)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        _check_length(length, limit)
        self._fill(HEADER.size + length, deadline)
        return kind, self._take(length)

    def reserve_buffer(self, limit: int) -> None:
        """Reserve buffer space for two PDUs of `limit` bytes, so that most reads are long."""
        self._make_room(2 * (limit + HEADER.size))

    def send(self, pdu: bytes) -> None:
        """Send one PDU."""
        try:
            self._socket.settimeout(self._pdu_timeout_s)
            self._socket.sendall(pdu)
        except TimeoutError as error:
            raise PeerTimedOut("the peer stopped reading") from error
        except OSError as error:
            raise PeerGone("connection lost while sending") from error

    def stop_reading(self) -> None:
        """End a blocked read from another thread; it raises `PeerGone`."""
        _shut(self._socket, socket.SHUT_RD)

    def shut_down(self) -> None:
        """End the connection from another thread."""
        _shut(self._socket, socket.SHUT_RDWR)

    def send_last(self, pdu: bytes) -> None:
        """Send the last PDU and give the peer a moment to read it.

        Closing while the peer is still sending would reset the connection and lose the PDU.
        """
        deadline = monotonic() + _LINGER_S
        left = _LINGER_BYTES
        try:
            self._socket.settimeout(_LINGER_S)
            self._socket.sendall(pdu)
            _shut(self._socket, socket.SHUT_WR)
            while left > 0 and (received := self._socket.recv_into(self._buffer)):
                left -= received
                self._socket.settimeout(_time_left(deadline))
        except OSError:
            return

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _fill(self, wanted: int, deadline: float) -> None:
        """Read until `wanted` bytes are in the buffer."""
        if self._start + wanted > len(self._buffer):
            self._make_room(wanted)
        try:
            while self._end - self._start < wanted:
                self._socket.settimeout(_time_left(deadline))
                received = self._socket.recv_into(self._buffer[self._end :])
                if not received:
                    raise PeerGone("connection closed by the peer")
                self._end += received
                if _ACKNOWLEDGE_AT_ONCE is not None:
                    self._socket.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE_AT_ONCE, 1)
        except TimeoutError as error:
            raise PeerTimedOut("timed out waiting for a PDU") from error
        except OSError as error:
            raise PeerGone("connection reset") from error

    def _make_room(self, size: int) -> None:
        """Move unread bytes to the front, into a longer buffer if needed."""
        unread = self._buffer[self._start : self._end]
        if size > len(self._buffer):
            self._buffer = memoryview(bytearray(size))
        self._buffer[: len(unread)] = unread
        self._start, self._end = 0, len(unread)

    def _take(self, length: int) -> memoryview:
        """Remove the first PDU from the buffer and return its content."""
        start = self._start + HEADER.size
        end = start + length
        self._start, self._end = (end, self._end) if end < self._end else (0, 0)
        return self._buffer[start:end]


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise ProtocolViolated(
            f"PDU of {length} bytes exceeds the limit of {limit}", AbortReason.INVALID_PARAMETER
        )


def _time_left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _tls_reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or "connection lost").replace("_", " ").lower()


def _shut(connection: socket.socket, how: int) -> None:
    """Shut down the TCP connection; `SSLSocket.shutdown` would continue unencrypted."""
    try:
        socket.socket.shutdown(connection, how)
    except OSError:
        return
