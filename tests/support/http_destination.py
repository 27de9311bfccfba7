"""An HTTP destination on loopback that answers as a test says."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request."""

    method: str
    path: str
    headers: Message
    body: bytes


Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]
"""Status, body and more header fields."""


@dataclass
class HttpDestination:
    """Its URL, what it answers, and the requests received."""

    url: str
    answer: Callable[[Received], Answer]
    requests: list[Received] = field(default_factory=list)


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        destination = self.server.destination
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        received = Received(self.command, self.path, self.headers, body)
        destination.requests.append(received)
        status, content, *more = destination.answer(received)
        self.send_response(status)
        for name, value in (more[0] if more else {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *arguments: object) -> None:
        """Do not log requests."""


@contextmanager
def http_destination(
    answer: Callable[[Received], Answer], tls: ssl.SSLContext | None = None
) -> Iterator[HttpDestination]:
    """A destination within a ``with`` block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        server.daemon_threads = True
        server.block_on_close = False
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        place = f"127.0.0.1:{server.server_address[1]}"
        server.destination = HttpDestination(f"{'https' if tls else 'http'}://{place}/web", answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.destination
        finally:
            server.shutdown()
            thread.join()


def stow_answer(status: int, **sequences: list[dict[str, Any]]) -> Answer:
    """A Store Instances Response; `stored` and `failed` list UIDs with reasons."""
    tags = {"stored": ("00081199", "00081196"), "failed": ("00081198", "00081197")}
    dataset = {
        tags[name][0]: {"vr": "SQ", "Value": [_item(one, tags[name][1]) for one in items]}
        for name, items in sequences.items()
    }
    return status, json.dumps(dataset).encode(), {"Content-Type": "application/dicom+json"}


def _item(one: dict[str, Any], reason_tag: str) -> dict[str, Any]:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [one["uid"]]}}
    if "reason" in one:
        item[reason_tag] = {"vr": "US", "Value": [one["reason"]]}
    return item
