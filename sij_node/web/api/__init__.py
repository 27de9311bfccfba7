"""The HTTP API under /api/v1: the same questions and actions as on the page, for programs.

Programs send a token as ``Authorization: Bearer``; a browser that is signed in may ask too, and
sends its form's mark as ``X-Form-Mark`` with whatever changes something.
"""

from fastapi import APIRouter

from sij_node.web.api import jobs, peers
from sij_node.web.api import node_status as standing
from sij_node.web.api import openapi_document as description
from sij_node.web.api import own_account as me

router = APIRouter(prefix="/api/v1")
for topic in (jobs, peers, standing, me, description):
    router.include_router(topic.router)
