"""Peers: when each was last heard of, whether it answers, and whether anything is sent to it."""

from fastapi import APIRouter

from sij_node.operate.admin import Admin, DestinationStatus
from sij_node.web.api.parameters import HoldAsked, Title
from sij_node.web.api.responses import DestinationAnswer, EchoAnswer, JobAnswer, PeerAnswer
from sij_node.web.current_user import Operator, TheAdmin, Viewer

router = APIRouter(prefix="/peers", tags=["peers"])


@router.get("")
def peers(person: Viewer, admin: TheAdmin) -> list[PeerAnswer]:
    """Every peer that config.toml names."""
    return [PeerAnswer.of(peer) for peer in admin.peers() if peer.config is not None]


@router.post("/{ae_title}/echo")
def echo(person: Operator, admin: TheAdmin, ae_title: Title) -> EchoAnswer:
    """Send a C-ECHO to a peer now, and wait for its answer."""
    error = admin.echo(ae_title)
    return EchoAnswer(answered=not error, words=error or f"{ae_title} answered the C-ECHO.")


@router.post("/{ae_title}/hold")
def hold(person: Operator, admin: TheAdmin, ae_title: Title, asked: HoldAsked) -> DestinationAnswer:
    """Send nothing to a destination until it is released; what is for it waits."""
    admin.hold(ae_title, asked.reason)
    return _standing(admin, ae_title)


@router.post("/{ae_title}/release")
def release(person: Operator, admin: TheAdmin, ae_title: Title) -> DestinationAnswer:
    """Send to a destination again."""
    admin.release_hold(ae_title)
    return _standing(admin, ae_title)


@router.post("/{ae_title}/send-kept-back")
def send_kept_back(person: Operator, admin: TheAdmin, ae_title: Title) -> list[JobAnswer]:
    """Send what was kept back in shadow mode: the newest results of each study."""
    return [JobAnswer.of(job) for job in admin.send_kept_back(ae_title)]


def _standing(admin: Admin, ae_title: str) -> DestinationAnswer:
    found: DestinationStatus = next(one for one in admin.destinations() if one.ae_title == ae_title)
    return DestinationAnswer(
        ae_title=ae_title,
        waiting=found.waiting,
        kept_back=found.kept_back,
        remarks=list(found.remarks),
    )
