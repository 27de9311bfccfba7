"""The health page."""

from typing import Any

from fastapi import APIRouter, Request, Response

from sij_node.domain.users import CurrentUser
from sij_node.web.current_user import PollingViewer, Viewer
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.pages.live_updates import full_page, live_fragment
from sij_node.web.view_models.health_view import health_page

router = APIRouter(prefix="/health")


@router.get("")
def health(request: Request, person: Viewer, parts: TheParts) -> Response:
    """Every component of the node with its status."""
    return full_page(request, "health.html", "health_live.html", person, **_content(parts, person))


@router.get("/now")
def health_now(request: Request, person: PollingViewer, parts: TheParts) -> Response:
    """The live part of the page."""
    return live_fragment(request, "health_live.html", person, **_content(parts, person))


def _content(parts: Parts, person: CurrentUser) -> dict[str, Any]:
    admin = parts.admin_for(person)
    report = admin.health()
    kind = "PostgreSQL" if "postgresql" in parts.config.database_url else "SQLite"
    return {
        "shown": health_page(
            report,
            parts.config.health.heartbeat_timeout_s,
            None if report.facts.database_error else admin.oldest_unfinished(),
            kind,
            parts.clock(),
        )
    }
