"""Sign-in by OpenID Connect at the hospital's identity provider.

Authorization code flow with PKCE: the browser is redirected to the provider and returns with a
code, which the node exchanges for a signed ID token. Authlib keeps state, nonce and code verifier
of a sign-in in ``request.session``, which here is a cookie of its own in that browser.

Source: OpenID Connect Core 1.0, Discovery 1.0; RFC 7636 (PKCE), RFC 9207 (issuer).
"""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client.errors import MismatchingStateError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from authlib.oidc.core import CodeIDToken
from fastapi import APIRouter, Depends, Request
from joserfc.errors import JoseError
from starlette.responses import Response

from sij_node.config.settings import OpenIdConfig
from sij_node.config.user_roles import Role
from sij_node.errors import ConfigurationInvalid, ProviderUnavailable, SignInFailed, os_reason
from sij_node.web.cookies import OPENID, cookie, drop_cookie, set_cookie
from sij_node.web.current_user import address_of
from sij_node.web.dependencies import TheParts
from sij_node.web.sign_in_routes import own_path, signed_in

router = APIRouter(include_in_schema=False)

SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Accepted signature algorithms: only those that need the provider's private key."""
TIMEOUT_S = 10.0
CLOCK_SKEW_S = 60
_TIME_TO_SIGN_IN = timedelta(minutes=10)


def configured(parts: TheParts) -> OpenIdConfig:
    """[web.openid]; raises `SignInFailed` without it."""
    if parts.config.web.openid is None:
        raise SignInFailed(
            "OpenID Connect is not configured ([web.openid]). Sign in with name and password."
        )
    return parts.config.web.openid


TheOpenIdConfig = Annotated[OpenIdConfig, Depends(configured)]


async def identity_provider(config: TheOpenIdConfig) -> StarletteOAuth2App:
    """The identity provider with its current discovery document.

    Raises
    ------
    SignInFailed
        If the document is not valid, or is another provider's.
    ProviderUnavailable
    """
    provider = OAuth().register(
        "openid",
        client_id=config.client_id,
        client_secret=_secret(config),
        server_metadata_url=f"{config.issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            "timeout": TIMEOUT_S,
        },
    )
    with _provider_errors():
        described = await provider.load_server_metadata()
    if str(described.get("issuer", "")).rstrip("/") != config.issuer:
        raise SignInFailed(
            "The issuer in the identity provider's discovery document differs from [web.openid] "
            "issuer. Write it there as in the document."
        )
    described["id_token_signing_alg_values_supported"] = list(SIGNATURES)
    return provider


TheProvider = Annotated[StarletteOAuth2App, Depends(identity_provider)]


async def id_token_claims(
    request: Request, config: TheOpenIdConfig, provider: TheProvider
) -> Mapping[str, Any]:
    """The provider's claims about the user who returned.

    Raises
    ------
    SignInFailed
        If the response or its ID token is not for this sign-in, not from the provider, or expired.
    ProviderUnavailable
    """
    described, request.scope["session"] = provider.server_metadata, _kept_in(request)
    if request.query_params.get("iss", described["issuer"]) != described["issuer"]:
        raise SignInFailed("The response comes from another identity provider. Sign in again.")
    with _provider_errors():
        token = await provider.authorize_access_token(
            request,
            claims_cls=CodeIDToken,
            claims_options={
                "iss": {"essential": True, "value": described["issuer"]},
                "aud": {"essential": True, "value": config.client_id},
            },
            leeway=CLOCK_SKEW_S,
        )
        stated = dict(token["userinfo"])
        is_complete = claim(stated, config.role_claim) and claim(stated, config.username_claim)
        if not is_complete and "userinfo_endpoint" in described:
            more = await provider.userinfo(token=token)
            if more.get("sub") == stated["sub"]:
                stated = {**more, **stated}
    return stated


@router.get("/login/openid")
async def begin(request: Request, provider: TheProvider, onward: str = "/") -> Response:
    """Redirect the browser to the provider."""
    request.scope["session"] = {"onward": own_path(onward)}
    with _provider_errors():
        response: Response = await provider.authorize_redirect(
            request, f"{request.base_url}login/openid/return"
        )
    kept = base64.urlsafe_b64encode(json.dumps(request.session).encode()).decode()
    set_cookie(request, response, OPENID, kept, _TIME_TO_SIGN_IN)
    return response


@router.get("/login/openid/return")
def finish(
    request: Request,
    parts: TheParts,
    config: TheOpenIdConfig,
    stated: Annotated[Mapping[str, Any], Depends(id_token_claims)],
) -> Response:
    """Open a session for the user whom the provider has authenticated."""
    secret = parts.access.sign_in_by_provider(
        subject=f"{stated['iss']} {stated['sub']}",
        name=str(claim(stated, config.username_claim) or stated["sub"]),
        role=role_of(stated, config),
        address=address_of(request),
    )
    response = signed_in(request, parts, secret, own_path(str(request.session.get("onward"))))
    drop_cookie(request, response, OPENID)
    return response


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name; dots separate the names of nested claims.

    Examples
    --------
    >>> claim({"realm_access": {"roles": ["a"]}}, "realm_access.roles")
    ['a']
    """
    if name in claims:
        return claims[name]
    first, _, rest = name.partition(".")
    within = claims.get(first)
    return claim(within, rest) if rest and isinstance(within, Mapping) else None


def role_of(claims: Mapping[str, Any], config: OpenIdConfig) -> Role:
    """The highest role that the claims give.

    Raises
    ------
    SignInFailed
        If they give no role.
    """
    said = claim(claims, config.role_claim)
    texts = said if isinstance(said, list) else [said]
    given = {config.roles[text] for text in texts if isinstance(text, str) and text in config.roles}
    if not given:
        raise SignInFailed(
            f"The identity provider knows you, but nothing in {config.role_claim} gives you a role "
            "on this node. Ask an administrator to add you to a group in [web.openid] roles."
        )
    return max(given, key=list(Role).index)


def _kept_in(request: Request) -> dict[str, Any]:
    """The sign-in state in the browser's cookie; empty if it was not redirected."""
    try:
        kept = json.loads(base64.urlsafe_b64decode(cookie(request, OPENID)))
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}


def _secret(config: OpenIdConfig) -> str | None:
    if config.client_secret_file is None:
        return None
    try:
        return config.client_secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = os_reason(error) if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigurationInvalid(
            f"[web.openid] client_secret_file {config.client_secret_file} {why}. "
            "It must be a text file that the user who runs the node may read."
        ) from error


@contextmanager
def _provider_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ProviderUnavailable(
            f"The identity provider is not available ({type(error).__name__}). "
            "Sign in with name and password, or try again later."
        ) from error
    except MismatchingStateError as error:
        raise SignInFailed(
            "This browser did not start this sign-in, or did so more than ten minutes ago. "
            "Sign in again."
        ) from error
    except (AuthlibBaseError, JoseError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise SignInFailed(
            f"The identity provider refused the sign-in, or its response cannot be verified "
            f"({type(error).__name__}). Sign in again; if it persists, compare [web.openid] with "
            "the provider's settings."
        ) from error
