"""Whether the node lives, and whether it is ready to work; for machines, and nothing private."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from sij_node.audit.messages import HumanUser
from sij_node.web.dependencies import TheParts

router = APIRouter(tags=["probes"])


class Probe(BaseModel):
    """What a probe answers."""

    status: Literal["ok"] = "ok"


@router.get("/live")
async def live() -> Probe:
    """The process answers."""
    return Probe()


@router.get("/ready")
def ready(parts: TheParts) -> Probe:
    """The database answers and the spool can be read; else 503."""
    parts.admin(HumanUser("probe")).check_ready()
    return Probe()
