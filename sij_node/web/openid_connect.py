"""Sign-in by OpenID Connect at the hospital's identity provider.

Authorization code flow with PKCE: the browser is redirected to the provider and returns with a
code, which the node exchanges for a signed ID token. State, nonce and code verifier are kept in a
cookie of that browser.

Source: OpenID Connect Core 1.0, Discovery 1.0; RFC 7636 (PKCE), RFC 9207 (issuer).
"""

import base64
import binascii
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from fastapi import APIRouter, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization
from pydantic import BaseModel, ValidationError
from starlette.responses import RedirectResponse, Response

from sij_node.config.roles import Role
from sij_node.config.settings import OpenIdConfig
from sij_node.domain.users import new_secret
from sij_node.errors import ConfigurationInvalid, ProviderUnavailable, SignInFailed
from sij_node.web.cookies import OPENID, cookie, drop_cookie, set_cookie
from sij_node.web.current_user import address_of
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.sign_in import own_path, signed_in

router = APIRouter(include_in_schema=False)

SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Accepted signature algorithms: only those that need the provider's private key."""
TIMEOUT_S = 10.0
CLOCK_SKEW_S = 60
_TIME_TO_SIGN_IN = timedelta(minutes=10)


class LoginState(BaseModel):
    """What the browser keeps between redirect and return."""

    state: str
    nonce: str
    verifier: str
    onward: str

    def as_cookie(self) -> str:
        """The value of the cookie."""
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode()

    @classmethod
    def from_cookie(cls, text: str) -> "LoginState":
        """The state in a cookie; raises `SignInFailed` without one."""
        try:
            return cls.model_validate_json(base64.urlsafe_b64decode(text))
        except (ValidationError, binascii.Error, ValueError) as error:
            raise SignInFailed(
                "This browser was not redirected to the identity provider, or more than ten "
                "minutes ago. Sign in again."
            ) from error


@dataclass(frozen=True)
class IdentityProvider:
    """An identity provider with its current discovery document.

    Parameters
    ----------
    described
        The discovery document.
    redirect_uri
        Where it redirects browsers to after sign-in.
    """

    config: OpenIdConfig
    described: Mapping[str, Any]
    redirect_uri: str

    def authorization_url(self, login: LoginState) -> str:
        """Where to redirect the browser for sign-in."""
        with self._client() as client:
            address, _ = client.create_authorization_url(
                self.described["authorization_endpoint"],
                state=login.state,
                nonce=login.nonce,
                code_verifier=login.verifier,
            )
        return str(address)

    def claims(self, login: LoginState, returned_to: str) -> Mapping[str, Any]:
        """The provider's claims about the user who returned to a URL.

        Raises
        ------
        SignInFailed
            If the ID token is not for this sign-in, not from the provider, or expired.
        """
        with self._client() as client:
            token = client.fetch_token(
                self.described["token_endpoint"],
                authorization_response=returned_to,
                state=login.state,
                code_verifier=login.verifier,
            )
            stated = self._checked(token, login.nonce)
            if self._is_silent_on_role(stated) and "userinfo_endpoint" in self.described:
                more = client.get(self.described["userinfo_endpoint"]).raise_for_status().json()
                if more.get("sub") == stated["sub"]:
                    stated = {**more, **stated}
            return stated

    def _checked(self, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        published = cast(KeySetSerialization, _json(self.described["jwks_uri"]))
        keys = KeySet.import_key_set(published)
        decoded = jwt.decode(str(token.get("id_token", "")), keys, algorithms=list(SIGNATURES))
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": self.described["issuer"]},
                "aud": {"essential": True, "value": self.config.client_id},
            },
            {
                "nonce": nonce,
                "client_id": self.config.client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(leeway=CLOCK_SKEW_S)
        return dict(claims)

    def _is_silent_on_role(self, claims: Mapping[str, Any]) -> bool:
        return not (
            claim(claims, self.config.role_claim) and claim(claims, self.config.username_claim)
        )

    def _client(self) -> OAuth2Client:
        return OAuth2Client(
            self.config.client_id,
            _secret(self.config),
            scope="openid profile email",
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
        )


@router.get("/login/openid")
def begin(request: Request, parts: TheParts, onward: str = "/") -> Response:
    """Redirect the browser to the provider."""
    login = LoginState(
        state=new_secret(), nonce=new_secret(), verifier=new_secret(), onward=own_path(onward)
    )
    with _provider_errors():
        address = _provider(request, parts).authorization_url(login)
    response = RedirectResponse(address, 303)
    set_cookie(request, response, OPENID, login.as_cookie(), _TIME_TO_SIGN_IN)
    return response


@router.get("/login/openid/return")
def finish(request: Request, parts: TheParts) -> Response:
    """Open a session for the user whom the provider has authenticated."""
    login = LoginState.from_cookie(cookie(request, OPENID))
    with _provider_errors():
        provider = _provider(request, parts)
        _check_return(request, login, provider)
        stated = provider.claims(login, str(request.url))
    secret = parts.access.sign_in_by_provider(
        subject=f"{stated['iss']} {stated['sub']}",
        name=str(claim(stated, provider.config.username_claim) or stated["sub"]),
        role=role_of(stated, provider.config),
        address=address_of(request),
    )
    response = signed_in(request, parts, secret, own_path(login.onward))
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


def _provider(request: Request, parts: Parts) -> IdentityProvider:
    config = parts.config.web.openid
    if config is None:
        raise SignInFailed(
            "OpenID Connect is not configured ([web.openid]). Sign in with name and password."
        )
    described = _json(f"{config.issuer}/.well-known/openid-configuration")
    if str(described.get("issuer", "")).rstrip("/") != config.issuer:
        raise SignInFailed(
            "The issuer in the identity provider's discovery document differs from [web.openid] "
            "issuer. Write it there as in the document."
        )
    return IdentityProvider(config, described, str(request.base_url) + "login/openid/return")


def _check_return(request: Request, login: LoginState, provider: IdentityProvider) -> None:
    given = request.query_params
    if not hmac.compare_digest(given.get("state", "").encode(), login.state.encode()):
        raise SignInFailed(
            "The response belongs to another browser or another sign-in. Sign in again."
        )
    if given.get("iss", provider.described["issuer"]) != provider.described["issuer"]:
        raise SignInFailed("The response comes from another identity provider. Sign in again.")
    if "code" not in given:
        raise SignInFailed(
            "The identity provider refused the sign-in. Try again, or ask its administrator."
        )


def _json(address: str) -> dict[str, Any]:
    found = httpx.get(address, timeout=TIMEOUT_S).raise_for_status().json()
    if not isinstance(found, dict):
        raise SignInFailed(
            "The identity provider's response is not valid. Check [web.openid] issuer."
        )
    return found


def _secret(config: OpenIdConfig) -> str | None:
    if config.client_secret_file is None:
        return None
    try:
        return config.client_secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(
            f"[web.openid] client_secret_file cannot be read: {type(error).__name__}. "
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
    except (AuthlibBaseError, JoseError, KeyError, ValueError) as error:
        raise SignInFailed(
            f"The identity provider's response cannot be verified ({type(error).__name__}). Sign "
            "in again; if it persists, compare [web.openid] with the provider's settings."
        ) from error
