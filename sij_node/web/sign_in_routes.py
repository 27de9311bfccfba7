"""Sign-in, sign-out, and setting a password by invitation."""

import hmac
import re
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from sij_node.domain.keyed_hash import keyed_hash
from sij_node.domain.users import checked_name, new_secret
from sij_node.errors import AccountUnusable, SignInFailed, SignInThrottled
from sij_node.web.cookies import DEVICE, SESSION, VISIT, cookie, drop_cookie, set_cookie
from sij_node.web.current_user import OptionalUser, address_of
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.error_responses import status_of
from sij_node.web.templating import page

router = APIRouter(include_in_schema=False)

DEVICE_KNOWN_FOR = timedelta(days=180)
_OWN_PATH = re.compile(r"/(?![/\\])[!-~]*")
Text = Annotated[str, Form(max_length=1024)]


@router.get("/login")
def show_login(request: Request, person: OptionalUser, onward: str = "/") -> Response:
    """The sign-in form."""
    if person is not None:
        return _to(own_path(onward))
    return page(request, "login.html", problem="", onward=own_path(onward))


@router.post("/login")
def sign_in(
    request: Request, parts: TheParts, name: Text = "", password: Text = "", onward: Text = "/"
) -> Response:
    """Open a session; a previous one in this browser ends."""
    device = _known_device(request, parts, name)
    try:
        secret = parts.access.sign_in(name, password, address_of(request), device)
    except (SignInFailed, SignInThrottled) as error:
        shown = page(
            request, "login.html", status_of(error), problem=str(error), onward=own_path(onward)
        )
        if isinstance(error, SignInThrottled):
            shown.headers["retry-after"] = str(int(error.wait_s) + 1)
        return shown
    response = signed_in(request, parts, secret, own_path(onward))
    remember_device(request, parts, response, checked_name(name))
    return response


@router.post("/logout")
def sign_out(request: Request, parts: TheParts) -> Response:
    """End this browser's session."""
    parts.access.sign_out(cookie(request, SESSION), address_of(request))
    response = _to("/login")
    drop_cookie(request, response, SESSION)
    drop_cookie(request, response, VISIT)
    return response


@router.get("/welcome/{secret}")
def show_invitation(request: Request, parts: TheParts, secret: str) -> Response:
    """The form to set a password."""
    user = parts.access.invited(secret)
    return page(request, "welcome.html", problem="", name=user.name)


@router.post("/welcome/{secret}")
def accept_invitation(
    request: Request, parts: TheParts, secret: str, password: Text = ""
) -> Response:
    """Set a password and sign in."""
    user = parts.access.invited(secret)
    try:
        session = parts.access.accept_invitation(secret, password, address_of(request))
    except AccountUnusable as error:
        return page(request, "welcome.html", status_of(error), problem=str(error), name=user.name)
    response = signed_in(request, parts, session, "/")
    remember_device(request, parts, response, user.name)
    return response


def signed_in(request: Request, parts: Parts, secret: str, onward: str) -> Response:
    """Redirect with a new session cookie."""
    before = cookie(request, SESSION)
    if before:
        parts.access.sign_out(before, address_of(request))
    response = _to(onward)
    set_cookie(request, response, SESSION, secret)
    drop_cookie(request, response, VISIT)
    return response


def own_path(text: str) -> str:
    """The path to redirect to; the start page for anything outside this node."""
    return text if _OWN_PATH.fullmatch(text) else "/"


def remember_device(request: Request, parts: Parts, response: Response, name: str) -> None:
    """Remember this browser as one from which a user has signed in."""
    number = new_secret()
    mark = keyed_hash(parts.key, "device", name, number)
    set_cookie(request, response, DEVICE, f"{number}.{mark}", DEVICE_KNOWN_FOR)


def _known_device(request: Request, parts: Parts, name: str) -> str:
    number, _, mark = cookie(request, DEVICE).partition(".")
    expected = keyed_hash(parts.key, "device", name.strip().lower(), number)
    return number if hmac.compare_digest(mark.encode(), expected.encode()) else ""


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)
