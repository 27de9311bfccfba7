"""The web application: routes, what guards them, and the server it runs in."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sij_node import __version__
from sij_node.config.settings import TlsConfig, WebConfig
from sij_node.errors import ConfigurationInvalid
from sij_node.network.tls import server_context
from sij_node.web import api, openid_connect, pages, probes, sign_in
from sij_node.web.current_user import check_form, is_known
from sij_node.web.dependencies import Parts
from sij_node.web.error_responses import explain_errors
from sij_node.web.security import Guard
from sij_node.web.templating import FOLDER

log = structlog.get_logger()

DRAIN_S = 10
MOST_CONNECTIONS = 200


def create_app(parts: Parts) -> FastAPI:
    """The web application of a node.

    Every route passes the guard (host name, size, headers) and `check_form`. Who may use it is
    said by its parameters; see `sij_node.web.current_user`.
    """
    web = parts.config.web
    large = dict.fromkeys(pages.ACCEPTS_FILES, web.max_upload_mb * 1000000)
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
            Middleware(Guard, web=web, large=large, is_known=is_known),
        ],
    )
    app.state.parts = parts
    explain_errors(app)
    for router in (
        probes.router,
        sign_in.router,
        openid_connect.router,
        api.router,
        pages.router,
        *parts.routers,
    ):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    return app


def serve(app: FastAPI, web: WebConfig, stop: threading.Event) -> None:
    """Answer requests until `stop` is set.

    Raises
    ------
    ConfigurationInvalid
        If the address cannot be listened on, or the certificate cannot be used.
    """
    with listening(web.host, web.port) as door, serving(app, web, door):
        log.info("page ready", host=web.host, port=door.getsockname()[1])
        stop.wait()
    log.info("page stopped")


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address.

    Raises
    ------
    ConfigurationInvalid
        If it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        door = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationInvalid(
            f"[web] cannot listen on {host}, port {port}: {error.strerror}. "
            "Choose an address of this machine and a port that nobody else uses."
        ) from error
    with door:
        yield door


@contextmanager
def serving(app: FastAPI, web: WebConfig, door: socket.socket) -> Iterator[None]:
    """Answer at a listening socket while the block runs, in a thread of its own."""
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the application looks at them itself
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=DRAIN_S,
    )
    if web.tls is not None:
        own = TlsConfig(certificate=web.tls.certificate, private_key=web.tls.private_key)
        context = server_context(own, "[web.tls]")
        settings.ssl_context_factory = lambda _config, _default: context
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, name="page")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(DRAIN_S + 5)
