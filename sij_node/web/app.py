"""The web application: its routes, their protection, and the server."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sij_node import __version__
from sij_node.config.settings import TlsConfig, WebConfig
from sij_node.errors import ConfigurationInvalid, os_reason
from sij_node.network.tls import server_context
from sij_node.receive.association import is_in
from sij_node.web import api, openid_connect, pages, probe_routes, sign_in_routes
from sij_node.web.current_user import check_form, is_known
from sij_node.web.dependencies import Parts
from sij_node.web.error_responses import explain_errors
from sij_node.web.http_server import STUDIES, LimitedServer, RequestLimit
from sij_node.web.security_middleware import PROBES, Guard
from sij_node.web.templating import FOLDER

log = structlog.get_logger()

DRAIN_S = 10


def create_app(parts: Parts) -> FastAPI:
    """The web application of a node.

    Every request passes `Guard` (host name, size, headers) and `check_form`. The parameters of a
    route say which role it needs; see `sij_node.web.current_user`.
    """
    web = parts.config.web
    large = dict.fromkeys(pages.ACCEPTS_FILES, web.max_upload_mb * 1000000)
    large[STUDIES] = web.max_stow_mb * 1000000
    app = FastAPI(
        title="sij_node",
        version=__version__,
        summary="Trained on phantoms, not for clinical use.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(check_form)],
        middleware=[
            Middleware(ProxyHeadersMiddleware, trusted_hosts=list(web.trusted_proxies)),
            Middleware(RequestLimit, exempt=PROBES),
            Middleware(Guard, web=web, large=large, is_known=is_known),
        ],
    )
    app.state.parts = parts
    explain_errors(app)
    for router in (
        probe_routes.router,
        sign_in_routes.router,
        openid_connect.router,
        api.router,
        pages.router,
        *parts.routers,
    ):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    return app


def serve(app: FastAPI, web: WebConfig, stop: threading.Event, started: Callable[[], None]) -> None:
    """Serve requests until `stop` is set.

    Parameters
    ----------
    started
        Called once requests are served.

    Raises
    ------
    ConfigurationInvalid
        If the port is in use, or the certificate cannot be used.
    """
    with listening(web.host, web.port) as listener, serving(app, web, listener):
        log.info("web server started", host=web.host, port=listener.getsockname()[1])
        started()
        stop.wait()
    log.info("web server stopped")


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket.

    Raises
    ------
    ConfigurationInvalid
        If the address or port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationInvalid(
            f"[web] cannot listen on {host}, port {port}: it {os_reason(error)}. "
            "Choose an address of this machine and a free port."
        ) from error
    with listener:
        yield listener


@contextmanager
def serving(app: FastAPI, web: WebConfig, listener: socket.socket) -> Iterator[None]:
    """Serve requests on a listening socket while the block runs, in its own thread."""
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the application evaluates them itself
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=15,
        timeout_graceful_shutdown=DRAIN_S,
    )
    if web.tls is not None:
        own = TlsConfig(certificate=web.tls.certificate, private_key=web.tls.private_key)
        context = server_context(own, "[web.tls]")
        settings.ssl_context_factory = lambda _config, _default: context
    server = LimitedServer(settings, listener, lambda address: is_in(address, web.trusted_proxies))
    thread = threading.Thread(target=server.run, name="page")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(DRAIN_S + 5)
