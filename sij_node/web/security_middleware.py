"""Security headers of every response, and limits on every request."""

import ipaddress
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sij_node.config.settings import WebConfig
from sij_node.config.value_types import LOOPBACK

PROBES = frozenset({"/live", "/ready", "/metrics"})
"""Called by monitoring, often by IP address and without TLS."""
SMALL_BODY_BYTES = 64 * 1024
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
_ONE_YEAR_S = 31_536_000
_UNKNOWN_HOST = "Unknown host name. Use one of [web] host_names, or add this one there."


def content_policy(nonce: str) -> str:
    """Content-Security-Policy: only from the node itself; inline only with the nonce."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}'",
            f"style-src 'self' 'nonce-{nonce}'",
            "img-src 'self'",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def protect(headers: MutableHeaders, scope: Scope) -> None:
    """Add the security headers to a response; headers set by the route stay."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("content-security-policy", content_policy(scope["state"]["nonce"]))
    headers.setdefault("cache-control", "no-store")
    if scope["scheme"] == "https":
        headers.setdefault("strict-transport-security", f"max-age={_ONE_YEAR_S}")


@dataclass(frozen=True)
class Guard:
    """Rejects unsafe requests before any route, and adds security headers to every response.

    Parameters
    ----------
    large
        Largest body in bytes for paths that take files; all others take `SMALL_BODY_BYTES`.
    is_known
        Whether a user is signed in; only then are large bodies accepted.
    """

    app: ASGIApp
    web: WebConfig
    large: Mapping[str, int]
    is_known: Callable[[HTTPConnection], bool]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["nonce"] = secrets.token_urlsafe(16)

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                protect(MutableHeaders(scope=message), scope)
            await send(message)

        most_bytes = await self._most_bytes(scope)
        problem = self._problem(scope, most_bytes)
        if problem is not None:
            await _refuse(send_protected, *problem)
            return
        await self.app(scope, _bounded(receive, most_bytes), send_protected)

    def _problem(self, scope: Scope, most_bytes: int) -> tuple[int, str, str] | None:
        headers = Headers(scope=scope)
        if scope["path"] not in PROBES:
            if not self._is_our_name(headers.get("host", "")):
                return 421, "Unknown host", _UNKNOWN_HOST
            if scope["scheme"] != "https" and not _is_local(scope):
                return 403, "Not encrypted", "Use https, through the proxy if there is one."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > most_bytes:
            return _too_large(most_bytes)
        return None

    def _is_our_name(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        return name in (*LOOPBACK, self.web.host.lower(), *map(str.lower, self.web.host_names))

    async def _most_bytes(self, scope: Scope) -> int:
        large = self.large.get(scope["path"], 0)
        if large and await run_in_threadpool(self.is_known, HTTPConnection(scope)):
            return large
        return SMALL_BODY_BYTES


def _bounded(receive: Receive, most_bytes: int) -> Receive:
    """Limit a body while it is received; chunked bodies have no declared length."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most_bytes:
            status, _, detail = _too_large(most_bytes)
            raise HTTPException(status, detail)
        return message

    return receive_bounded


def _too_large(most_bytes: int) -> tuple[int, str, str]:
    return 413, "Too large", f"Requests to this URL are limited to {most_bytes} bytes."


async def _refuse(send: Send, status: int, title: str, detail: str) -> None:
    content = json.dumps({"title": title, "status": status, "detail": detail}).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _is_local(scope: Scope) -> bool:
    """Whether the client runs on this machine."""
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
