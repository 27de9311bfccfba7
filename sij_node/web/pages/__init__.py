"""The web pages, one module per page."""

from fastapi import APIRouter

from sij_node.web.pages import (
    agreement_page,
    charts_page,
    health_page,
    peers_page,
    queue_page,
    rule_tester_page,
    study_page,
    users_page,
)

router = APIRouter(include_in_schema=False)
for page in (
    queue_page,
    study_page,
    peers_page,
    rule_tester_page,
    health_page,
    charts_page,
    agreement_page,
    users_page,
):
    router.include_router(page.router)

ACCEPTS_FILES: tuple[str, ...] = ("/rules",)
"""Paths whose forms upload files; all others accept small bodies only."""
