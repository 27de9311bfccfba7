"""The route that Prometheus scrapes, and its access control."""

from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from sij_node.config.settings import MetricsConfig
from sij_node.errors import ConfigurationInvalid, os_reason
from sij_node.receive.association import is_in
from sij_node.web.probe_routes import PROBE_THREADS


def metrics_router(text: Callable[[], bytes], config: MetricsConfig) -> APIRouter:
    """The route /metrics.

    Parameters
    ----------
    text
        The metrics in Prometheus' text format.

    Raises
    ------
    ConfigurationInvalid
        If the file with the token cannot be read, or is empty.
    """
    token = _token_in(config.token_file)
    router = APIRouter(tags=["probes"])

    @router.get("/metrics", response_class=Response)
    async def metrics(request: Request, authorization: Annotated[str, Header()] = "") -> Response:
        """Metrics for Prometheus; from other networks only with the token."""
        address = request.client.host if request.client else ""
        if not (address and is_in(address, config.networks)) and not _shows(token, authorization):
            raise HTTPException(403, "Metrics are not available from this address; see [metrics].")
        return Response(await run_sync(text, limiter=PROBE_THREADS), media_type=CONTENT_TYPE_LATEST)

    return router


def _shows(token: str, authorization: str) -> bool:
    return bool(token) and compare_digest(authorization.encode(), f"Bearer {token}".encode())


def _token_in(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = os_reason(error) if isinstance(error, OSError) else "is not ASCII text"
        raise ConfigurationInvalid(
            f"[metrics] token_file {file} {why}. Create one, "
            "for instance with `openssl rand -hex 32`."
        ) from error
    if not token:
        raise ConfigurationInvalid(
            f"[metrics] token_file {file} is empty. Create one, "
            "for instance with `openssl rand -hex 32`."
        )
    return token
