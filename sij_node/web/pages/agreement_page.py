"""The agreement page: how often readers accept the calls of the networks."""

from fastapi import APIRouter, Request, Response

from sij_node.web.current_user import TheAdmin, Viewer
from sij_node.web.templating import page
from sij_node.web.view_models.agreement_view import agreement_page

router = APIRouter(prefix="/agreement")


@router.get("")
def agreement(request: Request, person: Viewer, admin: TheAdmin) -> Response:
    """Agreement by lesion, sender, reader, weights and month."""
    shown = agreement_page(admin.judged_sites())
    return page(request, "agreement.html", person=person, shown=shown)
