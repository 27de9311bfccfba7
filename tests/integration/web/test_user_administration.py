"""User management on the page and the command line, and access to every route without a session."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from deploy.trial import free_port, set_up
from sij_node.config.user_roles import Role
from sij_node.store.change_log import newest_changes
from sij_node.web import pages
from sij_node.web.pages import users_page
from sij_node.web.pages.study_page import ACTIONS
from tests.support.command_line import sij_node
from tests.support.running_web import PASSWORD, RunningWeb, csrf_token_in, running_web, sign_in
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    with running_web(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture(scope="module")
def administrator(web: RunningWeb) -> Iterator[httpx.Client]:
    with web.browser(Role.ADMINISTRATOR) as browser:
        yield browser


def doors(router: APIRouter) -> Iterator[tuple[str, str]]:
    """Method and address of every route, with something in place of what varies."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            address = route.path
            for name, value in (("job_id", 1), ("token_id", 1), ("title", "PACS"), ("name", "x")):
                address = address.replace(f"{{{name}}}", str(value))
            for action in ACTIONS if "{action}" in address else ("",):
                door = address.replace("{action}", action)
                yield from ((method, door) for method in route.methods)
        else:
            yield from doors(route.original_router)


DOORS = sorted({*doors(pages.router), *doors(users_page.router)})


def test_every_page_is_among_those_tried():
    assert {("GET", "/"), ("GET", "/jobs/1"), ("POST", "/peers/PACS/echo")} <= set(DOORS)
    assert {("POST", f"/jobs/1/{action}") for action in ACTIONS} <= set(DOORS)
    assert not any("{" in address for _, address in DOORS)


@pytest.mark.parametrize(("method", "address"), DOORS)
def test_no_page_opens_without_signing_in(web: RunningWeb, method: str, address: str):
    with web.visitor() as visitor:
        assert visitor.request(method, address).status_code == 401


@pytest.mark.parametrize(
    "address", [address for method, address in DOORS if method == "POST" and "token" not in address]
)
def test_a_viewer_changes_nothing_on_any_page(web: RunningWeb, address: str):
    with web.browser(Role.VIEWER) as viewer:
        answer = viewer.post(address)

    assert answer.status_code in ((403, 422) if address == "/rules" else (403,))


def test_a_new_user_sets_a_password_by_the_link(web: RunningWeb, administrator: httpx.Client):
    shown = administrator.post("/users", data={"name": "Braun", "role": "operator"}).text
    link = shown.split('id="invitation">', 1)[1].split("<", 1)[0]
    with web.visitor() as visitor:
        form = {"csrf_token": csrf_token_in(visitor.get(link).text), "password": PASSWORD}

        assert link.startswith(web.url)
        assert visitor.post(link, data=form).status_code == 303
        assert "braun</a>, operator" in visitor.get("/").text


def test_a_name_that_is_taken_or_misleading_is_refused_in_words(administrator: httpx.Client):
    administrator.post("/users", data={"name": "vogel", "role": "viewer"})

    again = administrator.post("/users", data={"name": "vogel", "role": "viewer"})
    hostile = administrator.post("/users", data={"name": "<script>", "role": "viewer"})

    assert again.status_code == hostile.status_code == 422
    assert "already" in again.text
    assert "<script>alert" not in hostile.text


def test_administrators_cannot_lock_themselves_out(web: RunningWeb, administrator: httpx.Client):
    (me,) = [user.name for user in web.access.users() if user.role is Role.ADMINISTRATOR]

    assert administrator.post(f"/users/{me}/disable").status_code == 422
    assert administrator.post(f"/users/{me}/role", data={"role": "viewer"}).status_code == 422
    assert administrator.get("/users").status_code == 200


def test_changing_a_role_and_disabling_a_user_are_audited(
    web: RunningWeb, administrator: httpx.Client
):
    web.add_user("kurz", Role.VIEWER)
    administrator.post("/users/kurz/role", data={"role": "operator"})
    administrator.post("/users/kurz/disable")

    changes = [(one.action, one.subject) for one in newest_changes(web.table.database, 2)]
    assert changes == [("disable user", "user kurz"), ("set role", "user kurz")]
    with web.visitor() as visitor:
        assert sign_in(visitor, "kurz").status_code == 401


def test_a_token_is_made_shown_once_and_revoked_on_the_page(web: RunningWeb):
    with web.browser(Role.OPERATOR) as browser, web.visitor() as program:
        asked = {"label": "night <b>script</b>", "role": "viewer", "days": 30}
        shown = browser.post("/account/tokens", data=asked).text
        secret = shown.split('id="token">', 1)[1].split("<", 1)[0]
        program.headers["authorization"] = f"Bearer {secret}"
        before = program.get("/api/v1/me").status_code
        number = shown.split("/account/tokens/", 1)[1].split("/", 1)[0]
        browser.post(f"/account/tokens/{number}/revoke")

        assert (before, program.get("/api/v1/me").status_code) == (200, 401)
        assert secret not in browser.get("/account").text
        assert "<b>" not in shown


def test_large_uploads_are_accepted_from_signed_in_users_only(web: RunningWeb):
    large = {"file": ("x.dcm", b"x" * 200_000)}
    with web.visitor() as visitor, web.browser(Role.VIEWER) as viewer:
        visitor.get("/login")
        visitor.cookies.set("sij-session", "made up", domain="127.0.0.1")

        assert visitor.post("/rules", files=large).status_code == 413
        assert viewer.post("/rules", files=large).status_code != 413


# ---- the command line --------------------------------------------------------------------------


def test_users_are_managed_on_the_command_line_and_audited(tmp_path: Path):
    config = set_up(tmp_path, "PACS", 104).config

    added = sij_node("users", "add", "anna", "--role", "operator", "--config", config)
    disabled = sij_node("users", "disable", "anna", "--config", config)
    listed = sij_node("users", "list", "--json", "--config", config)
    noted = sij_node("changes", "--json", "--config", config)

    assert "http://127.0.0.1:8570/welcome/" in added.stdout
    assert disabled.returncode == 0
    assert json.loads(listed.stdout) == [{"name": "anna", "role": "operator", "status": "disabled"}]
    assert [one["action"] for one in json.loads(noted.stdout)] == ["disable user", "add user"]


def test_a_user_who_is_not_there_is_exit_67(tmp_path: Path):
    config = set_up(tmp_path, "PACS", 104).config

    assert sij_node("users", "reset", "nobody", "--config", config).returncode == 67


def test_the_first_start_prints_a_link_that_opens_the_page(tmp_path: Path):
    port = free_port()
    config = set_up(tmp_path, "PACS", 104, web={"port": port}).config
    command = [sys.executable, "-m", "sij_node", "web", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = process.stdout.readline()
            link = told.split()[-1]
            shown = wait_for(lambda: _answer(link), "page")
        finally:
            process.terminate()

    assert link.startswith(f"http://127.0.0.1:{port}/welcome/")
    assert "Set a password for admin" in shown
    assert process.returncode == 0


def _answer(link: str) -> str:
    try:
        return httpx.get(link).text
    except httpx.TransportError:
        return ""
