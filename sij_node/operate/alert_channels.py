"""Channels for alerts: e-mail and webhook.

Source: RFC 5321 and 3207 (SMTP and STARTTLS), RFC 3834 (automatic messages), RFC 2104 (HMAC).
"""

import hmac
import json
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from sij_node.config.settings import Config, EmailConfig, WebhookConfig
from sij_node.domain.alerts import AlertKind, AlertLine, subject_of, text_of
from sij_node.domain.health import HealthStatus
from sij_node.errors import AlertNotSent, ConfigurationInvalid, os_reason

TIMEOUT_S = 15.0
SIGNATURE, TIMESTAMP = "X-SIJ-Signature", "X-SIJ-Timestamp"


class Channel(Protocol):
    """A channel for alerts."""

    @property
    def name(self) -> str:
        """Name under which the database keeps what it has sent."""

    def send(self, lines: Sequence[AlertLine]) -> None:
        """Send one message; raises `AlertNotSent`."""

    def reach(self) -> str:
        """Check the connection without sending; its address, or raises `AlertNotSent`."""


def channels_of(config: Config) -> tuple[Channel, ...]:
    """The channels that [alerts] configures.

    Raises
    ------
    ConfigurationInvalid
        If a password, a secret or a certificate cannot be read.
    """
    node, page = config.node.ae_title, config.web.url
    found: list[Channel] = []
    if config.alerts.email is not None:
        mail = config.alerts.email
        password = _secret(mail.password_file, "alerts.email") if mail.password_file else ""
        context = _context(mail.ca, "alerts.email")
        found.append(Email(node, page, mail, password, context))
    if config.alerts.webhook is not None:
        hook = config.alerts.webhook
        secret = _secret(hook.secret_file, "alerts.webhook").encode()
        found.append(Webhook(node, page, hook, secret, _context(hook.ca, "alerts.webhook")))
    return tuple(found)


def send_test(config: Config) -> tuple[str, ...]:
    """Send a test notification by every channel; returns their names.

    Raises
    ------
    ConfigurationInvalid
        If a password, a secret or a certificate cannot be read.
    AlertNotSent
    """
    line = AlertLine(
        AlertKind.NEW, HealthStatus.OK, "Test notification: all systems OK.", "No action required."
    )
    channels = channels_of(config)
    for channel in channels:
        channel.send((line,))
    return tuple(channel.name for channel in channels)


@dataclass(frozen=True)
class Email:
    """E-mail by SMTP with STARTTLS or TLS."""

    node: str
    page: str
    config: EmailConfig
    password: str
    context: ssl.SSLContext
    name: str = "email"

    def send(self, lines: Sequence[AlertLine]) -> None:
        """Send one e-mail to all recipients.

        Raises
        ------
        AlertNotSent
        """
        with self._signed_in() as server:
            server.send_message(self.message(lines))

    def reach(self) -> str:
        """Sign in at the server without sending anything.

        Raises
        ------
        AlertNotSent
        """
        with self._signed_in() as server:
            server.ehlo_or_helo_if_needed()
        return f"{self.config.host}:{self.config.port}"

    @contextmanager
    def _signed_in(self) -> Iterator[smtplib.SMTP]:
        mail = self.config
        try:
            with self._connected() as server:
                if mail.security == "starttls":
                    server.starttls(context=self.context)
                if mail.user:
                    server.login(mail.user, self.password)
                yield server
        except (OSError, smtplib.SMTPException) as error:
            raise AlertNotSent(
                f"E-mail could not be sent by {mail.host}:{mail.port}: {_first_line(error)}. "
                "Check [alerts.email]; sending is retried."
            ) from error

    def message(self, lines: Sequence[AlertLine]) -> EmailMessage:
        """The e-mail."""
        mail = EmailMessage()
        mail["Subject"] = subject_of(self.node, lines)
        mail["From"] = self.config.sender
        mail["To"] = ", ".join(self.config.to)
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = make_msgid(domain=self.config.sender.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text_of(self.node, lines, self.page))
        return mail

    def _connected(self) -> smtplib.SMTP:
        to = self.config.host, self.config.port
        if self.config.security == "tls":
            return smtplib.SMTP_SSL(*to, timeout=TIMEOUT_S, context=self.context)
        return smtplib.SMTP(*to, timeout=TIMEOUT_S)


@dataclass(frozen=True)
class Webhook:
    """A signed POST request with JSON.

    The signature is the HMAC-SHA256 (hexadecimal) of timestamp, full stop and body, with the
    shared secret.
    """

    node: str
    page: str
    config: WebhookConfig
    secret: bytes
    context: ssl.SSLContext
    name: str = "webhook"

    def send(self, lines: Sequence[AlertLine]) -> None:
        """Send one POST request.

        Raises
        ------
        AlertNotSent
        """
        body = self.body(lines)
        timestamp = str(int(datetime.now(UTC).timestamp()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: timestamp,
            SIGNATURE: f"sha256={signature(self.secret, timestamp, body)}",
        }
        try:
            with httpx.Client(timeout=TIMEOUT_S, verify=self.context, trust_env=False) as client:
                client.post(self.config.url, content=body, headers=headers).raise_for_status()
        except (httpx.HTTPError, OSError) as error:
            raise AlertNotSent(
                f"The webhook of [alerts] did not accept an alert: {_first_line(error)}. "
                "Check [alerts.webhook]; sending is retried."
            ) from error

    def reach(self) -> str:
        """Connect to the receiver, with TLS for https, without sending anything.

        Raises
        ------
        AlertNotSent
        """
        address = urlsplit(self.config.url)
        is_secure, host = address.scheme == "https", address.hostname or ""
        port = address.port or (443 if is_secure else 80)
        try:
            with socket.create_connection((host, port), TIMEOUT_S) as connection:
                if is_secure:
                    self.context.wrap_socket(connection, server_hostname=host).close()
        except OSError as error:
            raise AlertNotSent(
                f"The webhook of [alerts] at {host}:{port} cannot be reached: "
                f"{_first_line(error)}. Check [alerts.webhook]."
            ) from error
        return f"{host}:{port}"

    def body(self, lines: Sequence[AlertLine]) -> bytes:
        """The message as JSON."""
        content = {
            "node": self.node,
            "page": self.page,
            "text": subject_of(self.node, lines),
            "lines": [vars(line) for line in lines],
        }
        return json.dumps(content).encode()


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What the receiver computes to verify that an alert comes from the node."""
    return hmac.digest(secret, f"{timestamp}.".encode() + body, "sha256").hex()


def _secret(file: Path, section: str) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationInvalid(f"[{section}] {file} {os_reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"[{section}] {file} is not UTF-8 text.") from error
    if not secret:
        raise ConfigurationInvalid(f"[{section}] {file} is empty; write the secret into it.")
    return secret


def _context(ca: Path | None, section: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigurationInvalid(f"[{section}] ca {ca} {os_reason(error)}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _first_line(error: Exception) -> str:
    """The cause, without the URL of the webhook, which may contain a secret."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    return (str(error).splitlines() or [type(error).__name__])[0]
