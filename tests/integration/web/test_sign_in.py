"""Sign-in: accepted and rejected attempts, and the cookies set."""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from html import unescape
from pathlib import Path

import httpx
import pytest

from sij_node.config.user_roles import Role
from sij_node.domain.users import hash_of
from sij_node.errors import AccessRefused, SignInFailed
from tests.support.certificates import authority, signed_by
from tests.support.running_web import PASSWORD, RunningWeb, csrf_token_in, running_web, sign_in


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RunningWeb]:
    with running_web(tmp_path) as running:
        running.add_user("meier", Role.VIEWER)
        yield running


@pytest.fixture
def visitor(web: RunningWeb) -> Iterator[httpx.Client]:
    with web.visitor() as client:
        yield client


def test_the_queue_is_hidden_without_signing_in(visitor: httpx.Client):
    answer = visitor.get("/")

    assert answer.status_code == 401
    assert "queued" not in answer.text


def test_who_is_signed_in_sees_the_queue(visitor: httpx.Client):
    assert sign_in(visitor, "meier").status_code == 303

    assert visitor.get("/").status_code == 200


def test_a_name_counts_in_capital_letters_too(visitor: httpx.Client):
    assert sign_in(visitor, " Meier ").status_code == 303


@pytest.mark.parametrize(
    ("name", "password"),
    [("meier", "a wrong password"), ("nobody", PASSWORD), ("", ""), ("meier", "x" * 900)],
)
def test_wrong_name_and_wrong_password_give_the_same_message(
    visitor: httpx.Client, name: str, password: str
):
    answer = sign_in(visitor, name, password)

    assert answer.status_code == 401
    assert "Wrong name or password" in answer.text
    assert visitor.get("/").status_code == 401


def test_who_is_disabled_is_out_at_once(web: RunningWeb, visitor: httpx.Client):
    sign_in(visitor, "meier")
    web.access.disable("meier", "test")

    assert visitor.get("/").status_code == 401
    assert sign_in(visitor, "meier").status_code == 401

    web.access.enable("meier", "test")
    assert sign_in(visitor, "meier").status_code == 303


def test_who_has_signed_out_is_out_though_the_cookie_was_kept(visitor: httpx.Client):
    sign_in(visitor, "meier")
    kept = dict(visitor.cookies)
    mark = csrf_token_in(visitor.get("/").text)

    assert visitor.post("/logout", data={"csrf_token": mark}).status_code == 303
    visitor.cookies.update(kept)

    assert visitor.get("/").status_code == 401


# ---- sessions end ------------------------------------------------------------------------------


def test_a_session_that_is_not_used_ends(web: RunningWeb, visitor: httpx.Client):
    sign_in(visitor, "meier")
    web.clock.ahead = timedelta(minutes=31)

    assert visitor.get("/").status_code == 401


def test_a_session_lasts_while_it_is_used_but_not_for_ever(web: RunningWeb, visitor: httpx.Client):
    sign_in(visitor, "meier")
    answers = []
    for number in range(1, 26):
        web.clock.ahead = timedelta(minutes=29 * number)
        answers.append(visitor.get("/").status_code)

    assert answers == [200] * 24 + [401]


def test_a_role_that_was_taken_away_is_gone_in_the_next_request(web: RunningWeb):
    with web.browser(Role.OPERATOR) as browser:
        web.access.set_role("operator1", Role.VIEWER, "test")

        assert "(viewer)" in browser.get("/").text or ", viewer" in browser.get("/").text


# ---- forms and fixation ------------------------------------------------------------------------


def test_sign_in_never_reuses_a_planted_session(web: RunningWeb, visitor: httpx.Client):
    visitor.cookies.set("sij-session", "planted", domain="127.0.0.1")
    sign_in(visitor, "meier")

    with web.visitor() as attacker:
        attacker.cookies.set("sij-session", "planted", domain="127.0.0.1")
        assert attacker.get("/").status_code == 401


def test_signing_in_again_ends_the_session_before(web: RunningWeb, visitor: httpx.Client):
    sign_in(visitor, "meier")
    before = visitor.cookies["sij-session"]
    form = {
        "csrf_token": csrf_token_in(visitor.get("/").text),
        "name": "meier",
        "password": PASSWORD,
    }
    visitor.post("/login", data=form)

    with web.visitor() as other:
        other.cookies.set("sij-session", before, domain="127.0.0.1")
        assert other.get("/").status_code == 401
    assert visitor.get("/").status_code == 200


@pytest.mark.parametrize("mark", [None, "", "wrong", "0" * 64])
def test_a_form_without_its_mark_changes_nothing(visitor: httpx.Client, mark: str | None):
    sign_in(visitor, "meier")

    answer = visitor.post("/logout", data={} if mark is None else {"csrf_token": mark})

    assert answer.status_code == 403
    assert visitor.get("/").status_code == 200


