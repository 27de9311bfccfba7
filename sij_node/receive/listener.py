"""The listener: accepts TCP connections and runs each association in its own thread.

A connection whose association is not accepted yet occupies a waiting slot. When all of these are
taken, the oldest connection of the address with the most is dropped, so that silent connections
cannot lock out the others. An accepted association occupies an association slot, limited in total
and per address; when these are taken, further associations are rejected as transient.
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
from sij_node.errors import ConfigurationInvalid, os_reason
from sij_node.network.pdu import OUT_OF_SPACE, STOPPING, TOO_MANY_ASSOCIATIONS, Rejection
from sij_node.network.tls import ServerTls
from sij_node.network.transport import Transport
from sij_node.receive.association import AcceptancePolicy, Association
from sij_node.receive.c_store import StorageService

_BACKLOG = 128
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S = 0.1

_log = structlog.get_logger()


@dataclass(eq=False)
class _Connection:
    """A connection and its thread; `is_admitted` while it occupies an association slot."""

    transport: Transport
    address: str
    association: Association | None = None
    thread: threading.Thread | None = None
    is_admitted: bool = False


class Listener:
    """Accepts associations until stopped.

    Parameters
    ----------
    bound
        A bound stream socket to use instead of ``host`` and ``port``.

    Raises
    ------
    ConfigurationInvalid
        If the certificates of [listener.tls] cannot be used.
    """

    def __init__(
        self,
        config: ListenerConfig,
        ae_title: str,
        peers: Sequence[PeerConfig],
        storage: StorageService,
        bound: socket.socket | None = None,
    ) -> None:
        tls = ServerTls(config.tls) if config.tls is not None else None
        self._config = config
        self._policy = AcceptancePolicy(
            ae_title, {peer.ae_title: peer for peer in peers}, config, tls
        )
        self._storage = storage
        self._socket = bound
        self._lock = threading.Lock()
        self._connections: dict[_Connection, None] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start listening in a thread of its own.

        Raises
        ------
        ConfigurationInvalid
            If the port is in use or the address is not available.
        """
        server_socket = self._socket = self._socket or _bind(self._config.host, self._config.port)
        server_socket.listen(_BACKLOG)
        self._thread = threading.Thread(
            target=self._accept_all, args=(server_socket,), name="listener", daemon=True
        )
        self._thread.start()
        _log.info("listening", address=self._config.host, port=self.port)

    @property
    def port(self) -> int:
        """The TCP port of the listener."""
        if self._socket is None:
            return self._config.port
        return int(self._socket.getsockname()[1])

    def stop(self, drain_s: float) -> None:
        """Accept no more connections, let each association finish its instance, then abort.

        Parameters
        ----------
        drain_s
            Time allowed for that.
        """
        deadline = monotonic() + drain_s
        self._stopping.set()
        if self._socket is not None:
            _close(self._socket)
        if self._thread is not None:
            self._thread.join()
        for connection in self._open_connections():
            if connection.association is not None and not connection.association.is_receiving:
                connection.transport.stop_reading()
        self._join(deadline)
        for connection in self._open_connections():
            connection.transport.shut_down()
        self._join(monotonic() + _PAUSE_S)

    def _accept_all(self, server_socket: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                accepted, address = server_socket.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._drop_oldest_waiting()
                self._stopping.wait(_PAUSE_S)
                continue
            try:
                self._start_association(accepted, str(address[0]))
            except (OSError, RuntimeError) as error:
                accepted.close()
                _log.warning("connection failed", address=str(address[0]), reason=str(error))

    def _start_association(self, accepted: socket.socket, address: str) -> None:
        connection = _Connection(Transport(accepted, self._config.pdu_timeout_s), address)
        association = connection.association = Association(
            connection.transport,
            address,
            policy=self._policy,
            storage=self._storage,
            claim_slot=lambda: self._claim_slot(connection),
            release_slot=lambda: self._release_slot(connection),
            is_stopping=self._stopping.is_set,
        )
        connection.thread = threading.Thread(
            target=self._serve, args=(connection, association), name="association", daemon=True
        )
        with self._lock:
            self._connections[connection] = None
            is_crowded = len(self._waiting()) > self._config.max_associations
        if is_crowded:
            self._drop_oldest_waiting()
        try:
            connection.thread.start()
        except RuntimeError:
            self._remove(connection)
            raise

    def _serve(self, connection: _Connection, association: Association) -> None:
        try:
            association.run()
        finally:
            self._remove(connection)

    def _claim_slot(self, connection: _Connection) -> Rejection | None:
        """Claim an association slot; returns the rejection if none is free."""
        if self._stopping.is_set():
            return STOPPING
        if not self._storage.has_room():
            return OUT_OF_SPACE
        with self._lock:
            admitted = Counter(c.address for c in self._connections if c.is_admitted)
            is_full = admitted.total() >= self._config.max_associations
            has_enough = admitted[connection.address] >= self._config.max_connections_per_address
            if is_full or has_enough or connection not in self._connections:
                return TOO_MANY_ASSOCIATIONS
            connection.is_admitted = True
        return None

    def _release_slot(self, connection: _Connection) -> None:
        with self._lock:
            connection.is_admitted = False

    def _drop_oldest_waiting(self) -> None:
        """Drop the oldest waiting connection of the address that has the most."""
        with self._lock:
            waiting = self._waiting()
            if not waiting:
                return
            busiest, _ = Counter(c.address for c in waiting).most_common(1)[0]
            oldest = next(c for c in waiting if c.address == busiest)
            del self._connections[oldest]
        oldest.transport.shut_down()

    def _waiting(self) -> list[_Connection]:
        return [connection for connection in self._connections if not connection.is_admitted]

    def _open_connections(self) -> list[_Connection]:
        with self._lock:
            return list(self._connections)

    def _remove(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.pop(connection, None)
        connection.association = None  # breaks a reference cycle that would keep its buffers alive

    def _join(self, deadline: float) -> None:
        for connection in self._open_connections():
            if connection.thread is not None:
                connection.thread.join(max(0.0, deadline - monotonic()))


def require_free_port(config: ListenerConfig) -> None:
    """Check that the listener could start now.

    Raises
    ------
    ConfigurationInvalid
        If its port is in use or its address is not one of this machine.
    """
    _bind(config.host, config.port).close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        server_socket = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server_socket.bind(address)
    except OSError as error:
        server_socket.close()
        raise _cannot_listen(host, port, error) from error
    return server_socket


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"Cannot listen on port {port} of {host}: it {os_reason(error)}. "
        "Set another port in [listener], or stop the program that uses this one."
    )


def _close(server_socket: socket.socket) -> None:
    """Shut down first, to end a blocked accept, which close alone would not."""
    try:
        server_socket.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        server_socket.close()
