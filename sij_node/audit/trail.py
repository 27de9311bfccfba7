"""The audit trail: one file per day, and the hospital's audit repository.

The audit trail is separate from the log. Messages that cannot be written or sent are logged as
errors and have no other effect: a study is never refused because of its audit.

Source: DICOM PS3.15 A.6 (syslog), RFC 5424 (its form), 5425 (over TLS), 5426 (over UDP).
"""

import os
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from sij_node.audit.messages import Application, AuditMessage, AuditSource, EventOutcome, as_xml
from sij_node.config.settings import AuditConfig, Config
from sij_node.domain.backoff import next_delay_s
from sij_node.domain.keyed_hash import keyed_hash
from sij_node.errors import ConfigurationInvalid, os_reason
from sij_node.store.secret_key import secret_key

log = structlog.get_logger()

HELD = 10_000
"""Messages queued while the repository does not answer; the file has all of them."""
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 10.0
DRAIN_S = 3.0
MAX_DATAGRAM_BYTES = 65_000
_FACILITY = 10
"""Security and authorisation messages."""
_SEVERITIES = {
    EventOutcome.SUCCESS: 5,
    EventOutcome.MINOR_FAILURE: 4,
    EventOutcome.SERIOUS_FAILURE: 3,
}
_MESSAGE_ID = "DICOM+RFC3881"


class Sink(Protocol):
    """Accepts messages; must neither raise nor block."""

    def put(self, message: AuditMessage, xml: str, at: datetime) -> None:
        """Accept one message."""

    def close(self) -> None:
        """Accept no more messages."""


class AuditTrail:
    """Records audit messages.

    Parameters
    ----------
    node
        The node itself, as source or destination of transfers.
    patient
        Maps a patient ID to what is written.
    """

    def __init__(
        self,
        node: Application,
        reporter: AuditSource,
        sinks: Sequence[Sink],
        patient: Callable[[str], str] = lambda identifier: identifier,
    ) -> None:
        self.node = node
        self._reporter = reporter
        self._sinks = sinks
        self.patient = patient

    def record(self, message: AuditMessage) -> None:
        """Write a message to every configured place. Never raises; safe from any thread."""
        if not self._sinks:
            return
        at = datetime.now(UTC)
        xml = as_xml(message, self._reporter, at, self.patient)
        for sink in self._sinks:
            sink.put(message, xml, at)

    def close(self) -> None:
        """Send what is still queued, within a few seconds."""
        for sink in self._sinks:
            sink.close()


def open_trail(config: Config) -> AuditTrail:
    """The audit trail configured by [audit], for one process.

    Raises
    ------
    ConfigurationInvalid
        If the certificates for syslog cannot be used.
    SpoolUnavailable
        If patient IDs are hashed and the node's secret key cannot be read.
    """
    audit = config.audit
    sinks: list[Sink] = []
    if audit.file:
        sinks.append(DayFiles(config.node.data_folder / "audit", audit.retention_days))
    if audit.syslog:
        sinks.append(Syslog(audit))
    return AuditTrail(
        Application(config.node.ae_title, socket.gethostname()),
        AuditSource(config.node.ae_title, audit.site),
        sinks,
        _pseudonyms(config) if audit.patient_ids == "hashed" else str,
    )


def _pseudonyms(config: Config) -> Callable[[str], str]:
    """A patient always has the same pseudonym; only the node's secret key can reproduce it."""
    key = secret_key(config.node.data_folder)
    return lambda identifier: keyed_hash(key, "audited patient", identifier)[:32]