def test_a_mark_of_another_browser_is_worth_nothing(web: RunningWeb, visitor: httpx.Client):
    sign_in(visitor, "meier")
    with web.visitor() as other:
        sign_in(other, "meier")
        foreign = csrf_token_in(other.get("/").text)

    assert visitor.post("/logout", data={"csrf_token": foreign}).status_code == 403


def test_a_form_on_another_site_changes_nothing_whatever_it_carries(visitor: httpx.Client):
    sign_in(visitor, "meier")
    form = {"csrf_token": csrf_token_in(visitor.get("/").text)}

    answer = visitor.post("/logout", data=form, headers={"sec-fetch-site": "cross-site"})

    assert answer.status_code == 403


def test_a_name_and_password_from_another_site_open_nothing(visitor: httpx.Client):
    visitor.get("/login")

    answer = visitor.post("/login", data={"name": "meier", "password": PASSWORD})

    assert answer.status_code == 403
    assert visitor.get("/").status_code == 401


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/a\r\nset-cookie: x=1",
        " //evil.example",
        "",
    ],
)
def test_signing_in_never_redirects_to_another_site(visitor: httpx.Client, onward: str):
    form = {
        "csrf_token": csrf_token_in(visitor.get("/login").text),
        "name": "meier",
        "password": PASSWORD,
        "onward": onward,
    }

    answer = visitor.post("/login", data=form)

    assert answer.headers["location"] == "/"
    assert "x" not in visitor.cookies


def test_who_was_asked_to_sign_in_goes_on_where_they_wanted_to(visitor: httpx.Client):
    asked = visitor.get("/?state=failed&page=2")
    onward = unescape(asked.text.split('name="onward" value="', 1)[1].split('"', 1)[0])
    form = {"csrf_token": csrf_token_in(asked.text), "name": "meier", "password": PASSWORD}

    answer = visitor.post("/login", data={**form, "onward": onward})

    assert answer.headers["location"] == "/?state=failed&page=2"


# ---- guessing ----------------------------------------------------------------------------------


def test_a_thousand_wrong_passwords_are_held_up(web: RunningWeb, visitor: httpx.Client):
    refused = []
    for number in range(1000):
        with pytest.raises(AccessRefused) as refusal:
            web.access.sign_in("meier", f"guess number {number}", "127.0.0.1")
        refused.append(refusal.type)
    answer = sign_in(visitor, "meier")

    assert refused.count(SignInFailed) < 20
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_a_known_browser_still_signs_in_while_others_guess(web: RunningWeb, visitor: httpx.Client):
    sign_in(visitor, "meier")
    visitor.post("/logout", data={"csrf_token": csrf_token_in(visitor.get("/").text)})
    with web.visitor() as guesser:
        for number in range(40):
            with suppress(AccessRefused):
                web.access.sign_in("meier", f"guess number {number}", f"10.0.0.{number}")
        assert sign_in(guesser, "meier").status_code == 429

    assert sign_in(visitor, "meier").status_code == 303


def test_after_many_failures_sign_in_works_a_minute_later(web: RunningWeb, visitor: httpx.Client):
    for number in range(40):
        with suppress(AccessRefused):
            web.access.sign_in("meier", f"mistyped {number}", "127.0.0.1")
    web.clock.ahead = timedelta(seconds=61)

    assert sign_in(visitor, "meier").status_code == 303


# ---- the first start ---------------------------------------------------------------------------


def test_the_first_administrator_sets_a_password_by_a_one_time_link(
    web: RunningWeb, visitor: httpx.Client
):
    link = f"/welcome/{web.access.first_invitation()}"
    form = {"csrf_token": csrf_token_in(visitor.get(link).text), "password": PASSWORD}

    assert visitor.post(link, data=form).status_code == 303
    assert "administrator" in visitor.get("/").text
    assert visitor.get(link).status_code == 422
    assert web.access.first_invitation() is None


def test_an_invitation_is_void_after_a_day(web: RunningWeb, visitor: httpx.Client):
    link = f"/welcome/{web.access.add('neu', Role.VIEWER, 'test')}"
    web.clock.ahead = timedelta(hours=25)

    assert visitor.get(link).status_code == 422


def test_another_invitation_makes_the_first_void(web: RunningWeb, visitor: httpx.Client):
    first = web.access.add("neu", Role.VIEWER, "test")
    second = web.access.invite_again("neu", "test")

    assert visitor.get(f"/welcome/{first}").status_code == 422
    assert visitor.get(f"/welcome/{second}").status_code == 200


def test_a_weak_password_is_refused_in_words(web: RunningWeb, visitor: httpx.Client):
    link = f"/welcome/{web.access.add('neu', Role.VIEWER, 'test')}"
    form = {"csrf_token": csrf_token_in(visitor.get(link).text), "password": "short"}

    answer = visitor.post(link, data=form)

    assert answer.status_code == 422
    assert "12 to 256 characters" in answer.text


