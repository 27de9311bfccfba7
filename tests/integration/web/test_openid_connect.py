"""OpenID Connect sign-in, and the responses the node rejects."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import OctKey, RSAKey

from sij_node.config.user_roles import Role
from tests.support.openid_provider import CLIENT, SECRET, Provider, running_provider, settings
from tests.support.running_web import RunningWeb, running_web

ANNA = {"preferred_username": "anna", "groups": ["radiology", "others"]}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider(claims=dict(ANNA)) as running:
        yield running


@pytest.fixture
def web(tmp_path: Path, provider: Provider) -> Iterator[RunningWeb]:
    (tmp_path / "openid.secret").write_text(f"{SECRET}\n")
    with running_web(tmp_path, **settings(provider)) as running:
        yield running


def sent_to_the_provider_and_back(visitor: httpx.Client, onward: str = "/") -> httpx.Response:
    """What the browser gets where the provider has sent it back to."""
    sent = visitor.get("/login/openid", params={"onward": onward})
    assert sent.status_code == 302
    back = httpx.get(sent.headers["location"])
    return visitor.get(back.headers["location"])


def test_openid_users_sign_in_with_the_role_of_their_group(web: RunningWeb):
    with web.visitor() as visitor:
        answer = sent_to_the_provider_and_back(visitor, "/jobs/3")

        assert answer.headers["location"] == "/jobs/3"
        assert visitor.get("/").status_code == 200
    assert [(user.name, user.role) for user in web.access.users()] == [("anna", Role.VIEWER)]


def test_the_form_offers_the_way_to_the_provider(web: RunningWeb):
    with web.visitor() as visitor:
        assert "/login/openid" in visitor.get("/login").text


def test_who_comes_again_is_the_same_user_with_the_role_of_today(
    web: RunningWeb, provider: Provider
):
    with web.visitor() as visitor:
        sent_to_the_provider_and_back(visitor)
        provider.claims["groups"] = ["sij-admins"]
        sent_to_the_provider_and_back(visitor)

    assert [(user.name, user.role) for user in web.access.users()] == [("anna", Role.ADMINISTRATOR)]


def test_groups_that_only_the_userinfo_names_count(web: RunningWeb, provider: Provider):
    del provider.claims["groups"]
    provider.userinfo["groups"] = ["sij-admins"]
    with web.visitor() as visitor:
        sent_to_the_provider_and_back(visitor)

    assert web.access.users()[0].role is Role.ADMINISTRATOR


def test_who_has_no_group_with_a_role_is_not_let_in(web: RunningWeb, provider: Provider):
    provider.claims["groups"] = ["kitchen"]
    with web.visitor() as visitor:
        answer = sent_to_the_provider_and_back(visitor)

        assert answer.status_code == 401
        assert "gives you a role" in answer.text
    assert web.access.users() == ()


def test_who_is_disabled_here_is_not_let_in(web: RunningWeb):
    with web.visitor() as visitor:
        sent_to_the_provider_and_back(visitor)
        web.access.disable("anna", "test")

        assert sent_to_the_provider_and_back(visitor).status_code == 401


def test_the_name_of_a_user_with_a_password_cannot_be_taken_over(web: RunningWeb):
    web.add_user("anna", Role.ADMINISTRATOR)
    with web.visitor() as visitor:
        answer = sent_to_the_provider_and_back(visitor)

        assert answer.status_code == 401
        assert visitor.get("/").status_code == 401


@pytest.mark.parametrize(
    "lie",
    [
        {"claims": {**ANNA, "nonce": "of another attempt"}},
        {"claims": {**ANNA, "aud": "another-client"}},
        {"claims": {**ANNA, "iss": "https://evil.example"}},
        {"claims": {**ANNA, "exp": int(time.time()) - 3600}},
        {"claims": {**ANNA, "aud": [CLIENT, "other"], "azp": "other"}},
        {"signing_key": RSAKey.generate_key(2048, {"kid": "1"})},
        {"signing_key": OctKey.import_key(SECRET), "algorithm": "HS256"},
        {"issuer": "https://evil.example"},
    ],
    ids=["nonce", "audience", "issuer", "expired", "party", "key", "algorithm", "discovery"],
)
def test_a_forged_or_misaddressed_id_token_is_refused(
    web: RunningWeb, provider: Provider, lie: dict[str, Any]
):
    with web.visitor() as visitor:
        sent = visitor.get("/login/openid")
        for name, value in lie.items():
            setattr(provider, name, value)
        back = httpx.get(sent.headers["location"]).headers["location"]

        assert visitor.get(back).status_code == 401
        assert visitor.get("/").status_code == 401


def test_a_response_to_another_browser_signs_no_one_in(web: RunningWeb):
    with web.visitor() as attacker, web.visitor() as victim:
        sent = attacker.get("/login/openid")
        back = httpx.get(sent.headers["location"]).headers["location"]

        assert victim.get(back).status_code == 401
        victim.get("/login/openid")
        assert victim.get(back).status_code == 401
        assert victim.get("/").status_code == 401


def test_an_answer_in_the_name_of_another_provider_opens_nothing(web: RunningWeb):
    with web.visitor() as visitor:
        sent = visitor.get("/login/openid")
        back = httpx.get(sent.headers["location"]).headers["location"]

        assert visitor.get(f"{back}&iss=https://evil.example").status_code == 401
        assert visitor.get("/").status_code == 401


def test_a_code_is_good_once(web: RunningWeb):
    with web.visitor() as visitor:
        sent = visitor.get("/login/openid")
        back = httpx.get(sent.headers["location"]).headers["location"]
        kept = dict(visitor.cookies)

        assert visitor.get(back).status_code == 303
        visitor.cookies.clear()
        visitor.cookies.update(kept)
        assert visitor.get(back).status_code == 401


def test_sign_in_uses_pkce_and_keeps_the_secret_out_of_the_url(
    web: RunningWeb,
):
    with web.visitor() as visitor:
        asked = parse_qs(urlsplit(visitor.get("/login/openid").headers["location"]).query)

    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{web.url}/login/openid/return"]
    assert SECRET not in str(asked)


def test_an_unreachable_provider_is_explained(tmp_path: Path):
    with running_provider() as provider:
        pass
    (tmp_path / "openid.secret").write_text(SECRET)
    with running_web(tmp_path, **settings(provider)) as web, web.visitor() as visitor:
        answer = visitor.get("/login/openid")

    assert answer.status_code == 503
    assert "is not available" in answer.text


def test_without_a_provider_there_is_no_way_to_one(tmp_path: Path):
    with running_web(tmp_path) as web, web.visitor() as visitor:
        assert visitor.get("/login/openid").status_code == 401
        assert "/login/openid" not in visitor.get("/login").text
