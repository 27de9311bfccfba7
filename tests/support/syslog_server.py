"""An audit repository on loopback: receives syslog over UDP, TCP or TLS."""

import re
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HEADER = re.compile(
    rb"<(?P<priority>\d+)>1 (?P<at>\S+) (?P<host>\S+) (?P<app>\S+) (?P<pid>\S+)"
    rb" (?P<id>\S+) - \xef\xbb\xbf(?P<xml>.*)",
    re.DOTALL,
)
"""RFC 5424, 6: the header, no structured data, and UTF-8 content."""


@dataclass
class Repository:
    """Its port and the messages received."""

    port: int
    messages: list[bytes] = field(default_factory=list)

    def xml(self) -> list[str]:
        """The content of each message; raises `AttributeError` if one violates RFC 5424."""
        return [HEADER.fullmatch(message)["xml"].decode() for message in self.messages]


class _Datagrams(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.server.repository.messages.append(self.request[0])


class _Frames(socketserver.StreamRequestHandler):
    """Octet counting of RFC 5425 and RFC 6587: length, space, message."""

    def handle(self) -> None:
        digits = b""
        while byte := self.rfile.read(1):
            if byte != b" ":
                digits += byte
                continue
            self.server.repository.messages.append(self.rfile.read(int(digits)))
            digits = b""


class _Stream(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def get_request(self):
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        return connection, address

    def handle_error(self, request, client_address) -> None:
        """Ignore closed connections."""


@contextmanager
def repository(
    protocol: str, tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[Repository]:
    """A repository within a ``with`` block."""
    kind, handler = (
        (socketserver.UDPServer, _Datagrams) if protocol == "udp" else (_Stream, _Frames)
    )
    with kind(("127.0.0.1", port), handler) as server:
        server.tls = tls
        server.repository = Repository(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.repository
        finally:
            server.shutdown()
            thread.join()
