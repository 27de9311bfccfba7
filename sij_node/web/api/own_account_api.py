"""The current user and their API tokens."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from sij_node.config.user_roles import Role
from sij_node.domain.users import CurrentUser, Token
from sij_node.errors import RoleTooLow, UnknownName
from sij_node.web.api.parameters import JobNumber, Line, RequestBody
from sij_node.web.api.responses import NewToken
from sij_node.web.current_user import Viewer
from sij_node.web.dependencies import TheParts

router = APIRouter(prefix="/me", tags=["tokens"])


class TokenBody(RequestBody):
    """A new API token."""

    label: Annotated[Line, Field(min_length=1, max_length=100)]
    role: Role = Role.VIEWER
    days: Annotated[int, Field(ge=1, le=366, description="Valid for this many days.")] = 90


def in_person(person: Viewer) -> CurrentUser:
    """A user signed in on the page: a token must not create tokens that outlive it."""
    if person.token_id is not None:
        raise RoleTooLow(
            "A token cannot create or revoke tokens. Sign in on the page and do it there."
        )
    return person


InPerson = Annotated[CurrentUser, Depends(in_person)]


@router.get("")
def me(person: Viewer) -> CurrentUser:
    """The current user and role."""
    return person


@router.get("/tokens")
def tokens(person: Viewer, parts: TheParts) -> list[Token]:
    """Your tokens, newest first."""
    return list(parts.access.tokens(person))


@router.post("/tokens", status_code=201)
def add_token(person: InPerson, parts: TheParts, body: TokenBody) -> NewToken:
    """Create a token; its secret is shown only once."""
    lasts = timedelta(days=body.days)
    token, secret = parts.access.add_token(person, body.label, body.role, lasts)
    return NewToken(**vars(token), secret=secret)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(person: InPerson, parts: TheParts, token_id: JobNumber) -> None:
    """Revoke one of your tokens."""
    if not parts.access.revoke_token(person, token_id):
        raise UnknownName(f"You have no valid token {token_id}.")
