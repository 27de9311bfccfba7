"""Live pages: they poll the node and are replaced only where something changed."""

import hashlib
from typing import Any

from fastapi import Request, Response
from markupsafe import Markup

from sij_node.domain.users import CurrentUser
from sij_node.web.templating import page, rendered

_DIGEST = "{digest}"


def full_page(
    request: Request, template: str, fragment: str, person: CurrentUser, **content: Any
) -> Response:
    """A page around a fragment that it polls for."""
    live = _live(request, fragment, person, content)
    return page(request, template, person=person, live=live, **content)


def live_fragment(request: Request, fragment: str, person: CurrentUser, **content: Any) -> Response:
    """The fragment; 204 if the browser shows the same already."""
    live = _live(request, fragment, person, content)
    if _digest_of(live) == request.headers.get("x-shown"):
        return Response(status_code=204)
    return Response(live, media_type="text/html")


def _live(request: Request, fragment: str, person: CurrentUser, content: dict[str, Any]) -> Markup:
    """The fragment, with its own digest in place of the placeholder."""
    html = rendered(request, fragment, person, digest=_DIGEST, **content)
    return Markup(html.replace(_DIGEST, _sha256(html), 1))  # noqa: S704 - from a template


def _digest_of(live: Markup) -> str:
    begin = live.find('"X-Shown": "') + len('"X-Shown": "')
    return str(live[begin : begin + 64])


def _sha256(html: str) -> str:
    return hashlib.sha256(html.encode()).hexdigest()
