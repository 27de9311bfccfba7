"""Opening and migrating the database, and losing the connection to it."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, text

from sij_node.domain.study import ReceivedInstance, Registration
from sij_node.errors import ConfigurationInvalid, DatabaseUnavailable
from sij_node.store import database
from sij_node.store.database import Database, open_database
from sij_node.store.job_queries import newest_jobs
from sij_node.store.job_table import JobTable
from sij_node.store.registration import received_instances
from sij_node.store.tables import metadata
from tests.support.job_tables import received
from tests.support.postgres import Postgres, running_postgres

ROOT = Path(__file__).parents[3]


# ---- opening and migrating ---------------------------------------------------------------


def test_a_new_database_gets_the_tables_that_the_code_expects(empty_database):
    engine = open_database(empty_database)

    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_opening_again_changes_nothing(database_url):
    first = open_database(database_url)
    JobTable(first).register(received(1), 5, opens_job=True)
    first.dispose()

    again = open_database(database_url)

    assert len(received_instances(JobTable(again).database, "1.2.3")) == 1
    again.dispose()


OPEN_TOGETHER = """
import sys
from sij_node.store.database import open_database
print("loaded", flush=True)
sys.stdin.readline()
open_database(sys.argv[1]).dispose()
"""


def test_processes_that_start_together_migrate_once(empty_database):
    command = [sys.executable, "-c", OPEN_TOGETHER, empty_database]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    starting = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(4)]
    for process in starting:
        assert process.stdout.readline() == "loaded\n"

    for process in starting:
        process.stdin.write("go\n")
        process.stdin.flush()

    said = [process.communicate(timeout=120)[1] for process in starting]
    assert [process.returncode for process in starting] == [0] * 4, said


def test_opening_waits_for_a_process_that_is_creating_the_sqlite_file(tmp_path):
    path = tmp_path / "jobs.sqlite"
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        ending = threading.Timer(0.5, other.execute, ("COMMIT",))
        ending.start()
        open_database(f"sqlite:///{path}").dispose()
        ending.join()


def test_a_database_of_a_newer_version_is_refused_by_name(database_url):
    engine = open_database(database_url)
    with Database(engine).writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    engine.dispose()

    with pytest.raises(ConfigurationInvalid, match=r"schema v9999; .* knows is v\d{4}"):
        open_database(database_url)


def test_an_sqlite_file_waits_for_the_disk_and_is_private(tmp_path):
    path = tmp_path / "node" / "jobs.sqlite"
    engine = open_database(f"sqlite:///{path}")

    with engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_postgresql_waits_for_the_disk(postgres):
    engine = open_database(postgres.create("durable"))

    with engine.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/jobs", "names mysql; only PostgreSQL and SQLite are supported"),
        ("jobs.sqlite", "is invalid"),
        ("sqlite://", "names no file"),
    ],
)
def test_an_url_that_cannot_be_used_is_refused(url, said):
    with pytest.raises(ConfigurationInvalid, match=said):
        open_database(url)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DatabaseUnavailable, match=r"file/jobs\.sqlite cannot be written"):
        open_database(f"sqlite:///{tmp_path}/file/jobs.sqlite")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 40)

    with pytest.raises(DatabaseUnavailable, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/jobs.sqlite")


def test_a_server_that_does_not_answer_is_named_without_the_password(postgres):
    with pytest.raises(DatabaseUnavailable) as error:
        open_database("postgresql://sij:s3cret@127.0.0.1:1/jobs")

    assert "127.0.0.1:1/jobs does not answer" in str(error.value)
    assert "s3cret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_permission_to_create_tables_is_reported(postgres):
    url = postgres.create("guarded")
    admin = open_database(postgres.create("admin"))
    with admin.connect() as connection:
        connection.execute(text("CREATE ROLE stranger LOGIN"))
        connection.commit()
    admin.dispose()

    with pytest.raises(DatabaseUnavailable, match="permission denied for schema public"):
        open_database(url.replace("sij@", "stranger@"))


# ---- losing it ---------------------------------------------------------------------------


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop and start without disturbing the others."""
    with running_postgres() as server:
        yield server


