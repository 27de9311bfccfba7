"""The OpenAPI document of the API."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse

from sij_node import __version__
from sij_node.web.current_user import Viewer
from sij_node.web.error_responses import Problem

router = APIRouter(include_in_schema=False)

_ABOUT = (
    "Query and control the jobs of a node. Errors are problem details (RFC 9457) with the "
    "recommended action. Trained on phantoms, not for clinical use."
)
_OPEN = ("/live", "/ready")
_PROBLEM: dict[str, Any] = {
    "description": "The problem, and the recommended action.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


@router.get("/openapi.json")
def openapi(request: Request, person: Viewer) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(described(request.app))


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application, with its probes."""
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
    """An operation with the same response for every error."""
    answers = {status: said for status, said in operation["responses"].items() if status != "422"}
    if path in _OPEN:
        return {**operation, "responses": {**answers, "503": _PROBLEM}}
    return {**operation, "responses": {**answers, "default": _PROBLEM}, "security": [{"token": []}]}
