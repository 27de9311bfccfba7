"""How the node stands: its health, what it refused, and what people changed."""

from typing import Annotated

from fastapi import APIRouter, Query

from sij_node.domain.health import worst
from sij_node.web.api.parameters import Limit, Line
from sij_node.web.api.responses import ChangeAnswer, ConditionAnswer, HealthAnswer, RefusalAnswer
from sij_node.web.current_user import Operator, TheAdmin, Viewer

router = APIRouter(tags=["node"])


@router.get("/health")
def health(person: Viewer, admin: TheAdmin) -> HealthAnswer:
    """Every part of the node with its verdict, and what to do."""
    conditions = admin.health().conditions
    return HealthAnswer(
        verdict=worst(conditions),
        conditions=[ConditionAnswer.model_validate(one) for one in conditions],
    )


@router.get("/refusals")
def refusals(person: Viewer, admin: TheAdmin, limit: Limit = 50) -> list[RefusalAnswer]:
    """The newest objects and associations that were not accepted, and why."""
    return [RefusalAnswer.model_validate(one) for one in admin.refusals(limit)]


@router.get("/changes")
def changes(
    person: Operator,
    admin: TheAdmin,
    who: Annotated[Line, Query(description="Only what this person did.")] = "",
    limit: Limit = 50,
) -> list[ChangeAnswer]:
    """The newest changes that people made, what they looked up and what they took out."""
    return [ChangeAnswer.model_validate(one) for one in admin.changes(limit, who)]