def test_a_new_password_ends_sessions_and_tokens(web: RunningWeb, visitor: httpx.Client):
    sign_in(visitor, "meier")
    person = web.access.person_of_session(visitor.cookies["sij-session"])
    _, token = web.access.add_token(person, "script", Role.VIEWER, timedelta(days=1))

    web.access.accept_invitation(web.access.invite_again("meier", "test"), PASSWORD, "")

    assert visitor.get("/").status_code == 401
    assert web.access.person_of_token(token) is None


# ---- what every answer carries -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/login", "/nowhere", "/static/nothing", "/live"])
def test_every_answer_is_protected(visitor: httpx.Client, path: str):
    headers = visitor.get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_a_nonce_is_used_once(visitor: httpx.Client):
    policies = {visitor.get("/login").headers["content-security-policy"] for _ in range(5)}

    assert len(policies) == 5


def test_cookies_are_kept_from_scripts_and_other_sites(visitor: httpx.Client):
    answer = sign_in(visitor, "meier")

    for cookie in answer.headers.get_list("set-cookie"):
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Path=/" in cookie


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil", ""])
def test_a_name_that_is_not_the_nodes_is_not_answered(visitor: httpx.Client, host: str):
    assert visitor.get("/login", headers={"host": host}).status_code in (400, 421)


def test_a_probe_is_answered_under_any_name(visitor: httpx.Client):
    assert visitor.get("/live", headers={"host": "10.1.2.3:8570"}).json() == {"status": "ok"}


def test_a_large_body_is_rejected_with_or_without_content_length(visitor: httpx.Client):
    announced = visitor.post("/login", content=b"x" * 100_000)
    form = {"content-type": "application/x-www-form-urlencoded"}
    in_pieces = visitor.post("/login", content=iter([b"x" * 10_000] * 10), headers=form)

    assert announced.status_code == 413
    assert in_pieces.status_code == 413


def test_forwarded_headers_of_a_stranger_are_not_believed(web: RunningWeb, visitor: httpx.Client):
    answer = visitor.get("/login", headers={"x-forwarded-proto": "https"})

    assert "strict-transport-security" not in answer.headers


def test_behind_a_tls_proxy_cookies_are_secure_and_addresses_true(tmp_path: Path):
    web = {"trusted_proxies": ["127.0.0.1"], "host_names": ["sij.hospital.example"]}
    by_proxy = {
        "host": "sij.hospital.example",
        "x-forwarded-proto": "https",
        "x-forwarded-for": "10.7.7.7",
    }
    with running_web(tmp_path, web=web) as running, running.visitor() as visitor:
        running.add_user("meier", Role.VIEWER)
        shown = visitor.get("/login", headers=by_proxy)
        (visit,) = shown.headers.get_list("set-cookie")
        name, _, value = visit.partition(";")[0].partition("=")
        form = {"csrf_token": csrf_token_in(shown.text), "name": "meier", "password": PASSWORD}
        answer = visitor.post(
            "/login", data=form, headers={**by_proxy, "cookie": f"{name}={value}"}
        )

        assert shown.headers["strict-transport-security"].startswith("max-age=")
        assert answer.status_code == 303
        session = next(
            cookie
            for cookie in answer.headers.get_list("set-cookie")
            if cookie.startswith("__Host-sij-session=")
        )
        assert "Secure" in session
        secret = session.partition("=")[2].partition(";")[0]
        assert running.access.table.session(hash_of(secret))[0].address == "10.7.7.7"


def test_behind_a_proxy_unencrypted_requests_are_rejected(tmp_path: Path):
    web = {"trusted_proxies": ["127.0.0.1"], "host_names": ["sij.hospital.example"]}
    plain = {"x-forwarded-proto": "http", "x-forwarded-for": "10.7.7.7"}
    with running_web(tmp_path, web=web) as running, running.visitor() as visitor:
        assert visitor.get("/login", headers=plain).status_code == 403


def test_a_page_with_a_certificate_of_its_own_is_encrypted(tmp_path: Path):
    root = authority(tmp_path, "root")
    own = signed_by(root, tmp_path, "page")
    tls = {"certificate": str(own.certificate), "private_key": str(own.private_key)}
    trust = ssl.create_default_context(cafile=root.certificate)
    with (
        running_web(tmp_path, **{"web.tls": tls}) as running,
        httpx.Client(base_url=running.url, verify=trust) as visitor,
    ):
        running.add_user("meier", Role.VIEWER)
        sign_in(visitor, "meier")
        answer = visitor.get("/")

    assert running.url.startswith("https://")
    assert answer.status_code == 200
    assert "strict-transport-security" in answer.headers
