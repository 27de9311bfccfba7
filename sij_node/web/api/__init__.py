"""The HTTP API under /api/v1: the same questions and actions as on the page, for programs.

Programs send a token as ``Authorization: Bearer``; a browser that is signed in may ask too, and
sends its form's mark as ``X-Form-Mark`` with whatever changes something.
"""

from fastapi import APIRouter

from sij_node.web.api import description, jobs, me, peers, standing

router = APIRouter(prefix="/api/v1")
for topic in (jobs, peers, standing, me, description):
    router.include_router(topic.router)
