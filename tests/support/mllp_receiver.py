"""An HL7 receiver on loopback: hl7apy's MLLP server, answering as a test says."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

ERROR = "ERR"
"""hl7apy's name for what it cannot handle."""


@dataclass
class HL7Receiver:
    """Its URL, the messages received, and what it answers."""

    url: str
    answer: Callable[[str], str]
    messages: list[str] = field(default_factory=list)


def acknowledgement(message: str, code: str = "AA", control_id: str = "") -> str:
    """The acknowledgement of a message."""
    header = parse_message(message, find_groups=False).msh
    acknowledged = control_id or header.msh_10.to_er7()
    msh = f"MSH|^~\\&|RIS||SIJNODE||20240101||ACK^R01^ACK|A1|P|2.5.1\rMSA|{code}|{acknowledged}\r"
    return f"\x0b{msh}\x1c\r"


@contextmanager
def hl7_receiver(
    answer: Callable[[str], str] = acknowledgement, tls: ssl.SSLContext | None = None
) -> Iterator[HL7Receiver]:
    """A receiver within a ``with`` block."""

    class Answering(AbstractHandler):
        def __init__(self, problem: Exception | None, message: str) -> None:
            super().__init__(message)

        def reply(self) -> str:
            receiver.messages.append(self.incoming_message)
            return receiver.answer(self.incoming_message)

    class Plain(AbstractHandler):
        def reply(self) -> str:
            receiver.messages.append(self.incoming_message)
            return receiver.answer(self.incoming_message)

    handlers = {"ORU^R01^ORU_R01": (Plain,), ERROR: (Answering,)}
    server = MLLPServer("127.0.0.1", 0, handlers, timeout=5)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "mllps" if tls else "mllp"
    receiver = HL7Receiver(f"{scheme}://127.0.0.1:{server.server_address[1]}", answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
