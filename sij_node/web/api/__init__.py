"""The HTTP API under /api/v1: the same questions and actions as on the page, for programs."""

from fastapi import APIRouter

router = APIRouter(prefix="/api/v1")
