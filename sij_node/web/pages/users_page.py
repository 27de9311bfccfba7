"""The pages about users, and about one's own API tokens."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from sij_node.config.user_roles import Role
from sij_node.domain.users import CurrentUser
from sij_node.errors import AccountUnusable, RoleTooLow
from sij_node.web.api.own_account_api import InPerson
from sij_node.web.api.parameters import JobNumber, Line
from sij_node.web.current_user import Administrator, Viewer
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.error_responses import status_of
from sij_node.web.templating import page

router = APIRouter(include_in_schema=False)

TOKEN_DAYS: Mapping[int, str] = MappingProxyType(
    {7: "7 days", 30: "30 days", 90: "90 days", 365: "1 year"}
)
Name = Annotated[str, Form(max_length=200)]
ChosenRole = Annotated[Role, Form()]


@router.get("/users")
def users(request: Request, person: Administrator, parts: TheParts) -> Response:
    """All users."""
    return _users(request, person, parts)


@router.post("/users")
def add_user(
    request: Request, person: Administrator, parts: TheParts, role: ChosenRole, name: Name = ""
) -> Response:
    """Add a user, and show the invitation link to set a password."""
    try:
        secret = parts.access.add(name, role, person.name)
    except AccountUnusable as error:
        return _users(request, person, parts, problem=error)
    return _users(request, person, parts, name=name.strip().lower(), secret=secret)


@router.post("/users/{name}/invite")
def invite_again(request: Request, person: Administrator, parts: TheParts, name: str) -> Response:
    """Show a new invitation link."""
    secret = parts.access.invite_again(name, person.name)
    return _users(request, person, parts, name=name, secret=secret)


@router.post("/users/{name}/role")
def set_role(person: Administrator, parts: TheParts, name: str, role: ChosenRole) -> Response:
    """Change a user's role."""
    parts.access.set_role(name, role, person.name)
    return RedirectResponse("/users", 303)


@router.post("/users/{name}/disable")
def disable(person: Administrator, parts: TheParts, name: str) -> Response:
    """Disable a user at once."""
    parts.access.disable(name, person.name)
    return RedirectResponse("/users", 303)


@router.post("/users/{name}/enable")
def enable(person: Administrator, parts: TheParts, name: str) -> Response:
    """Enable a user again."""
    parts.access.enable(name, person.name)
    return RedirectResponse("/users", 303)


@router.get("/account")
def account(request: Request, person: Viewer, parts: TheParts) -> Response:
    """One's own API tokens."""
    return _account(request, person, parts)


@router.post("/account/tokens")
def add_token(
    request: Request,
    person: InPerson,
    parts: TheParts,
    label: Annotated[Line, Form(min_length=1)],
    role: ChosenRole,
    days: Annotated[int, Form(ge=1, le=366)] = 90,
) -> Response:
    """Create a token, and show its secret once."""
    try:
        _, secret = parts.access.add_token(person, label, role, timedelta(days=days))
    except RoleTooLow as error:
        return _account(request, person, parts, problem=error)
    return _account(request, person, parts, secret=secret)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(person: InPerson, parts: TheParts, token_id: JobNumber) -> Response:
    """Revoke a token."""
    parts.access.revoke_token(person, token_id)
    return RedirectResponse("/account", 303)


def _users(
    request: Request,
    person: CurrentUser,
    parts: Parts,
    name: str = "",
    secret: str = "",
    problem: AccountUnusable | None = None,
) -> Response:
    return page(
        request,
        "users.html",
        200 if problem is None else status_of(problem),
        person=person,
        users=parts.access.users(),
        roles=tuple(Role),
        name=name,
        link=f"{request.base_url}welcome/{secret}" if secret else "",
        problem="" if problem is None else str(problem),
    )


def _account(
    request: Request,
    person: CurrentUser,
    parts: Parts,
    secret: str = "",
    problem: RoleTooLow | None = None,
) -> Response:
    return page(
        request,
        "account.html",
        200 if problem is None else status_of(problem),
        person=person,
        tokens=parts.access.tokens(person),
        roles=[role for role in Role if person.role.includes(role)],
        days=TOKEN_DAYS,
        now=parts.clock(),
        secret=secret,
        problem="" if problem is None else str(problem),
    )
