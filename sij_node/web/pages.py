"""The pages that people see."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from sij_node.web.templating import page
from sij_node.web.visitor import TheAdmin, Viewer

router = APIRouter(include_in_schema=False)
TAKES_FILES: tuple[str, ...] = ()
"""Paths whose forms carry files; others take small bodies only."""


@router.get("/", response_class=HTMLResponse)
def queue(request: Request, person: Viewer, admin: TheAdmin) -> HTMLResponse:
    """How many jobs are where."""
    return page(request, "queue.html", person=person, counts=admin.counts())
