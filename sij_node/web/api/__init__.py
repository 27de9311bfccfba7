"""The HTTP API under /api/v1: the queries and actions of the pages, for programs.

Programs send a token as ``Authorization: Bearer``. A signed-in browser may call it too, and sends
its form token as ``X-CSRF-Token`` with every request that changes something.
"""

from fastapi import APIRouter

from sij_node.web.api import (
    export_api,
    jobs_api,
    node_status_api,
    openapi_document,
    own_account_api,
    peers_api,
)

router = APIRouter(prefix="/api/v1")
for module in (jobs_api, export_api, peers_api, node_status_api, own_account_api, openapi_document):
    router.include_router(module.router)
