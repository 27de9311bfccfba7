"""The route that receives studies by STOW-RS (PS3.18 10.5), with the API token of a peer's user."""

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from sij_node.config.settings import Config
from sij_node.domain.users import CurrentUser
from sij_node.errors import RoleTooLow, SignInNeeded
from sij_node.network.association_summary import CallingPeer
from sij_node.receive.association import is_in
from sij_node.receive.stow_rs import DICOM_JSON, StowReception
from sij_node.web.current_user import OptionalUser, bearer
from sij_node.web.http_server import STUDIES

_PIECE_BYTES = 1 << 20


def stow_router(config: Config, reception: StowReception) -> APIRouter:
    """The route /dicom-web/studies."""
    router = APIRouter(tags=["dicomweb"])

    @router.post(STUDIES)
    async def store(request: Request, person: OptionalUser) -> JSONResponse:
        """Store instances: multipart/related, one DICOM file in each part."""
        caller = _caller(config, request, person, reception)
        content_type = request.headers.get("content-type", "")
        with await run_in_threadpool(reception.body) as body:
            await _receive(request, body.write)
            answer = await run_in_threadpool(reception.store, body, content_type, caller)
        return JSONResponse(answer.dataset, answer.status, media_type=DICOM_JSON)

    return router


def _caller(
    config: Config, request: Request, person: CurrentUser | None, reception: StowReception
) -> CallingPeer:
    """The peer that stores, if its user and its address are as configured."""
    if person is None or not bearer(request):
        raise SignInNeeded("Storing needs an API token in the Authorization header.")
    peer = config.peer_storing_as(person.name)
    caller = CallingPeer(peer.ae_title if peer else "", person.address)
    if peer is None:
        problem = f"no [[peer]] in config.toml has stow_user = {person.name}"
    elif not is_in(person.address, peer.networks):
        problem = f"the address is not in the networks of [[peer]] {peer.ae_title}"
    else:
        return caller
    reception.service.report_rejection(caller, f"STOW-RS request refused: {problem}")
    raise RoleTooLow(f"Storing is not allowed: {problem}.")


async def _receive(request: Request, write: Callable[[bytearray], None]) -> None:
    """Write a body in large pieces."""
    held = bytearray()
    async for piece in request.stream():
        held += piece
        if len(held) >= _PIECE_BYTES:
            await run_in_threadpool(write, held)
            held = bytearray()
    await run_in_threadpool(write, held)
