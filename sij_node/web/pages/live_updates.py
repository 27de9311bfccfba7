"""Pages that follow what happens: they ask again by themselves, and change only when it has."""

import hashlib
from typing import Any

from fastapi import Request, Response
from markupsafe import Markup

from sij_node.domain.users import CurrentUser
from sij_node.web.templating import page, rendered

_DIGEST = "{digest}"


def whole(
    request: Request, template: str, piece: str, person: CurrentUser, **content: Any
) -> Response:
    """A page around a piece that it will ask for again."""
    live = _live(request, piece, person, content)
    return page(request, template, person=person, live=live, **content)


def again(request: Request, piece: str, person: CurrentUser, **content: Any) -> Response:
    """The piece alone; 204 where it is the same as the browser shows."""
    live = _live(request, piece, person, content)
    if _digest_of(live) == request.headers.get("x-shown"):
        return Response(status_code=204)
    return Response(live, media_type="text/html")


def _live(request: Request, piece: str, person: CurrentUser, content: dict[str, Any]) -> Markup:
    """The piece, with a digest of itself in place of the mark."""
    html = rendered(request, piece, person, digest=_DIGEST, **content)
    return Markup(html.replace(_DIGEST, _sha256(html), 1))  # noqa: S704 - from a template


def _digest_of(live: Markup) -> str:
    begin = live.find('"X-Shown": "') + len('"X-Shown": "')
    return str(live[begin : begin + 64])


def _sha256(html: str) -> str:
    return hashlib.sha256(html.encode()).hexdigest()
