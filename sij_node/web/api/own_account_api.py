"""Who is asking, and the tokens of their programs."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from sij_node.config.roles import Role
from sij_node.domain.users import CurrentUser
from sij_node.errors import RoleTooLow, UnknownName
from sij_node.web.api.parameters import Asked, JobNumber, Line
from sij_node.web.api.responses import MeAnswer, NewTokenAnswer, TokenAnswer
from sij_node.web.current_user import Viewer
from sij_node.web.dependencies import TheParts

router = APIRouter(prefix="/me", tags=["tokens"])


class TokenAsked(Asked):
    """What a program is to be let in for."""

    label: Annotated[Line, Field(min_length=1, max_length=100)]
    role: Role = Role.VIEWER
    days: Annotated[int, Field(ge=1, le=366, description="After these it ends.")] = 90


def in_person(person: Viewer) -> CurrentUser:
    """Somebody who has signed in themselves: a token must not make others that outlive it."""
    if person.token_id is not None:
        raise RoleTooLow(
            "A token cannot make or revoke tokens. Sign in on the page and do it there."
        )
    return person


InPerson = Annotated[CurrentUser, Depends(in_person)]


@router.get("")
def me(person: Viewer) -> MeAnswer:
    """Who is asking, and as what."""
    return MeAnswer.model_validate(person)


@router.get("/tokens")
def tokens(person: Viewer, parts: TheParts) -> list[TokenAnswer]:
    """Your tokens, the newest first."""
    return [TokenAnswer.model_validate(one) for one in parts.access.tokens(person)]


@router.post("/tokens", status_code=201)
def add_token(person: InPerson, parts: TheParts, asked: TokenAsked) -> NewTokenAnswer:
    """A token for a program of yours; its secret is shown this once."""
    lasts = timedelta(days=asked.days)
    token, secret = parts.access.add_token(person, asked.label, asked.role, lasts)
    return NewTokenAnswer(**TokenAnswer.model_validate(token).model_dump(), secret=secret)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(person: InPerson, parts: TheParts, token_id: JobNumber) -> None:
    """End a token of yours at once."""
    if not parts.access.revoke_token(person, token_id):
        raise UnknownName(f"You have no token {token_id} that still opens anything.")
