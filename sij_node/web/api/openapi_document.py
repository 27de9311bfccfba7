"""The API's description of itself, for programs that read OpenAPI."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse

from sij_node import __version__
from sij_node.web.current_user import Viewer
from sij_node.web.error_responses import Problem

router = APIRouter(include_in_schema=False)

_ABOUT = (
    "Questions and actions on the jobs of a node. Every error is a problem as in RFC 9457: what, "
    "which, what was needed and what to do. Trained on phantoms, not for clinical use."
)
_OPEN = ("/live", "/ready")
_PROBLEM: dict[str, Any] = {
    "description": "Why not, and what to do.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


@router.get("/openapi.json")
def openapi(request: Request, person: Viewer) -> JSONResponse:
    """The description."""
    return JSONResponse(described(request.app))


def described(app: FastAPI) -> dict[str, Any]:
    """The description of an application's API, with its probes."""
    whole = get_openapi(
        title="sij_node", version=__version__, description=_ABOUT, routes=app.routes
    )
    whole["paths"] = {
        path: {method: _with_problems(path, said) for method, said in methods.items()}
        for path, methods in whole["paths"].items()
        if path.startswith("/api/") or path in _OPEN
    }
    components = whole["components"]
    components["schemas"]["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return whole


def _with_problems(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """An operation that answers every error in the same way."""
    answers = {status: said for status, said in operation["responses"].items() if status != "422"}
    if path in _OPEN:
        return {**operation, "responses": {**answers, "503": _PROBLEM}}
    return {**operation, "responses": {**answers, "default": _PROBLEM}, "security": [{"token": []}]}
