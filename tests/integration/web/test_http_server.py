"""Silent and slow clients take nothing away from the pages and the probes."""

import resource
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from sij_node.config.user_roles import Role
from sij_node.web import http_server
from tests.support.certificates import authority, signed_by
from tests.support.running_web import RunningWeb, running_web, sign_in
from tests.support.waiting import PATIENCE_S

HALF_SENT = (
    b"",
    b"GET / HT",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nname=",
)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RunningWeb]:
    with running_web(tmp_path) as running:
        yield running


@contextmanager
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(web: RunningWeb) -> socket.socket:
    url = httpx.URL(web.url)
    return socket.create_connection((url.host, url.port), timeout=PATIENCE_S)


def test_a_thousand_unfinished_requests_keep_no_probe_waiting(web: RunningWeb):
    slowest_s = 0.0
    with many_descriptors(), ExitStack() as stack:
        for number in range(1000):
            one = stack.enter_context(connected(web))
            one.sendall(HALF_SENT[number % len(HALF_SENT)])
            if number % 100 == 99:
                for path in ("/live", "/ready", "/metrics", "/login"):
                    began = time.monotonic()
                    assert httpx.get(web.url + path, timeout=PATIENCE_S).status_code == 200
                    slowest_s = max(slowest_s, time.monotonic() - began)

    assert slowest_s < http_server.TIMEOUTS_S["head"]


@pytest.mark.parametrize("beginning", HALF_SENT)
def test_an_unfinished_request_is_closed_at_its_deadline(
    web: RunningWeb, monkeypatch: pytest.MonkeyPatch, beginning: bytes
):
    for phase in ("head", "body"):
        monkeypatch.setitem(http_server.TIMEOUTS_S, phase, 0.3)

    with connected(web) as one:
        one.sendall(beginning)
        assert _closed(one)


def test_a_connection_that_is_reused_has_the_deadlines_too(
    web: RunningWeb, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(http_server.TIMEOUTS_S, "head", 2.0)

    with connected(web) as one:
        one.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert one.recv(4096).startswith(b"HTTP/1.1 200")
        one.sendall(b"GET /live HT")
        assert _closed(one)


def test_a_silent_client_ends_before_its_tls_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http_server, "HANDSHAKE_TIMEOUT_S", 0.3)
    ca = authority(tmp_path, "ca")
    own = signed_by(ca, tmp_path, "web")
    tls = {"certificate": str(own.certificate), "private_key": str(own.private_key)}

    with running_web(tmp_path / "node", **{"web.tls": tls}) as web, connected(web) as one:
        trust = ssl.create_default_context(cafile=ca.certificate)
        assert httpx.get(f"{web.url}/live", verify=trust).status_code == 200
        assert _closed(one)


def _closed(one: socket.socket) -> bool:
    """Whether the server ends the connection; `TimeoutError` if it never does."""
    try:
        while one.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_parallel_guesses_get_no_more_tries_than_guesses_in_turn(web: RunningWeb):
    web.add_user("meier", Role.VIEWER)

    def guess(number: int) -> int:
        with web.visitor() as visitor:
            return sign_in(visitor, "meier", f"a wrong password {number}").status_code

    with ThreadPoolExecutor(30) as threads:
        statuses = list(threads.map(guess, range(60)))

    assert statuses.count(401) == 5
    assert statuses.count(429) == 55


def test_pages_beyond_the_limit_are_refused_but_probes_are_not(
    web: RunningWeb, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http_server, "MAX_REQUESTS", 0)

    busy = httpx.get(f"{web.url}/login")

    assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
    assert httpx.get(f"{web.url}/ready").status_code == 200
