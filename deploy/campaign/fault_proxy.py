"""A TCP proxy that cuts some of its connections after a random number of bytes, either way."""

import random
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_CUT_WITHIN = 40_000


@dataclass
class FaultProxy:
    """A proxy on a free port of loopback.

    Parameters
    ----------
    target
        Port on loopback that it forwards to.
    share
        Share of the connections that are cut.
    """

    target: int
    share: float
    numbers: random.Random
    connections: int = 0
    cut: int = 0
    port: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in (self._server, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            limits: list[int | None] = [None, None]
            if self.numbers.random() < self.share:
                limits[self.numbers.randrange(2)] = self.numbers.randrange(_CUT_WITHIN)
            for source, sink, limit in ((near, far, limits[0]), (far, near, limits[1])):
                threading.Thread(target=self._pump, args=(source, sink, limit), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        """Forward until the end, or until the limit, where both sides are cut."""
        passed = 0
        with suppress(OSError):
            while data := source.recv(8192):
                if limit is not None and passed + len(data) > limit:
                    sink.sendall(data[: limit - passed])
                    self.cut += 1
                    break
                sink.sendall(data)
                passed += len(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
