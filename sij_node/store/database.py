"""The database: connection, migration and transactions.

SQLite for one host, PostgreSQL for workers on several hosts. Both acknowledge a commit only when it
is on disk: SQLite in WAL mode with synchronous=FULL (with NORMAL a failing fsync goes unnoticed),
PostgreSQL with synchronous_commit=on.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
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
"""Wait for a lock or a connection; senders wait about a minute for a C-STORE response."""
_JOURNAL_RETRY_S = 0.02
"""Delay between attempts to switch the journal mode, for which SQLite does not wait itself."""
MIGRATION_TIMEOUT_S = 600
"""Wait at start for another process that is migrating the database."""
_MIGRATING = 5170001
_OPENING = 5170002
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """Connect to the database; create or migrate it if necessary.

    Several processes may call this at once: one migrates, the others wait.

    Parameters
    ----------
    url
        ``sqlite:///absolute/path`` or ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    ConfigurationInvalid
        If the URL is invalid, or the database has the schema of a newer version.
    DatabaseUnavailable
        If it is unreachable, or its folder is not writable.
    """
    engine = _engine(url, MIGRATION_TIMEOUT_S)
    try:
        with Database(engine).writing() as connection:
            _lock(connection, _MIGRATING)
            _migrate(connection)
    finally:
        engine.dispose()
    return _engine(url)


@dataclass(frozen=True)
class Schema:
    """The schema revision of a database, and the revisions that this version knows.

    Parameters
    ----------
    place
        The database, without user and password.
    current
        Its revision; None if it has no tables yet.
    newest
        The revision of this version.
    known
        Every revision that this version can migrate.
    """

    place: str
    current: str | None
    newest: str
    known: tuple[str, ...]


def schema_of(url: str) -> Schema:
    """Read the schema revision of a database without creating or changing anything.

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
    with open_unmigrated(url) as database, database.reading() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        return Schema(_place(connection.engine), current, known[0], known)


@contextmanager
def open_unmigrated(url: str) -> Iterator["Database"]:
    """Context manager: a database as it is, without migration."""
    engine = _engine(url)
    try:
        yield Database(engine)
    finally:
        engine.dispose()


class Database:
    """Transactions, with database errors translated to those of the node.

    SQLite allows one writer at a time. Threads of this process queue for a lock, which is fairer
    and faster than polling the file as other processes must.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(writes=True)
        self._write_lock = threading.Lock() if engine.dialect.name == "sqlite" else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only transaction."""
        with _translated_errors(self._engine), self._engine.connect() as connection:
            yield connection

    def rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """All rows of a statement."""
        with self.reading() as connection:
            return connection.execute(statement).all()

    def row(self, statement: Select[Any]) -> Row[Any] | None:
        """The row of a statement that selects at most one; None if it selects none."""
        with self.reading() as connection:
            return connection.execute(statement).one_or_none()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, committed durably at the end of the block or rolled back on error."""
        if self._write_lock is None:
            with _translated_errors(self._engine), self._writing.begin() as connection:
                yield connection
        elif not self._write_lock.acquire(timeout=BUSY_TIMEOUT_S):
            raise _unavailable(self._engine, "waited too long for other writers")
        else:
            try:
                with _translated_errors(self._engine), self._writing.begin() as connection:
                    yield connection
            finally:
                self._write_lock.release()


def lock_openings(connection: Connection) -> None:
    """Let no other process open or queue a job until this transaction ends.

    On SQLite every writing transaction is exclusive anyway.
    """
    _lock(connection, _OPENING)


_INSERT: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def insert_or_update(
    connection: Connection,
    table: Table,
    row: Mapping[str, Any],
    keys: Sequence[Column[Any]],
    **only_new: Any,
) -> None:
    """Insert a row, or update the one with the same keys.

    Parameters
    ----------
    only_new
        Further columns of a new row, which an existing one keeps.
    """
    connection.execute(
        _INSERT[connection.dialect.name](table)
        .values(**row, **only_new)
        .on_conflict_do_update(index_elements=keys, set_=dict(row))
    )


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
            "[database] url is invalid. "
            "Write it as postgresql+psycopg://user@host/name, or leave it empty for SQLite."
        ) from error
    raise ConfigurationInvalid(
        f"[database] url names {dialect}; only PostgreSQL and SQLite are supported. "
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
            "[database] url names no file; jobs must survive a power cut. "
            "Write sqlite:///absolute/path/jobs.sqlite, or leave it empty."
        )
    path = Path(database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(
            f"The database at {path} cannot be written: {error.strerror}. "
            "Check that the folder exists, has free space and belongs to the user running the node."
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
    connection.isolation_level = None  # the driver must not begin transactions itself
    _write_ahead(connection, busy_timeout_s)
    # secure_delete: what was deleted, patient IDs among it, is overwritten in the file.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _write_ahead(connection: sqlite3.Connection, busy_timeout_s: int) -> None:
    """Switch to write-ahead logging.

    SQLite does not apply its busy timeout to this, so processes that open a new file at the same
    time would fail.
    """
    deadline = monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
        sleep(_JOURNAL_RETRY_S)


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
            f"The database at {_place(connection.engine)} has schema {current}; the newest that "
            f"this version knows is {scripts.get_current_head()}. Install the newer version "
            "again, or restore the backup from before the upgrade."
        )
    if current != scripts.get_current_head():
        command.upgrade(settings, "head")


def alembic_settings() -> AlembicConfig:
    """Alembic settings with the location of the migrations."""
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return settings


@contextmanager
def _translated_errors(engine: Engine) -> Iterator[None]:
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
    """Connection, lock, disk and permission problems, but not invalid statements."""
    names = {kind.__name__ for kind in type(error.orig).__mro__}
    if error.connection_invalidated or "InsufficientPrivilege" in names:
        return True
    return not names & {"IntegrityError", "ProgrammingError", "DataError", "NotSupportedError"}


def _unavailable(engine: Engine, why: str) -> DatabaseUnavailable:
    advice = (
        "Check that the disk has free space and the file is writable"
        if engine.dialect.name == "sqlite"
        else "Check that PostgreSQL is running and that the node's user may create and alter tables"
    )
    return DatabaseUnavailable(
        f"The database at {_place(engine)} does not answer: {why}. {advice}; "
        "the node retries automatically."
    )


def _fault(engine: Engine, error: Exception) -> InternalFault:
    kind = type(getattr(error, "orig", None) or error).__name__
    detail = " (constraint violated)" if isinstance(error, IntegrityError) else ""
    return InternalFault(
        f"The database at {_place(engine)} refused a statement: {kind}{detail}. "
        "This is an internal error; report it with the surrounding log."
    )


def _first_line(error: DBAPIError) -> str:
    """The driver's message, which names hosts and files, but no row content and no password."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


def _place(engine: Engine) -> str:
    url = engine.url
    if engine.dialect.name == "sqlite":
        return str(url.database)
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"
