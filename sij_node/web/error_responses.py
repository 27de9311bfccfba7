"""Error responses: a page in the browser, problem details in the API.

Source: RFC 9457, Problem Details for HTTP APIs.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from sij_node.errors import (
    AccountUnusable,
    ConfigurationInvalid,
    FormForged,
    IllegalStep,
    ImagesCleared,
    InputRejected,
    LeaseLost,
    NodeError,
    RequestMalformed,
    ResultUnknown,
    RoleTooLow,
    SignInFailed,
    SignInNeeded,
    SignInThrottled,
    TemporarilyUnavailable,
    UnknownJob,
    UnknownName,
    UnknownUser,
)
from sij_node.web.security_middleware import protect
from sij_node.web.templating import page

log = structlog.get_logger()

API = ("/api/", "/dicom-web/")
STATUSES: Mapping[type[NodeError], int] = {
    SignInNeeded: 401,
    SignInFailed: 401,
    FormForged: 403,
    RoleTooLow: 403,
    RequestMalformed: 400,
    UnknownJob: 404,
    UnknownUser: 404,
    UnknownName: 404,
    ResultUnknown: 404,
    ImagesCleared: 410,
    IllegalStep: 409,
    LeaseLost: 409,
    AccountUnusable: 422,
    InputRejected: 422,
    ConfigurationInvalid: 422,
    SignInThrottled: 429,
    TemporarilyUnavailable: 503,
    NodeError: 500,
}
"""The first match applies: special errors come before their families."""


class Problem(BaseModel):
    """Problem details, with the recommended action."""

    type: str
    title: str
    status: int
    detail: str
    instance: str


def status_of(error: NodeError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def explain_errors(app: FastAPI) -> None:
    """Register handlers for every error of an application."""
    app.add_exception_handler(NodeError, _node_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)


def _node_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, NodeError):
        return _fault(request, error)
    status = status_of(error)
    if isinstance(error, TemporarilyUnavailable):
        log.warning("request failed", status=status, reason=str(error))
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", status=status, exc_info=error)
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, SignInThrottled):
        headers["retry-after"] = str(int(error.wait_s) + 1)
    if request.headers.get("hx-request") and isinstance(error, SignInNeeded):
        headers["hx-redirect"] = "/login"
    return answer(request, status, type(error).__name__, str(error), headers)


def _invalid(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    problems = "; ".join(f"{_place(problem['loc'])}: {problem['msg']}" for problem in found)
    return answer(request, 422, "RequestInvalid", f"Invalid request. {problems}.", {})


def _place(location: tuple[int | str, ...]) -> str:
    return " ".join(str(part) for part in location[:3])[:80]


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _fault(request, error)
    name = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    detail = _DETAILS.get(error.status_code, str(error.detail))
    return answer(request, error.status_code, name, detail, error.headers)


_DETAILS = {
    404: "Page not found. Check the URL, or go to the queue.",
    405: "This URL does not support this request method.",
}


def _fault(request: Request, error: Exception) -> Response:
    """For unexpected errors; it bypasses `Guard`, so the headers are set here."""
    log.error("request failed", status=500, exc_info=error)
    detail = "Internal error. Report it with the log from around this time."
    response = answer(request, 500, "InternalFault", detail, {})
    request.scope.setdefault("state", {}).setdefault("nonce", "none")
    protect(MutableHeaders(raw=response.raw_headers), request.scope)
    return response


def answer(
    request: Request, status: int, name: str, detail: str, headers: Mapping[str, str] | None
) -> Response:
    """An error as a page, or as problem details below ``/api/``."""
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()
    kind = f"urn:sij-node:{title.lower().replace(' ', '-')}"
    problem = Problem(
        type=kind, title=title, status=status, detail=detail, instance=request.url.path
    )
    if request.url.path.startswith(API):
        return JSONResponse(
            problem.model_dump(), status, headers, media_type="application/problem+json"
        )
    template = "login.html" if status == HTTPStatus.UNAUTHORIZED else "error.html"
    onward = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    shown = page(request, template, status, title=title, problem=detail, onward=onward)
    shown.headers.update(headers or {})
    return shown
