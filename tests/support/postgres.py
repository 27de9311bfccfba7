"""A PostgreSQL server for tests, in its own folder, stopped by its process id."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.trial import free_port

USER = "sij"
START_S = 60


class Postgres:
    """A server on a loopback port; its databases are deleted with it."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._cluster = folder / "cluster"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._run(
            "initdb",
            "-D",
            str(self._cluster),
            "-U",
            USER,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        )

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it responds."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "fsync": "on" if self._durable else "off",
            "shared_buffers": "32MB",
            "max_connections": "60",
            "autovacuum": "off",  # hundreds of databases, none of which lives long
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*_ends_with_us(), str(_binary("postgres")), "-D", str(self._cluster), *options],
                stdout=output,
                stderr=output,
                cwd=self._folder,
                **_unprivileged(),
            )
        self._wait_until_it_answers()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT closes its sessions, SIGQUIT is an immediate shutdown."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=START_S)
            self._process = None

    def create(self, database: str, template: str = "template0") -> str:
        """Create a database as a copy of another, and return its URL."""
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(database), sql.Identifier(template)
        )
        with psycopg.connect(self._dsn(), autocommit=True) as connection:
            connection.execute(make)
        return self.url(database)

    def _dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname=postgres connect_timeout=2"

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        answered = False
        while not answered:
            try:
                psycopg.connect(self._dsn()).close()
                answered = True
            except psycopg.OperationalError:
                if self._process is None or self._process.poll() is not None:
                    raise RuntimeError(
                        "PostgreSQL did not start: " + (self._folder / "server.log").read_text()
                    ) from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_binary(program)), *arguments],
            capture_output=True,
            text=True,
            cwd=self._folder,
            check=False,
            **_unprivileged(),
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """A server within a ``with`` block."""
    folder = Path(tempfile.mkdtemp(prefix="sij-postgres-"))
    if os.geteuid() == 0:
        os.chown(folder, _servant().pw_uid, _servant().pw_gid)
    server = None
    try:
        server = Postgres(folder, durable=durable)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name: str) -> Path:
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in (*places, *debian):
        if (place / name).exists():
            return (place / name).resolve()  # initdb finds its siblings beside itself
    raise RuntimeError(
        f"No {name} on this machine: the job table is tested on a real PostgreSQL. "
        "Install it, on Debian with: apt-get install postgresql (no server has to be running)."
    )


def _ends_with_us() -> tuple[str, ...]:
    """Command prefix that stops the server when the tests are killed, if available."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "INT", "--") if setpriv else ()


def _unprivileged() -> dict[str, int | list[int]]:
    """PostgreSQL refuses to run as root; under root it runs as an unprivileged user."""
    if os.geteuid() != 0:
        return {}
    servant = _servant()
    return {"user": servant.pw_uid, "group": servant.pw_gid, "extra_groups": []}


def _servant() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
