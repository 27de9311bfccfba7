"""The pages that people see, a module for each topic; what they show is in `sij_node.web.shown`."""

from fastapi import APIRouter

from sij_node.web.pages import charts, health, peers, queue, rules, study

router = APIRouter(include_in_schema=False)
for topic in (queue, study, peers, rules, health, charts):
    router.include_router(topic.router)

TAKES_FILES: tuple[str, ...] = ("/rules",)
"""Paths whose forms carry files; others take small bodies only."""
