"""The rules page: how the node would treat an uploaded image."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from starlette.formparsers import MultiPartParser

from sij_node.config.settings import PeerConfig
from sij_node.dicom.uploaded_file import uploaded_header
from sij_node.domain.users import CurrentUser
from sij_node.errors import DatasetUnreadable
from sij_node.receive.association import TRANSFER_SYNTAXES
from sij_node.web.current_user import Viewer
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.templating import page
from sij_node.web.view_models.rule_tester_view import Ruling, ruling

router = APIRouter(prefix="/rules")

MultiPartParser.spool_max_size = 1 << 30
"""Uploads stay in memory, whatever their size; `Guard` limits it."""


@router.get("")
def rules(request: Request, person: Viewer, parts: TheParts) -> Response:
    """The form."""
    return _shown(request, person, parts, parts.config.peer[0])


@router.post("")
def try_rules(
    request: Request,
    person: Viewer,
    parts: TheParts,
    file: Annotated[UploadFile, File()],
    peer: Annotated[str, Form(max_length=16)] = "",
) -> Response:
    """How the node would treat a file; nothing of it is stored."""
    sender = parts.config.peer_titled(peer) or parts.config.peer[0]
    try:
        header = uploaded_header(
            file.file.read(), TRANSFER_SYNTAXES, parts.config.listener.max_nesting
        )
    except DatasetUnreadable as error:
        return _shown(request, person, parts, sender, problem=str(error))
    return _shown(request, person, parts, sender, ruling(header, sender, parts.config))


def _shown(
    request: Request,
    person: CurrentUser,
    parts: Parts,
    sender: PeerConfig,
    shown: Ruling | None = None,
    problem: str = "",
) -> Response:
    return page(
        request,
        "rules.html",
        422 if problem else 200,
        person=person,
        shown=shown,
        problem=problem,
        peer=sender.ae_title,
        peers=[one.ae_title for one in parts.config.peer],
        max_mb=parts.config.web.max_upload_mb,
    )
