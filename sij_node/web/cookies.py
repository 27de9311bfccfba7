"""The cookies: who is signed in, whose form this is, and which browser is known.

Over https their names begin with ``__Host-``: a browser then takes them only from this host,
for all of it, and encrypted (RFC 6265bis 4.1.3.2).
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
    """Set one of our cookies; without `lasts` it goes when the browser is closed."""
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
    """Have the browser forget one of our cookies."""
    response.delete_cookie(
        _name(connection, name),
        path="/",
        secure=is_encrypted(connection),
        httponly=True,
        samesite="lax",
    )


def is_encrypted(connection: HTTPConnection) -> bool:
    """Whether the browser's connection is; a trusted proxy may have said so."""
    return connection.url.scheme == "https"


def _name(connection: HTTPConnection, name: str) -> str:
    return f"__Host-sij-{name}" if is_encrypted(connection) else f"sij-{name}"
