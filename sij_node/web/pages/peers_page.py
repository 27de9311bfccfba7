"""The peers page: status, C-ECHO, holding and releasing."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from starlette.responses import RedirectResponse

from sij_node.config.user_roles import Role
from sij_node.web.current_user import Operator, TheAdmin, Viewer
from sij_node.web.dependencies import TheParts
from sij_node.web.templating import page
from sij_node.web.view_models.display_text import Tone
from sij_node.web.view_models.peers_view import peer_cards

router = APIRouter(prefix="/peers")

REFUSALS = 25
DID = {
    "answered": (Tone.GOOD, "{title} responded."),
    "silent": (Tone.WARN, "{title} did not respond. See its card for the reason."),
    "held": (Tone.GOOD, "{title} held: nothing is sent to it until it is released."),
    "released": (Tone.GOOD, "{title} released: pending results are being sent."),
    "sent": (Tone.GOOD, "Withheld results will be sent to {title}."),
}
"""Shown after an action."""


@router.get("")
def peers(
    request: Request,
    person: Viewer,
    admin: TheAdmin,
    parts: TheParts,
    did: str = "",
    title: str = "",
) -> Response:
    """Every peer with its activity, and recent rejections."""
    tone, words = DID.get(did, (Tone.QUIET, ""))
    return page(
        request,
        "peers.html",
        person=person,
        cards=peer_cards(admin.peers(), admin.health().conditions, parts.clock()),
        refusals=admin.refusals(REFUSALS),
        may_act=person.role.includes(Role.OPERATOR),
        did=words.format(title=title[:16]),
        did_tone=tone,
    )


@router.post("/{title}/echo")
def echo(person: Operator, admin: TheAdmin, title: str) -> Response:
    """Test the connection to a peer or destination."""
    return _back("silent" if admin.echo(title) else "answered", title)


@router.post("/{title}/hold")
def hold(
    person: Operator,
    admin: TheAdmin,
    title: str,
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Hold a destination: nothing is sent to it until it is released."""
    admin.hold(title, reason)
    return _back("held", title)


@router.post("/{title}/release")
def release(person: Operator, admin: TheAdmin, title: str) -> Response:
    """Release a destination."""
    admin.release_hold(title)
    return _back("released", title)


@router.post("/{title}/send-withheld")
def send_withheld(person: Operator, admin: TheAdmin, title: str) -> Response:
    """Send results withheld in shadow mode."""
    admin.send_withheld(title)
    return _back("sent", title)


def _back(did: str, title: str) -> Response:
    return RedirectResponse(f"/peers?did={did}&title={quote(title)}", 303)
