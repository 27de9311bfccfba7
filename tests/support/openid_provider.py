"""An OpenID Connect provider on loopback that authenticates a configurable user."""

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

CLIENT, SECRET = "sij-node", "between us two"


@dataclass
class Provider:
    """The provider's responses, which a test can change.

    Parameters
    ----------
    claims
        Of the one person it knows; they replace what is usual.
    userinfo
        What it says where it is asked with the access token.
    """

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    signing_key: RSAKey | None = None
    algorithm: str = "RS256"
    asked: dict[str, dict[str, str]] = field(default_factory=dict)

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._describe),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
                Route("/userinfo", self._userinfo),
            ]
        )

    async def _describe(self, request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "issuer": self.issuer or self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            }
        )

    async def _authorize(self, request: Request) -> RedirectResponse:
        asked = dict(request.query_params)
        code = f"code{len(self.asked)}"
        self.asked[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.issuer or self.url}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> JSONResponse:
        given = dict(await request.form())
        asked = self.asked.pop(str(given["code"]), None)
        if asked is None or not self._is_the_client(request) or not _proves(given, asked):
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {
            "iss": self.url,
            "sub": "4711",
            "aud": CLIENT,
            "exp": int(time.time()) + 300,
            "iat": int(time.time()),
            "nonce": asked["nonce"],
            **self.claims,
        }
        header = {"alg": self.algorithm, "kid": "1"}
        signed = jwt.encode(header, claims, self.signing_key or self.key)
        return JSONResponse({"access_token": "opens", "token_type": "Bearer", "id_token": signed})

    async def _keys(self, request: Request) -> JSONResponse:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def _userinfo(self, request: Request) -> JSONResponse:
        if request.headers.get("authorization") != "Bearer opens":
            return JSONResponse({}, 401)
        return JSONResponse({"sub": "4711", **self.userinfo})

    def _is_the_client(self, request: Request) -> bool:
        expected = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '+')}".encode()).decode()
        plain = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        return request.headers.get("authorization") in (f"Basic {expected}", f"Basic {plain}")


def _proves(given: dict[str, Any], asked: dict[str, str]) -> bool:
    """Whether the code verifier matches the challenge, RFC 7636 4.6."""
    digest = hashlib.sha256(str(given.get("code_verifier", "")).encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return asked.get("code_challenge_method") == "S256" and challenge == asked["code_challenge"]


@contextmanager
def running_provider(**said: Any) -> Iterator[Provider]:
    """A provider within a ``with`` block."""
    provider = Provider(**said)
    with socket.create_server(("127.0.0.1", 0)) as door:
        provider.url = f"http://127.0.0.1:{door.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(provider.application(), log_config=None, lifespan="off")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            yield provider
        finally:
            server.should_exit = True
            thread.join()


def settings(provider: Provider, **others: Any) -> dict[str, dict[str, Any]]:
    """The sections of config.toml for this provider, as `running_web` takes them."""
    openid = {"issuer": provider.url, "client_id": CLIENT, "client_secret_file": "openid.secret"}
    roles = {"sij-admins": "administrator", "radiology": "viewer"}
    return {"web.openid": {**openid, **others}, "web.openid.roles": roles}
