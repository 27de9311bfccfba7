"""The HTTP server: uvicorn with limits that silent and slow clients cannot exhaust.

A connection is waiting while its TLS handshake or its request is incomplete. Waiting connections
have deadlines, and the oldest is dropped when its address, or all addresses together, have too
many. So a new connection, for instance of a probe, always gets its turn.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 400
MAX_CONNECTIONS_PER_ADDRESS = 64
"""Trusted proxies are exempt, since their connections come from many clients."""
MAX_REQUESTS = 100
"""Requests in progress; probes are not counted."""
HANDSHAKE_TIMEOUT_S = 10.0
TIMEOUTS_S = {"head": 15.0, "body": 60.0, "study": 1800.0, "response": 300.0}
"""For receiving the head of a request (idle time before it included), its body, a study as body,
and answering."""
STUDIES = "/dicom-web/studies"
_PAUSE_S = 0.1


class TimedProtocol(H11Protocol):
    """An HTTP connection with deadlines for each phase of a request."""

    _phase = ""
    _timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the client has not sent its request completely."""
        return self._current_phase != "response"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the first deadline."""
        super().connection_made(transport)
        self._restart_timer()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._restart_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadlines."""
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def _current_phase(self) -> str:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return "head"
        if cycle.more_body:
            return "study" if cycle.scope["path"] == STUDIES else "body"
        return "response"

    def _restart_timer(self) -> None:
        """Start the deadline of a new phase; within a phase it continues."""
        phase = self._current_phase
        if phase != self._phase and not self.transport.is_closing():
            self._stop_timer()
            self._phase = phase
            self._timer = self.loop.call_later(TIMEOUTS_S[phase], self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


@dataclass(eq=False)
class _Connection:
    address: str
    accepted: socket.socket
    opening: asyncio.Task[None] | None = None
    protocol: TimedProtocol | None = None

    @property
    def is_open(self) -> bool:
        if self.protocol is not None:
            return not self.protocol.transport.is_closing()
        return self.opening is not None and not self.opening.done()

    @property
    def is_waiting(self) -> bool:
        return self.protocol is None or self.protocol.is_waiting

    def close_unless_opened(self, _opening: asyncio.Task[None]) -> None:
        if self.protocol is None:
            self.accepted.close()

    def drop(self) -> None:
        if self.protocol is not None:
            self.protocol.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()


class LimitedServer(uvicorn.Server):
    """Accepts connections within the limits of this module.

    Parameters
    ----------
    listener
        A listening socket.
    is_proxy
        Whether an address is a trusted proxy.
    """

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, is_proxy: Callable[[str], bool]
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._is_proxy = is_proxy
        self._connections: list[_Connection] = []
        self._accepting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting."""
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept_all())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting; requests in progress are answered, waiting connections dropped."""
        if self._accepting is not None:
            self._accepting.cancel()
        for connection in self._connections:
            if connection.is_waiting:
                connection.drop()
        await super().shutdown(sockets=[])

    async def _accept_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listener)
            except OSError:  # no file descriptors, or the client is gone already
                self._drop_oldest(self._waiting())
                await asyncio.sleep(_PAUSE_S)
                continue
            connection = _Connection(str(address[0]), accepted)
            if not self._has_room(connection.address):
                accepted.close()
                continue
            self._connections.append(connection)
            connection.opening = loop.create_task(self._open(connection))
            connection.opening.add_done_callback(connection.close_unless_opened)

    async def _open(self, connection: _Connection) -> None:
        """Make the TLS handshake, if any, and hand the connection to uvicorn."""
        loop = asyncio.get_running_loop()
        limit: dict[str, Any] = (
            {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S} if self.config.ssl else {}
        )
        with suppress(OSError):  # the handshake failed
            _, connection.protocol = await loop.connect_accepted_socket(
                self._protocol, connection.accepted, ssl=self.config.ssl, **limit
            )

    def _protocol(self) -> TimedProtocol:
        return TimedProtocol(self.config, self.server_state, self.lifespan.state)

    def _has_room(self, address: str) -> bool:
        """Make room for a connection; False if all others are answering requests."""
        self._connections = [one for one in self._connections if one.is_open]
        own = [one for one in self._connections if one.address == address]
        if len(own) >= MAX_CONNECTIONS_PER_ADDRESS and not self._is_proxy(address):
            return self._drop_oldest([one for one in own if one.is_waiting])
        if len(self._connections) >= MAX_CONNECTIONS:
            return self._drop_oldest(self._waiting())
        return True

    def _waiting(self) -> list[_Connection]:
        """Waiting connections of the address that has the most of them."""
        waiting = [one for one in self._connections if one.is_open and one.is_waiting]
        busiest = Counter(one.address for one in waiting).most_common(1)
        return [one for one in waiting if one.address == busiest[0][0]]

    def _drop_oldest(self, connections: list[_Connection]) -> bool:
        if connections:
            connections[0].drop()
            self._connections.remove(connections[0])
        return bool(connections)


class RequestLimit:
    """Refuses requests while too many others are in progress.

    Parameters
    ----------
    exempt
        Paths that are always answered.
    """

    def __init__(self, app: ASGIApp, exempt: Collection[str]) -> None:
        self._app = app
        self._exempt = exempt
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
        elif self._in_progress >= MAX_REQUESTS:
            problem = {"title": "Busy", "status": 503, "detail": "Too many requests. Try again."}
            busy = JSONResponse(
                problem, 503, {"retry-after": "5"}, media_type="application/problem+json"
            )
            await busy(scope, receive, send)
        else:
            self._in_progress += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._in_progress -= 1
