"""The pages that people see, one module per topic."""

from fastapi import APIRouter

from sij_node.web.pages import charts, health, peers, queue, study
from sij_node.web.pages import rule_tester as rules

router = APIRouter(include_in_schema=False)
for topic in (queue, study, peers, rules, health, charts):
    router.include_router(topic.router)

TAKES_FILES: tuple[str, ...] = ("/rules",)
"""Paths whose forms carry files; others take small bodies only."""
