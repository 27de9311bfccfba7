"""The databases of the tests: SQLite, and a PostgreSQL server started by the tests."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from sij_node.store.database import open_database
from sij_node.store.job_table import JobTable
from tests.support.postgres import Postgres, running_postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole session, with a migrated database to copy from."""
    with running_postgres() as server:
        open_database(server.create("migrated")).dispose()
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create(f"empty{next(_numbers)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database with all tables and no row."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create(f"test{next(_numbers)}", template="migrated")


@pytest.fixture
def table(database_url: str) -> Iterator[JobTable]:
    """A job table on each kind of database."""
    engine = open_database(database_url)
    yield JobTable(engine)
    engine.dispose()
