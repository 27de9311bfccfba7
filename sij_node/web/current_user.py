"""Authentication and authorisation of a request: by session cookie or API token.

The parameters of a route say which role it needs::

    @router.get("/jobs")
    def jobs(person: Viewer, admin: TheAdmin) -> ...

Forms and scripts that change something send a token that no other site can know (`csrf_token`);
`check_form` requires it on every route.
"""

import hmac
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from sij_node.config.user_roles import Role
from sij_node.domain.keyed_hash import keyed_hash
from sij_node.domain.users import CurrentUser, needed, new_secret
from sij_node.errors import FormForged, SignInNeeded
from sij_node.operate.admin import Admin
from sij_node.web.cookies import SESSION, VISIT, cookie
from sij_node.web.dependencies import Parts, TheParts, parts

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_FIELD, CSRF_HEADER = "csrf_token", "x-csrf-token"
_BEARER = "bearer "


def optional_user(request: Request, parts: TheParts) -> CurrentUser | None:
    """The current user; None without valid session or token."""
    return _current_user(request, parts, extends_session=True)


def polling_user(request: Request, parts: TheParts) -> CurrentUser | None:
    """As `optional_user`, for polling: it does not keep a session alive."""
    return _current_user(request, parts, extends_session=False)


def is_known(connection: HTTPConnection) -> bool:
    """Whether the request comes from a user."""
    return _current_user(connection, parts(connection), extends_session=False) is not None


def _current_user(
    request: HTTPConnection, parts: Parts, extends_session: bool
) -> CurrentUser | None:
    token, session = bearer(request), cookie(request, SESSION)
    if token:
        person = parts.access.person_of_token(token)
    else:
        person = parts.access.person_of_session(session, extends_session) if session else None
    return person and replace(person, address=address_of(request))


def address_of(request: HTTPConnection) -> str:
    """The client's address; empty if not known."""
    return request.client.host if request.client else ""


def bearer(connection: HTTPConnection) -> str:
    """The token in the Authorization header, or empty (RFC 6750 2.1)."""
    given = connection.headers.get("authorization", "")
    return given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""


OptionalUser = Annotated[CurrentUser | None, Depends(optional_user)]


def viewer(person: OptionalUser) -> CurrentUser:
    """A user who may view."""
    return needed(person, Role.VIEWER)


def polling_viewer(person: Annotated[CurrentUser | None, Depends(polling_user)]) -> CurrentUser:
    """A user who may view; for polling only."""
    return needed(person, Role.VIEWER)


def reader(person: OptionalUser) -> CurrentUser:
    """A user who may give verdicts on findings."""
    return needed(person, Role.READER)


def operator(person: OptionalUser) -> CurrentUser:
    """A user who may act on jobs and see patient IDs."""
    return needed(person, Role.OPERATOR)


def administrator(person: OptionalUser) -> CurrentUser:
    """A user who may manage users."""
    return needed(person, Role.ADMINISTRATOR)


Viewer = Annotated[CurrentUser, Depends(viewer)]
PollingViewer = Annotated[CurrentUser, Depends(polling_viewer)]
Reader = Annotated[CurrentUser, Depends(reader)]
Operator = Annotated[CurrentUser, Depends(operator)]
Administrator = Annotated[CurrentUser, Depends(administrator)]


def admin_for(person: OptionalUser, parts: TheParts) -> Admin:
    """Queries and actions, recorded under the current user's name."""
    return parts.admin_for(needed(person, Role.VIEWER))


TheAdmin = Annotated[Admin, Depends(admin_for)]


# ---- forms -------------------------------------------------------------------------------------


def visit(connection: HTTPConnection) -> str:
    """Binds forms to a browser without a session; created if missing."""
    known = cookie(connection, VISIT) or getattr(connection.state, "new_visit", "")
    if not known:
        known = connection.state.new_visit = new_secret()
    return known


def csrf_token(connection: HTTPConnection) -> str:
    """The token in this browser's forms; it changes at sign-in."""
    binding = cookie(connection, SESSION) or visit(connection)
    return keyed_hash(parts(connection).key, "form", binding)


async def check_form(request: Request) -> None:
    """Accept a change only from the node's own pages, or with an API token.

    Raises
    ------
    FormForged
    """
    if request.method in SAFE_METHODS or bearer(request):
        return
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise _forged()
    if not (cookie(request, SESSION) or cookie(request, VISIT)):
        raise SignInNeeded("Not signed in. Sign in and try again, or send an API token.")
    given = request.headers.get(CSRF_HEADER) or await _field(request)
    if not hmac.compare_digest(given.encode(), csrf_token(request).encode()):
        raise _forged()


async def _field(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return ""
    value = (await request.form()).get(CSRF_FIELD, "")
    return value if isinstance(value, str) else ""


def _forged() -> FormForged:
    return FormForged(
        "The request did not come from one of the node's pages, or the page is older than your "
        "session. Reload the page and try again."
    )
