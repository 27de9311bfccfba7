"""The pages and the API on a loopback port, with a real job table and spool."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from deploy.trial import set_up
from sij_node.config.settings import Config, load_config
from sij_node.config.user_roles import Role
from sij_node.domain.health import ProcessRole
from sij_node.operate.authentication import Authentication
from sij_node.processes.assembly import Store, audited, open_store
from sij_node.processes.web_process import web_parts
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity_table import PeerActivityLog
from sij_node.web.app import create_app, listening, serving
from sij_node.web.dependencies import Parts

PASSWORD = "correct horse battery"
QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
"""The production hash with weak parameters, to keep tests fast."""


class TestClock:
    """Clock of the sessions: fixed unless a test moves it `ahead`."""

    __test__ = False

    def __init__(self) -> None:
        self.begun = datetime.now(UTC)
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return self.begun + self.ahead

    def monotonic(self) -> float:
        return self().timestamp()


@dataclass(frozen=True)
class RunningWeb:
    """A web server at `url` and its tables."""

    url: str
    config: Config
    parts: Parts
    store: Store
    clock: TestClock

    @property
    def table(self) -> JobTable:
        return self.store.table

    @property
    def access(self) -> Authentication:
        return self.parts.access

    def add_user(self, name: str, role: Role) -> None:
        """Add a user with `PASSWORD`."""
        secret = self.access.add(name, role, "test")
        self.access.accept_invitation(secret, PASSWORD, "127.0.0.1")

    def visitor(self) -> httpx.Client:
        """An HTTP client without a session; the caller closes it."""
        return httpx.Client(base_url=self.url, timeout=30)

    @contextmanager
    def browser(self, role: Role = Role.VIEWER) -> Iterator[httpx.Client]:
        """An HTTP client signed in as a new user of this role; its changes carry the CSRF token."""
        name = f"{role.value}{len(self.access.users())}"
        self.add_user(name, role)
        with self.visitor() as client:
            sign_in(client, name)
            client.headers["x-csrf-token"] = csrf_token_in(client.get("/").text)
            yield client

    @contextmanager
    def program(self, role: Role = Role.VIEWER) -> Iterator[httpx.Client]:
        """An API client with a token of this role."""
        name = f"{role.value}{len(self.access.users())}"
        self.add_user(name, role)
        session = self.access.sign_in(name, PASSWORD, "127.0.0.1")
        person = self.access.person_of_session(session)
        _, secret = self.access.add_token(person, "test", role, timedelta(days=1))
        with self.visitor() as client:
            client.headers["authorization"] = f"Bearer {secret}"
            yield client


def sign_in(client: httpx.Client, name: str, password: str = PASSWORD) -> httpx.Response:
    """Fill in and submit the sign-in form."""
    form = {
        "csrf_token": csrf_token_in(client.get("/login").text),
        "name": name,
        "password": password,
    }
    return client.post("/login", data=form)


def csrf_token_in(text: str) -> str:
    """The CSRF token of a page's first form."""
    return text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]


@contextmanager
def running_web(
    folder: Path,
    change: Callable[[Parts], Parts] = lambda parts: parts,
    **sections: dict[str, object],
) -> Iterator[RunningWeb]:
    """A web server on a free port within a ``with`` block.

    Parameters
    ----------
    change
        What a test needs otherwise, for instance another `echo`.
    sections
        Of config.toml, for instance ``web={"idle_timeout_minutes": 5}``.
    """
    trial = set_up(folder, "PACS", 104, **sections)
    config = load_config(trial.config)
    clock = TestClock()
    with (
        capture_logs(),
        open_store(config) as store,
        audited(config, ProcessRole.WEB) as trail,
    ):
        parts = web_parts(config, store, trail, PeerActivityLog(store.contacts))
        access = replace(parts.access, clock=clock, monotonic=clock.monotonic, hasher=QUICK_HASHER)
        parts = change(replace(parts, clock=clock, access=access))
        scheme = "https" if config.web.tls else "http"
        with (
            listening("127.0.0.1", 0) as door,
            serving(create_app(parts), config.web, door),
        ):
            url = f"{scheme}://127.0.0.1:{door.getsockname()[1]}"
            yield RunningWeb(url, config, parts, store, clock)
