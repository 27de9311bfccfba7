"""Liveness and readiness probes; they reveal nothing private."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from sij_node.audit.messages import HumanUser
from sij_node.web.dependencies import TheParts

router = APIRouter(tags=["probes"])


class Probe(BaseModel):
    """The response of a probe."""

    status: Literal["ok"] = "ok"


@router.get("/live")
async def live() -> Probe:
    """Liveness: the process responds."""
    return Probe()


@router.get("/ready")
def ready(parts: TheParts) -> Probe:
    """Readiness: database and spool are available; otherwise 503."""
    parts.admin(HumanUser("probe")).check_ready()
    return Probe()
