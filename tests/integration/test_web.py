"""The page and the API as a browser or a program meets them, over a real job table."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sij_node.accounts import Role
from tests.support.running_web import RunningWeb, running_web, sign_in


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RunningWeb]:
    with running_web(tmp_path) as running:
        yield running


def test_nobody_sees_the_queue_without_signing_in(web: RunningWeb):
    with web.visitor() as visitor:
        answer = visitor.get("/")

    assert answer.status_code == 401
    assert "queued" not in answer.text


def test_who_is_signed_in_sees_the_queue(web: RunningWeb):
    with web.browser(Role.VIEWER) as browser:
        answer = browser.get("/")

    assert answer.status_code == 200
    assert "queued" in answer.text


def test_a_wrong_password_opens_nothing(web: RunningWeb):
    web.add_user("meier", Role.VIEWER)
    with web.visitor() as visitor:
        answer = sign_in(visitor, "meier", "a wrong password")

        assert answer.status_code == 401
        assert visitor.get("/").status_code == 401


def test_probes_answer_anybody_and_tell_nothing(web: RunningWeb):
    with web.visitor() as visitor:
        assert visitor.get("/live").json() == {"status": "ok"}
        assert visitor.get("/ready").json() == {"status": "ok"}
