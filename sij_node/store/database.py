"""The database under the job table: opening it, migrating it, and writing to it safely.

SQLite for one machine, PostgreSQL where workers run on several. Both are told to acknowledge
nothing before it is on the disk: SQLite by WAL with synchronous=FULL (with NORMAL a failing
fsync goes unnoticed), PostgreSQL by synchronous_commit=on.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Row, Select, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sij_node.errors import ConfigurationInvalid, DatabaseUnavailable, InternalFault

BUSY_TIMEOUT_S = 10
"""How long to wait for a lock or a connection; a sender waits about a minute for its answer."""
_ASIDE_S = 0.02
"""Between two tries of what SQLite does not wait for by itself."""
MIGRATION_TIMEOUT_S = 600
"""How long to wait at the start for a process that brings the tables up to date."""
_MIGRATING = 5170001
_OPENING = 5170002
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """Connect to the database, make it where it is new, and bring its tables up to date.

    Several processes may call this at once: one migrates, the others wait for it.

    Parameters
    ----------
    url
        ``sqlite:///absolute/path`` or ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    ConfigurationInvalid
        If the URL cannot be used, or a newer version of the node has written the database.
    DatabaseUnavailable
        If it does not answer, or the folder cannot be written to.
    """
    patient = _engine(url, MIGRATION_TIMEOUT_S)
    try:
        with Database(patient).writing() as connection:
            _lock(connection, _MIGRATING)
            _migrate(connection)
    finally:
        patient.dispose()
    return _engine(url)


@dataclass(frozen=True)
class Schema:
    """Which tables a database has, and which this version of the node needs.

    Parameters
    ----------
    place
        The database, without user and password.
    current
        Its schema; None where it has no tables yet.
    known
        Every schema that this version can bring up to date.
    """

    place: str
    current: str | None
    newest: str
    known: tuple[str, ...]


def schema_of(url: str) -> Schema:
    """Look at the tables of a database; nothing is made or changed.

    Raises
    ------
    ConfigurationInvalid
        If the URL cannot be used.
    DatabaseUnavailable
        If it does not answer.
    """
    known = tuple(
        one.revision for one in ScriptDirectory.from_config(alembic_settings()).walk_revisions()
    )
    file = make_url(url).database if url.startswith("sqlite") else None
    if file and not Path(file).exists():
        return Schema(file, None, known[0], known)
    with as_it_is(url) as database, database.reading() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        return Schema(_place(connection.engine), current, known[0], known)


@contextmanager
def as_it_is(url: str) -> Iterator["Database"]:
    """A database to look at, whatever tables it has."""
    engine = _engine(url)
    try:
        yield Database(engine)
    finally:
        engine.dispose()


class Database:
    """Transactions on an engine, with the database's own errors told in the node's words.

    SQLite has one writer at a time. Threads of this process queue up for that, which is fairer
    and quicker than each asking the file again and again; other processes wait at the file.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(writes=True)
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that only reads."""
        with _in_our_words(self._engine), self._engine.connect() as connection:
            yield connection

    def rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """All rows that one statement selects."""
        with self.reading() as connection:
            return connection.execute(statement).all()

    def row(self, statement: Select[Any]) -> Row[Any] | None:
        """The row of a statement that selects one at most."""
        with self.reading() as connection:
            return connection.execute(statement).one_or_none()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that is durable when the block ends, or undone if it raises."""
        if self._turn is None:
            with _in_our_words(self._engine), self._writing.begin() as connection:
                yield connection
        elif not self._turn.acquire(timeout=BUSY_TIMEOUT_S):
            raise _unavailable(self._engine, "other threads are writing")
        else:
            try:
                with _in_our_words(self._engine), self._writing.begin() as connection:
                    yield connection
            finally:
                self._turn.release()


def lock_openings(connection: Connection) -> None:
    """Let no other process open or queue a job until this transaction ends.

    On SQLite every writing transaction has this to itself anyway.
    """
    _lock(connection, _OPENING)


