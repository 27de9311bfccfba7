"""A webhook receiver on loopback, like a site's chat or pager service."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """Its URL, the status it returns, and the requests received."""

    url: str
    status: int = 204
    posts: list[tuple[Message, bytes]] = field(default_factory=list)


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.receiver.posts.append((self.headers, body))
        self.send_response(self.server.receiver.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Do not log requests."""


@contextmanager
def hook_receiver() -> Iterator[Receiver]:
    """A receiver within a ``with`` block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Taking) as server:
        server.daemon_threads = True
        server.receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook/t0ken")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.receiver
        finally:
            server.shutdown()
            thread.join()