def register_until_it_works(table: JobTable, instance: ReceivedInstance) -> list[object]:
    """As a sender does that is answered 0xA700."""
    answers: list[object] = []
    while not answers or answers[-1] is DatabaseUnavailable:
        try:
            answers.append(table.register(instance, 5, opens_job=True))
        except DatabaseUnavailable:
            answers.append(DatabaseUnavailable)
            time.sleep(0.05)
    return answers


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_nothing_acknowledged_is_lost_when_postgresql_stops_and_starts(own_postgres, how):
    engine = open_database(own_postgres.create("jobs"))
    table = JobTable(engine)

    with ThreadPoolExecutor(8) as associations:
        sending = [
            associations.submit(register_until_it_works, table, received(n)) for n in range(1500)
        ]
        sending[100].result()
        own_postgres.stop(how)
        own_postgres.start()
        answers = [future.result(timeout=120) for future in sending]

    assert any(DatabaseUnavailable in tried for tried in answers)
    assert {tried[-1] for tried in answers} <= {Registration.NEW, Registration.DUPLICATE}
    assert len(received_instances(table.database, "1.2.3")) == 1500
    assert newest_jobs(table.database)[0].instances == 1500
    engine.dispose()


def test_a_connection_cut_at_commit_leaves_nothing_half_written(postgres):
    engine = open_database(postgres.create("cut"))
    table = JobTable(engine)

    def cut(connection: object) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    event.listen(engine, "commit", cut, once=True)
    with pytest.raises(DatabaseUnavailable):
        table.register(received(1), 5, opens_job=True)

    assert received_instances(table.database, "1.2.3") == ()
    assert newest_jobs(table.database) == []
    assert table.register(received(1), 5, opens_job=True) is Registration.NEW
    engine.dispose()


@pytest.fixture
def impatient(monkeypatch, tmp_path) -> Iterator[tuple[JobTable, Path]]:
    """An SQLite table that gives up on a lock after a moment."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "jobs.sqlite"
    engine = open_database(f"sqlite:///{path}")
    yield JobTable(engine), path
    engine.dispose()


def test_an_sqlite_file_locked_by_another_program_is_unavailable(impatient):
    table, path = impatient
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="database is locked"):
            table.register(received(1), 5, opens_job=True)
        other.execute("ROLLBACK")

    assert table.register(received(1), 5, opens_job=True) is Registration.NEW


def test_a_thread_that_writes_for_too_long_makes_the_others_say_so(impatient):
    table, _ = impatient
    writing, done = threading.Event(), threading.Event()

    def write() -> None:
        with table._database.writing():
            writing.set()
            done.wait()

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait()
    with pytest.raises(DatabaseUnavailable, match="waited too long for other writers"):
        table.register(received(1), 5, opens_job=True)
    done.set()
    thread.join()

    assert table.register(received(1), 5, opens_job=True) is Registration.NEW


def test_a_full_disk_refuses_the_instance_and_keeps_what_was_there(impatient):
    table, _ = impatient
    engine = table._database._engine
    event.listen(engine, "begin", _leave_no_page)

    with pytest.raises(DatabaseUnavailable, match="disk is full"):
        register_all(table, range(1000))

    event.remove(engine, "begin", _leave_no_page)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    kept = len(received_instances(table.database, "1.2.3"))
    assert 0 < kept < 1000
    assert newest_jobs(table.database)[0].instances == kept
    assert table.register(received(kept), 5, opens_job=True) is Registration.NEW


def register_all(table: JobTable, numbers: range) -> None:
    for number in numbers:
        table.register(received(number), 5, opens_job=True)


def _leave_no_page(connection: object) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count = 60")
