"""One connection: whole PDUs in, whole PDUs out, and a clock on every wait.

Small reads and writes cost a system call each, so the socket is read as far as it is full and
PDUs are cut from the buffer. Answers leave at once (no Nagle), and received packets are
acknowledged at once, because a peer that leaves Nagle on waits for that before it goes on.
"""

import socket
import ssl
from time import monotonic

from sij_node.errors import HandshakeRefused, PeerGone, PeerSilent, ProtocolViolated
from sij_node.network.pdu import HEADER, AbortReason, PduType

_ACKNOWLEDGE_AT_ONCE: int | None = getattr(socket, "TCP_QUICKACK", None)
_FIRST_BUFFER_BYTES = 1 << 13
_FAREWELL_S = 0.5
_FAREWELL_BYTES = 1 << 24


class Transport:
    """A connected socket that speaks PDUs. All errors are families of `AssociationEnded`.

    Parameters
    ----------
    connection
        Is closed by `close` only.
    pdu_timeout_s
        A PDU that has begun must be complete within this time, in both directions.
    """

    def __init__(self, connection: socket.socket, pdu_timeout_s: float) -> None:
        self._socket = connection
        self._pdu_timeout_s = pdu_timeout_s
        self._buffer = memoryview(bytearray(_FIRST_BUFFER_BYTES))
        self._start = 0
        self._end = 0
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, tls: ssl.SSLContext, deadline: float) -> None:
        """Shake hands as a TLS server before `deadline`, on the monotonic clock."""
        try:
            self._socket.settimeout(_time_left(deadline))
            self._socket = tls.wrap_socket(
                self._socket, server_side=True, do_handshake_on_connect=False
            )
            self._socket.do_handshake()
        except TimeoutError as error:
            raise PeerSilent("the TLS handshake was not finished in time") from error
        except OSError as error:
            left = not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError)
            kind = PeerGone if left else HandshakeRefused
            raise kind(f"the TLS handshake failed: {_tls_reason(error)}") from error

    def read_request(self, deadline: float, limit: int) -> bytes:
        """The first PDU, without its header, which must be an association request.

        Raises
        ------
        ProtocolViolated
            When it is something else or longer than `limit` bytes.
        """
        self._fill(HEADER.size, deadline)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        if kind != PduType.ASSOCIATE_RQ:
            raise ProtocolViolated("not an association request", AbortReason.UNEXPECTED_PDU)
        _check_length(length, limit)
        self._fill(HEADER.size + length, deadline)
        return bytes(self._take(length))

    def read_pdu(self, idle_timeout_s: float, limit: int) -> tuple[int, memoryview]:
        """Type and content of the next PDU; the content is valid until the next call.

        Parameters
        ----------
        idle_timeout_s
            How long to wait for its first byte.
        limit
            The longest content that is read.
        """
        if self._start == self._end:
            self._fill(1, monotonic() + idle_timeout_s)
        deadline = monotonic() + self._pdu_timeout_s
        self._fill(HEADER.size, deadline)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        _check_length(length, limit)
        self._fill(HEADER.size + length, deadline)
        return kind, self._take(length)

    def expect(self, limit: int) -> None:
        """Make room for two PDUs of `limit` bytes, so that most reads are long ones."""
        self._make_room(2 * (limit + HEADER.size))

    def send(self, pdu: bytes) -> None:
        """Hand one PDU over in one piece."""
        try:
            self._socket.settimeout(self._pdu_timeout_s)
            self._socket.sendall(pdu)
        except TimeoutError as error:
            raise PeerSilent("the peer does not take what it is sent") from error
        except OSError as error:
            raise PeerGone("the connection broke while answering") from error

    def stop_reading(self) -> None:
        """Wake whoever waits in a read, from another thread; it finds the peer gone."""
        _shut(self._socket, socket.SHUT_RD)

    def break_off(self) -> None:
        """End the connection from another thread."""
        _shut(self._socket, socket.SHUT_RDWR)

    def say_farewell(self, pdu: bytes) -> None:
        """Send a last PDU, and give the peer a moment to read it before the connection closes.

        Closing while the peer still sends would reset the connection and lose the PDU.
        """
        deadline = monotonic() + _FAREWELL_S
        left = _FAREWELL_BYTES
        try:
            self._socket.settimeout(_FAREWELL_S)
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
                    raise PeerGone("the peer closed the connection")
                self._end += received
                if _ACKNOWLEDGE_AT_ONCE is not None:
                    self._socket.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE_AT_ONCE, 1)
        except TimeoutError as error:
            raise PeerSilent("nothing, or not all of a PDU, came in time") from error
        except OSError as error:
            raise PeerGone("the connection was reset") from error

    def _make_room(self, size: int) -> None:
        """Move what is left to the front, of a longer buffer where this one is too short."""
        kept = self._buffer[self._start : self._end]
        if size > len(self._buffer):
            self._buffer = memoryview(bytearray(size))
        self._buffer[: len(kept)] = kept
        self._start, self._end = 0, len(kept)

    def _take(self, length: int) -> memoryview:
        """Content of the PDU at the front of the buffer, which is taken out."""
        start = self._start + HEADER.size
        end = start + length
        self._start, self._end = (end, self._end) if end < self._end else (0, 0)
        return self._buffer[start:end]


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise ProtocolViolated(
            f"a PDU of {length} bytes; {limit} are allowed", AbortReason.INVALID_PARAMETER
        )


def _time_left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _tls_reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or "connection lost").replace("_", " ").lower()


def _shut(connection: socket.socket, how: int) -> None:
    """As TCP, also below TLS: `SSLSocket.shutdown` would go on unencrypted."""
    try:
        socket.socket.shutdown(connection, how)
    except OSError:
        return
