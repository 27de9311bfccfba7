"""The door of the node: it takes connections and gives each association a thread of its own.

There are two kinds of places. A connection that has not said who it is takes a waiting place; when
these are all taken, the oldest one of the address that has most of them must go, so that silent
connections cannot shut the others out. A peer that has been recognised takes a place for
associations, of which there are so many in all and so many for one address; when these are taken,
it is told to come back later.
"""

import errno
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import structlog

from sij_node.config.settings import ListenerConfig, PeerConfig
from sij_node.errors import ConfigurationInvalid
from sij_node.network.pdu import NO_ROOM, STOPPING, TOO_MANY_ASSOCIATIONS, Rejection
from sij_node.network.tls import server_context
from sij_node.network.transport import Transport
from sij_node.receive.association import Association, Policy
from sij_node.receive.c_store import StorageService

_BACKLOG = 128
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S = 0.1

_log = structlog.get_logger()


@dataclass(eq=False)
class _Visitor:
    """A connection and its thread. `is_known` while it has a place for associations."""

    wire: Transport
    address: str
    association: Association | None = None
    thread: threading.Thread | None = None
    is_known: bool = False


class Listener:
    """Takes associations until it is stopped.

    Parameters
    ----------
    bound
        A bound stream socket to listen on in place of ``host`` and ``port``.

    Raises
    ------
    ConfigurationInvalid
        When the certificates of [listener.tls] cannot be used.
    """

    def __init__(
        self,
        config: ListenerConfig,
        ae_title: str,
        peers: Sequence[PeerConfig],
        reception: StorageService,
        bound: socket.socket | None = None,
    ) -> None:
        tls = server_context(config.tls) if config.tls is not None else None
        self._config = config
        self._policy = Policy(ae_title, {peer.ae_title: peer for peer in peers}, config, tls)
        self._reception = reception
        self._door = bound
        self._lock = threading.Lock()
        self._visitors: dict[_Visitor, None] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and return.

        Raises
        ------
        ConfigurationInvalid
            When the address and port cannot be listened on.
        """
        door = self._door = self._door or _bound_to(self._config.host, self._config.port)
        door.listen(_BACKLOG)
        self._thread = threading.Thread(
            target=self._accept_all, args=(door,), name="listener", daemon=True
        )
        self._thread.start()
        _log.info("listening", address=self._config.host, port=self.port)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._door is None:
            return self._config.port
        return int(self._door.getsockname()[1])

    def stop(self, drain_s: float) -> None:
        """Take no more, let each association finish the instance it is at, then abort the rest.

        Parameters
        ----------
        drain_s
            How long to wait for that.
        """
        deadline = monotonic() + drain_s
        self._stopping.set()
        if self._door is not None:
            _close_door(self._door)
        if self._thread is not None:
            self._thread.join()
        for visitor in self._present():
            if visitor.association is not None and not visitor.association.is_amid_message:
                visitor.wire.stop_reading()
        self._join(deadline)
        for visitor in self._present():
            visitor.wire.break_off()
        self._join(monotonic() + _PAUSE_S)

    def _accept_all(self, door: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = door.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._send_one_away()
                self._stopping.wait(_PAUSE_S)
                continue
            try:
                self._welcome(connection, str(address[0]))
            except (OSError, RuntimeError) as error:
                connection.close()
                _log.warning("connection not taken", address=str(address[0]), reason=str(error))

    def _welcome(self, connection: socket.socket, address: str) -> None:
        visitor = _Visitor(Transport(connection, self._config.pdu_timeout_s), address)
        association = visitor.association = Association(
            visitor.wire,
            address,
            policy=self._policy,
            reception=self._reception,
            admit=lambda: self._admit(visitor),
            leave=lambda: self._take_place_back(visitor),
            is_stopping=self._stopping.is_set,
        )
        visitor.thread = threading.Thread(
            target=self._serve, args=(visitor, association), name="association", daemon=True
        )
        with self._lock:
            self._visitors[visitor] = None
            crowded = len(self._waiting()) > self._config.max_associations
        if crowded:
            self._send_one_away()
        try:
            visitor.thread.start()
        except RuntimeError:
            self._forget(visitor)
            raise

    def _serve(self, visitor: _Visitor, association: Association) -> None:
        try:
            association.run()
        finally:
            self._forget(visitor)

    def _admit(self, visitor: _Visitor) -> Rejection | None:
        """Give a recognised peer a place for associations, or say why there is none."""
        if self._stopping.is_set():
            return STOPPING
        if not self._reception.has_room():
            return NO_ROOM
        with self._lock:
            known = Counter(v.address for v in self._visitors if v.is_known)
            is_full = known.total() >= self._config.max_associations
            has_enough = known[visitor.address] >= self._config.max_connections_per_address
            if is_full or has_enough or visitor not in self._visitors:
                return TOO_MANY_ASSOCIATIONS
            visitor.is_known = True
        return None

    def _take_place_back(self, visitor: _Visitor) -> None:
        with self._lock:
            visitor.is_known = False

    def _send_one_away(self) -> None:
        """End the oldest waiting connection of the address that has most of them."""
        with self._lock:
            waiting = self._waiting()
            if not waiting:
                return
            crowd, _ = Counter(v.address for v in waiting).most_common(1)[0]
            oldest = next(v for v in waiting if v.address == crowd)
            del self._visitors[oldest]
        oldest.wire.break_off()

    def _waiting(self) -> list[_Visitor]:
        return [visitor for visitor in self._visitors if not visitor.is_known]

    def _present(self) -> list[_Visitor]:
        with self._lock:
            return list(self._visitors)

    def _forget(self, visitor: _Visitor) -> None:
        with self._lock:
            self._visitors.pop(visitor, None)
        visitor.association = None  # they know each other: its buffers would outlive it

    def _join(self, deadline: float) -> None:
        for visitor in self._present():
            if visitor.thread is not None:
                visitor.thread.join(max(0.0, deadline - monotonic()))


def _bound_to(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
    except OSError as error:
        door.close()
        raise _cannot_listen(host, port, error) from error
    return door


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"Port {port} of {host} cannot be listened on: {error.strerror or error}. "
        "Set another in [listener], or end the program that has it."
    )


def _close_door(door: socket.socket) -> None:
    """Wake the thread that waits in accept, which closing alone would not."""
    try:
        door.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        door.close()
