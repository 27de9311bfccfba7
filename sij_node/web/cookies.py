"""The cookies: session, form token, known device and OpenID Connect sign-in.

Over HTTPS their names begin with ``__Host-``: browsers then accept them only from this host,
for all its paths, and over HTTPS (RFC 6265bis 4.1.3.2).
"""

from datetime import timedelta

from starlette.requests import HTTPConnection
from starlette.responses import Response

SESSION, VISIT, DEVICE, OPENID = "session", "visit", "device", "openid"


def cookie(connection: HTTPConnection, name: str) -> str:
    """The value of one of our cookies, or empty."""
    return connection.cookies.get(_name(connection, name), "")


def set_cookie(
    connection: HTTPConnection,
    response: Response,
    name: str,
    value: str,
    lasts: timedelta | None = None,
) -> None:
    """Set one of our cookies; without `lasts` it ends with the browser session."""
    response.set_cookie(
        _name(connection, name),
        value,
        max_age=None if lasts is None else int(lasts.total_seconds()),
        path="/",
        secure=is_encrypted(connection),
        httponly=True,
        samesite="lax",
    )


def drop_cookie(connection: HTTPConnection, response: Response, name: str) -> None:
    """Delete one of our cookies in the browser."""
    response.delete_cookie(
        _name(connection, name),
        path="/",
        secure=is_encrypted(connection),
        httponly=True,
        samesite="lax",
    )


def is_encrypted(connection: HTTPConnection) -> bool:
    """Whether the browser connects over HTTPS, also to a trusted proxy."""
    return connection.url.scheme == "https"


def _name(connection: HTTPConnection, name: str) -> str:
    return f"__Host-sij-{name}" if is_encrypted(connection) else f"sij-{name}"