class DayFiles:
    """One file per host and day, one message per line, append only.

    Parameters
    ----------
    retention_days
        Older files are deleted; 0: never.
    """

    def __init__(self, folder: Path, retention_days: int) -> None:
        self._folder = folder
        self._retention_days = retention_days
        self._lock = threading.Lock()
        self._day = ""
        self._descriptor = -1
        self._has_failed = False

    def put(self, message: AuditMessage, xml: str, at: datetime) -> None:
        """Append a line."""
        try:
            with self._lock:
                self._turn_to(at.strftime("%Y-%m-%d"))
                os.write(self._descriptor, f"{xml}\n".encode())
        except OSError as error:
            if not self._has_failed:
                log.error("audit not written", reason=str(error.strerror))
            self._has_failed = True
        else:
            self._has_failed = False

    def close(self) -> None:
        """Close the current file."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor, self._day = -1, ""

    def _turn_to(self, day: str) -> None:
        if day == self._day:
            return
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._day = -1, ""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{day}-{socket.gethostname()}.xml"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor, self._day = os.open(path, flags, 0o600), day
        self._remove_old()

    def _remove_old(self) -> None:
        if not self._retention_days:
            return
        oldest = (datetime.now(UTC) - timedelta(days=self._retention_days)).strftime("%Y-%m-%d")
        for path in self._folder.glob("????-??-??-*.xml"):
            if path.name[:10] < oldest:
                path.unlink(missing_ok=True)


class Syslog:
    """Sends messages to an audit repository, in its own thread.

    While the repository does not answer, sending is retried and the newest `HELD` messages are
    queued.
    """

    def __init__(self, config: AuditConfig) -> None:
        address = urlsplit(config.syslog)
        self._protocol = address.scheme
        self._to = (address.hostname or "", address.port or 0)
        self._tls = _context(config) if address.scheme == "tls" else None
        self._waiting: deque[bytes] = deque(maxlen=HELD)
        self._there_is_more = threading.Condition()
        self._is_closing = False
        self._is_overflowing = False
        self._connection: socket.socket | None = None
        self._wait_s = 0.0
        self._thread = threading.Thread(target=self._send_all, name="audit", daemon=True)
        self._thread.start()

    def put(self, message: AuditMessage, xml: str, at: datetime) -> None:
        """Queue a message."""
        with self._there_is_more:
            if len(self._waiting) == HELD and not self._is_overflowing:
                log.error("audit not sent", address=self._to[0], reason=f"{HELD} messages queued")
            self._is_overflowing = len(self._waiting) == HELD
            self._waiting.append(syslog_message(message.outcome, xml, at))
            self._there_is_more.notify()

    def close(self) -> None:
        """Send queued messages, for at most `DRAIN_S`."""
        with self._there_is_more:
            self._is_closing = True
            self._there_is_more.notify()
        self._thread.join(DRAIN_S)

    def _send_all(self) -> None:
        while (content := self._next()) is not None:
            try:
                self._send(content)
            except OSError as error:
                self._put_back(content, error)
            else:
                if self._wait_s:
                    log.info("audit sending recovered", address=self._to[0])
                self._wait_s = 0.0
        self._disconnect()

    def _next(self) -> bytes | None:
        with self._there_is_more:
            while not self._waiting and not self._is_closing:
                self._there_is_more.wait()
            return self._waiting.popleft() if self._waiting else None

    def _put_back(self, content: bytes, error: OSError) -> None:
        self._disconnect()
        if not self._wait_s:
            log.error("audit not sent", address=self._to[0], reason=str(error))
        self._wait_s = next_delay_s(self._wait_s, FIRST_WAIT_S, LONGEST_WAIT_S)
        with self._there_is_more:
            if self._is_closing:
                self._waiting.clear()  # they are in the file
            elif len(self._waiting) < HELD:
                self._waiting.appendleft(content)
        until = time.monotonic() + self._wait_s
        while time.monotonic() < until and not self._is_closing:
            time.sleep(0.1)

    def _send(self, content: bytes) -> None:
        if self._protocol == "udp":
            family, _, _, _, address = socket.getaddrinfo(*self._to, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
                datagrams.sendto(content[:MAX_DATAGRAM_BYTES], address)
            return
        if self._connection is None or _is_closed(self._connection):
            self._disconnect()
            self._connection = self._connected()
        self._connection.sendall(b"%d %s" % (len(content), content))

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(self._to, TIMEOUT_S)
        if self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=self._to[0])
        except OSError:
            connection.close()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def syslog_message(outcome: EventOutcome, xml: str, at: datetime) -> bytes:
    """A message framed as in RFC 5424."""
    priority = _FACILITY * 8 + _SEVERITIES[outcome]
    moment = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    header = f"<{priority}>1 {moment} {socket.gethostname()} sij-node {os.getpid()} {_MESSAGE_ID} -"
    return header.encode("ascii", "replace") + b" \xef\xbb\xbf" + xml.encode()


def _is_closed(connection: socket.socket) -> bool:
    """Whether the peer has closed: syslog never answers, so readable means end of stream."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(TIMEOUT_S)


def _context(config: AuditConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.syslog_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.syslog_certificate is not None:
            context.load_cert_chain(config.syslog_certificate, config.syslog_private_key)
    except OSError as error:
        raise ConfigurationInvalid(
            f"[audit]: a file {os_reason(error)}. Check syslog_ca, syslog_certificate and "
            "syslog_private_key; they must be readable, matching PEM files."
        ) from error
    return context
