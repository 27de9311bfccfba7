"""HTTP requests to a [[destination]]: authentication, TLS and limits.

The body of a response is read up to a limit, redirects are errors, and no proxy of the environment
is used. Nothing of a request or response is logged.

Source: RFC 9110 (HTTP), RFC 6750 (bearer tokens), RFC 7617 (basic authentication).
"""

import json
import socket
import ssl
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sij_node.config.settings import DeliveryConfig, DestinationConfig
from sij_node.errors import DestinationRefused, DestinationUnavailable, os_reason

MAX_RESPONSE_BYTES = 4 << 20
_ANSWERED_LATER = frozenset({408, 425, 429})
_NOT_ALLOWED: Mapping[int, str] = {
    401: "authentication failed; check the credentials of this [[destination]]",
    403: "access denied; allow this node to store results there",
    404: "there is no such service; check the URL of this [[destination]]",
    405: "there is no such service; check the URL of this [[destination]]",
    407: "a proxy requires authentication; the node connects directly",
}


@dataclass(frozen=True)
class HttpAnswer:
    """Status and body of a response."""

    status: int
    body: bytes
    content_type: str

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class _Credentials(httpx.Auth):
    """Basic or bearer authentication; the secret is read for every request."""

    def __init__(self, to: DestinationConfig) -> None:
        self._to = to

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._to.token_file is not None:
            request.headers["Authorization"] = f"Bearer {_secret(self._to.token_file, self._to)}"
        elif self._to.password_file is not None:
            basic = httpx.BasicAuth(self._to.user, _secret(self._to.password_file, self._to))
            request = next(basic.auth_flow(request))
        yield request


@dataclass
class HttpConnection:
    """A connection to a [[destination]], kept open from one request to the next.

    Use as a context manager. `cut` ends whatever waits for the server, from any thread.
    """

    to: DestinationConfig
    limits: DeliveryConfig
    _sockets: list[socket.socket] = field(default_factory=list, init=False)

    def __enter__(self) -> "HttpConnection":
        limits = self.limits
        self._client = httpx.Client(
            auth=_Credentials(self.to),
            verify=tls_context(self.to),
            timeout=httpx.Timeout(limits.response_timeout_s, connect=limits.connect_timeout_s),
            trust_env=False,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def cut(self) -> None:
        """Shut down the connection."""
        for connection in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: Iterable[bytes] | bytes = b"",
        params: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Send a request and read the response.

        Raises
        ------
        DestinationUnavailable
            If there is no response, or the server is busy or faulty.
        DestinationRefused
            If the service, its authentication or its URL are not as configured.
        """
        url = self.to.url.rstrip("/") + path
        try:
            with self._client.stream(
                method,
                url,
                headers={"User-Agent": "sij_node", **headers},
                content=content,
                params=params,
                extensions={"trace": self._note_socket},
            ) as response:
                body = _limited(response)
                self._check(response)
                return HttpAnswer(
                    response.status_code, body, response.headers.get("Content-Type", "")
                )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise DestinationUnavailable(
                f"{named_destination(self.to)} cannot be reached: {_in_words(error)}."
            ) from error

    def _check(self, response: httpx.Response) -> None:
        status, place = response.status_code, named_destination(self.to)
        if response.is_redirect:
            raise DestinationRefused(
                f"{place} answered with HTTP {status}, a redirect; set url to its final address."
            )
        if status in _NOT_ALLOWED:
            raise DestinationRefused(f"{place}: HTTP {status}, {_NOT_ALLOWED[status]}.")
        if status >= 500 or status in _ANSWERED_LATER:
            raise DestinationUnavailable(f"{place} answered with HTTP {status}; see its log.")

    def _note_socket(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets.append(info["return_value"].get_extra_info("socket"))


def tls_context(to: DestinationConfig) -> ssl.SSLContext:
    """TLS 1.2 or later with the configured CA and client certificate.

    Raises
    ------
    DestinationRefused
        If a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=to.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if to.certificate is not None:
            context.load_cert_chain(to.certificate, to.private_key)
    except OSError as error:
        raise DestinationRefused(
            f"[[destination]] {to.name}: a file {os_reason(error)}. Certificate, private key and "
            "CA must be readable, matching PEM files."
        ) from error
    return context


def named_destination(to: DestinationConfig) -> str:
    """A destination as named in messages."""
    return f"{to.name} at {to.url}"


def _secret(file: Path, to: DestinationConfig) -> str:
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DestinationRefused(
            f"[[destination]] {to.name}: {file} cannot be read; it must hold the secret as text."
        ) from error
    if not found or not found.isprintable():
        raise DestinationRefused(
            f"[[destination]] {to.name}: {file} must hold one line with the secret."
        )
    return found


def _limited(response: httpx.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > MAX_RESPONSE_BYTES:
            raise OSError(f"a response of more than {MAX_RESPONSE_BYTES >> 20} MB")
    return bytes(body)


def _in_words(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no response in time"
    return str(error) or type(error).__name__
