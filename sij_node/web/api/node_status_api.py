"""Status of the node: health, recent rejections and the change log."""

from typing import Annotated

from fastapi import APIRouter, Query

from sij_node.domain.health import worst
from sij_node.domain.study import Refusal
from sij_node.domain.users import AdminChange
from sij_node.web.api.parameters import Limit, Line
from sij_node.web.api.responses import HealthResponse
from sij_node.web.current_user import Operator, TheAdmin, Viewer

router = APIRouter(tags=["node"])


@router.get("/health")
def health(person: Viewer, admin: TheAdmin) -> HealthResponse:
    """Every component with its status and the recommended action."""
    conditions = admin.health().conditions
    return HealthResponse(status=worst(conditions), conditions=list(conditions))


@router.get("/refusals")
def refusals(person: Viewer, admin: TheAdmin, limit: Limit = 50) -> list[Refusal]:
    """The most recently rejected objects and associations, and why."""
    return list(admin.refusals(limit))


@router.get("/changes")
def changes(
    person: Operator,
    admin: TheAdmin,
    who: Annotated[Line, Query(description="Only by this user.")] = "",
    limit: Limit = 50,
) -> list[AdminChange]:
    """The most recent changes, patient searches, views and downloads."""
    return list(admin.changes(limit, who))
