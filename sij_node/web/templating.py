"""Pages from templates; all values are escaped."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from sij_node import __version__
from sij_node.domain.users import CurrentUser
from sij_node.web.cookies import VISIT, set_cookie
from sij_node.web.current_user import csrf_token
from sij_node.web.dependencies import parts
from sij_node.web.model_cards import intended_use
from sij_node.web.view_models.display_text import count, moment, span
from sij_node.web.view_models.node_problems import tone_of

FOLDER = Path(__file__).parent
ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def commands(words: str) -> Markup:
    """Text with commands between backticks set in monospace; the rest is escaped."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(words))))  # noqa: S704 - escaped


_COMMAND = re.compile(r"`([^`]+)`")
ENVIRONMENT.filters |= {
    "moment": moment,
    "count": count,
    "commands": commands,
    "span": span,
    "tone": tone_of,
    "gigabytes": lambda megabytes: f"{megabytes / 1000:.1f}",
}
ENVIRONMENT.globals["parts"] = ENVIRONMENT.get_template("parts.html").module


def page(
    request: Request,
    template: str,
    status: int = 200,
    person: CurrentUser | None = None,
    **content: Any,
) -> HTMLResponse:
    """A page from a template.

    Besides `content`, a template gets: ``person`` (or None), ``csrf_token`` for the hidden
    field ``csrf_token`` of forms (or the header ``X-CSRF-Token`` of scripts), ``nonce`` for script
    and style elements, ``path``, ``version``, and ``openid_label`` for the link to
    ``/login/openid`` (empty without one).
    """
    response = HTMLResponse(rendered(request, template, person, **content), status)
    new_visit = getattr(request.state, "new_visit", "")
    if new_visit:
        set_cookie(request, response, VISIT, new_visit, timedelta(hours=12))
    return response


def rendered(request: Request, template: str, person: CurrentUser | None, **content: Any) -> str:
    """A template rendered with `content` and the values of every page."""
    config = parts(request).config
    given = {
        "person": person,
        "csrf_token": csrf_token(request),
        "nonce": getattr(request.state, "nonce", ""),
        "path": request.url.path,
        "version": __version__,
        "openid_label": config.web.openid.label if config.web.openid else "",
        "intended_use": intended_use(config.worker.weights_folder),
        **content,
    }
    return ENVIRONMENT.get_template(template).render(given)
