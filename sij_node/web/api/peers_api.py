"""Peers: activity, C-ECHO, holding and releasing."""

from fastapi import APIRouter

from sij_node.config.settings import PeerConfig
from sij_node.operate.admin import Admin
from sij_node.web.api.parameters import HoldBody, Title
from sij_node.web.api.responses import DestinationResponse, EchoResponse, JobResponse, PeerResponse
from sij_node.web.current_user import Operator, TheAdmin, Viewer

router = APIRouter(prefix="/peers", tags=["peers"])


@router.get("")
def peers(person: Viewer, admin: TheAdmin) -> list[PeerResponse]:
    """Every peer in config.toml."""
    return [PeerResponse.of(peer) for peer in admin.peers() if isinstance(peer.config, PeerConfig)]


@router.post("/{ae_title}/echo")
def echo(person: Operator, admin: TheAdmin, ae_title: Title) -> EchoResponse:
    """Test the connection to a peer, by C-ECHO, or to a destination; wait for the response."""
    error = admin.echo(ae_title)
    return EchoResponse(answered=not error, words=error or f"{ae_title} responded.")


@router.post("/{ae_title}/hold")
def hold(person: Operator, admin: TheAdmin, ae_title: Title, body: HoldBody) -> DestinationResponse:
    """Hold a destination: results stay pending until it is released."""
    admin.hold(ae_title, body.reason)
    return _status(admin, ae_title)


@router.post("/{ae_title}/release")
def release(person: Operator, admin: TheAdmin, ae_title: Title) -> DestinationResponse:
    """Release a destination."""
    admin.release_hold(ae_title)
    return _status(admin, ae_title)


@router.post("/{ae_title}/send-withheld")
def send_withheld(person: Operator, admin: TheAdmin, ae_title: Title) -> list[JobResponse]:
    """Send results withheld in shadow mode: the newest of each study."""
    return [JobResponse.of(job) for job in admin.send_withheld(ae_title)]


def _status(admin: Admin, ae_title: str) -> DestinationResponse:
    found = next(one for one in admin.destinations() if one.ae_title == ae_title)
    return DestinationResponse.model_validate(found)