def _lock(connection: Connection, key: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _engine(url: str, busy_timeout_s: int = BUSY_TIMEOUT_S) -> Engine:
    try:
        parsed = make_url(url)
        dialect = parsed.get_backend_name()
        if dialect == "sqlite":
            _make_private_file(parsed.database)
            return _sqlite_engine(url, busy_timeout_s)
        if dialect == "postgresql":
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                pool_timeout=BUSY_TIMEOUT_S,
                connect_args=_postgres_settings(busy_timeout_s),
                hide_parameters=True,
            )
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationInvalid(
            "[database] url cannot be read. "
            "Write it as postgresql+psycopg://user@host/name, or leave it empty for SQLite."
        ) from error
    raise ConfigurationInvalid(
        f"[database] url names {dialect}; PostgreSQL and SQLite are possible. "
        "Write postgresql+psycopg://user@host/name, or leave it empty for SQLite."
    )


def _postgres_settings(busy_timeout_s: int) -> dict[str, Any]:
    return {
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
        "application_name": "sij-node",
        "options": f"-c synchronous_commit=on -c lock_timeout={busy_timeout_s}s -c timezone=UTC",
    }


def _make_private_file(database: str | None) -> None:
    if not database or database == ":memory:":
        raise ConfigurationInvalid(
            "[database] url names no file; jobs have to survive a power cut. "
            "Write sqlite:///absolute/path/jobs.sqlite, or leave it empty."
        )
    path = Path(database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(
            f"The job table at {path} cannot be written: {error.strerror}. "
            "Check that the folder exists, has room and belongs to the user who runs the node."
        ) from error


def _sqlite_engine(url: str, busy_timeout_s: int) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": busy_timeout_s},
        pool_timeout=BUSY_TIMEOUT_S,
        hide_parameters=True,
    )
    event.listen(engine, "connect", partial(_prepare_sqlite, busy_timeout_s))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(busy_timeout_s: int, connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    _write_ahead(connection, busy_timeout_s)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _write_ahead(connection: sqlite3.Connection, busy_timeout_s: int) -> None:
    """Keep a journal that is written ahead.

    SQLite does not wait for its turn to change the journal, as it does for everything else, and
    processes that open a new file together would fail.
    """
    deadline = monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
        sleep(_ASIDE_S)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    settings = alembic_settings()
    settings.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(settings)
    known = {script.revision for script in scripts.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise ConfigurationInvalid(
            f"The database at {_place(connection.engine)} has schema {current}; this version of "
            f"the node knows {scripts.get_current_head()} at most. Install the newer version "
            "again, or restore the backup from before the upgrade."
        )
    if current != scripts.get_current_head():
        command.upgrade(settings, "head")


def alembic_settings() -> AlembicConfig:
    """Where Alembic finds the migrations."""
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return settings


@contextmanager
def _in_our_words(engine: Engine) -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise _unavailable(engine, "all connections are busy") from error
    except DBAPIError as error:
        if _is_outage(error):
            raise _unavailable(engine, _first_line(error)) from error
        raise _fault(engine, error) from error
    except (SQLAlchemyError, UnicodeError) as error:
        raise _fault(engine, error) from error


def _is_outage(error: DBAPIError) -> bool:
    """Connection, lock, disk and permission problems; not a statement wrong in itself."""
    names = {kind.__name__ for kind in type(error.orig).__mro__}
    if error.connection_invalidated or "InsufficientPrivilege" in names:
        return True
    return not names & {"IntegrityError", "ProgrammingError", "DataError", "NotSupportedError"}


def _unavailable(engine: Engine, why: str) -> DatabaseUnavailable:
    advice = (
        "Check that the disk has room and the file can be written"
        if engine.dialect.name == "sqlite"
        else "Check that PostgreSQL runs there and lets the node's user make and change tables"
    )
    return DatabaseUnavailable(
        f"The job table at {_place(engine)} does not answer: {why}. {advice}; "
        "the node tries again by itself."
    )


def _fault(engine: Engine, error: Exception) -> InternalFault:
    kind = type(getattr(error, "orig", None) or error).__name__
    detail = " (a promise of the tables would break)" if isinstance(error, IntegrityError) else ""
    return InternalFault(
        f"The job table at {_place(engine)} refused a statement: {kind}{detail}. "
        "This is a fault of the node; report it with the log around this line."
    )


def _first_line(error: DBAPIError) -> str:
    """What the driver says; it names hosts and files, never a row's content or a password."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


def _place(engine: Engine) -> str:
    url = engine.url
    if engine.dialect.name == "sqlite":
        return str(url.database)
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"
