"""Who is asking: by the session of a browser or the token of a program; and may they.

A route says what it needs by its parameters::

    @router.get("/jobs")
    def jobs(person: Viewer, admin: TheAdmin) -> ...

Forms and scripts of the page that change something carry a mark that no other site can know
(`form_mark`); `check_form` asks for it on every route, so none can forget to.
"""

import hmac
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from sij_node.config.roles import Role
from sij_node.domain.keyed_hash import keyed_hash
from sij_node.domain.users import CurrentUser, needed, new_secret
from sij_node.errors import FormForged, SignInNeeded
from sij_node.operate.admin import Admin
from sij_node.web.cookies import SESSION, VISIT, cookie
from sij_node.web.dependencies import Parts, TheParts, parts

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORM_FIELD, FORM_HEADER = "form_mark", "x-form-mark"
_BEARER = "bearer "


def asking(request: Request, parts: TheParts) -> CurrentUser | None:
    """Whoever asks, or None."""
    return _asking(request, parts, noticed=True)


def watching(request: Request, parts: TheParts) -> CurrentUser | None:
    """As `asking`, for what a page asks for by itself: it does not keep a session alive."""
    return _asking(request, parts, noticed=False)


def is_known(connection: HTTPConnection) -> bool:
    """Whether whoever asks is anybody."""
    return _asking(connection, parts(connection), noticed=False) is not None


def _asking(request: HTTPConnection, parts: Parts, noticed: bool) -> CurrentUser | None:
    token, session = bearer(request), cookie(request, SESSION)
    if token:
        person = parts.access.person_of_token(token)
    else:
        person = parts.access.person_of_session(session, noticed) if session else None
    return person and replace(person, address=address_of(request))


def address_of(request: HTTPConnection) -> str:
    """Where a request comes from, as far as it is known."""
    return request.client.host if request.client else ""


def bearer(connection: HTTPConnection) -> str:
    """The token in the Authorization header, or empty (RFC 6750 2.1)."""
    given = connection.headers.get("authorization", "")
    return given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""


Asking = Annotated[CurrentUser | None, Depends(asking)]


def viewer(person: Asking) -> CurrentUser:
    """Somebody who may look."""
    return needed(person, Role.VIEWER)


def watcher(person: Annotated[CurrentUser | None, Depends(watching)]) -> CurrentUser:
    """Somebody who may look, asked for by the page itself: for live updates only."""
    return needed(person, Role.VIEWER)


def operator(person: Asking) -> CurrentUser:
    """Somebody who may act on jobs and see patients."""
    return needed(person, Role.OPERATOR)


def administrator(person: Asking) -> CurrentUser:
    """Somebody who may add and remove people."""
    return needed(person, Role.ADMINISTRATOR)


Viewer = Annotated[CurrentUser, Depends(viewer)]
Watcher = Annotated[CurrentUser, Depends(watcher)]
Operator = Annotated[CurrentUser, Depends(operator)]
Administrator = Annotated[CurrentUser, Depends(administrator)]


def admin_for(person: Asking, parts: TheParts) -> Admin:
    """The questions and actions, in the name of whoever asks."""
    return parts.admin_for(needed(person, Role.VIEWER))


TheAdmin = Annotated[Admin, Depends(admin_for)]


# ---- forms -------------------------------------------------------------------------------------


def visit(connection: HTTPConnection) -> str:
    """What binds a form to a browser in which nobody is signed in; new where there is none."""
    known = cookie(connection, VISIT) or getattr(connection.state, "new_visit", "")
    if not known:
        known = connection.state.new_visit = new_secret()
    return known


def form_mark(connection: HTTPConnection) -> str:
    """The mark that this browser's forms carry; it changes when somebody signs in."""
    binding = cookie(connection, SESSION) or visit(connection)
    return keyed_hash(parts(connection).key, "form", binding)


async def check_form(request: Request) -> None:
    """Let a change pass only if it comes from the node's own page, or with a token.

    Raises
    ------
    FormForged
    """
    if request.method in SAFE_METHODS or bearer(request):
        return
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise _forged()
    if not (cookie(request, SESSION) or cookie(request, VISIT)):
        raise SignInNeeded("Nobody is signed in. Sign in and try again, or send a token.")
    given = request.headers.get(FORM_HEADER) or await _field(request)
    if not hmac.compare_digest(given.encode(), form_mark(request).encode()):
        raise _forged()


async def _field(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return ""
    value = (await request.form()).get(FORM_FIELD, "")
    return value if isinstance(value, str) else ""


def _forged() -> FormForged:
    return FormForged(
        "This change was not asked for by the node's own page, or the page is older than your "
        "session. Load the page again and repeat it."
    )
