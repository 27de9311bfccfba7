"""Liveness and readiness probes; they reveal nothing private."""

from typing import Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter
from pydantic import BaseModel

from sij_node.audit.messages import HumanUser
from sij_node.web.dependencies import TheParts

PROBE_THREADS = CapacityLimiter(2)
"""Threads of the probes, so that they need not wait for those of pages and sign-in."""
router = APIRouter(tags=["probes"])


class Probe(BaseModel):
    """The response of a probe."""

    status: Literal["ok"] = "ok"


@router.get("/live")
async def live() -> Probe:
    """Liveness: the process responds."""
    return Probe()


@router.get("/ready")
async def ready(parts: TheParts) -> Probe:
    """Readiness: database and spool are available; otherwise 503."""
    await run_sync(parts.admin(HumanUser("probe")).check_ready, limiter=PROBE_THREADS)
    return Probe()
