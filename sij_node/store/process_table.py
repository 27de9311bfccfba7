"""The processes of the node: each sends a heartbeat every few seconds.

The database dates heartbeats and tells their age, so the clocks of several hosts need not agree.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, func, insert, select, type_coerce, update

from sij_node import __version__
from sij_node.domain.health import Process, ProcessHeartbeat, ProcessRole
from sij_node.errors import DatabaseUnavailable
from sij_node.store.database import Database
from sij_node.store.tables import Utc, process_from, processes

BEAT_S = 5.0
GONE_S = 900.0
"""A process that has been silent for this long is forgotten."""


def this_process(role: ProcessRole) -> Process:
    """What can be said of the process that calls this, before it has begun to work."""
    host, pid = socket.gethostname(), os.getpid()
    return Process(f"{host}:{pid}", role, host, pid, __version__, datetime.now(UTC))


class ProcessTable:
    """The processes that report themselves.

    Every method raises `DatabaseUnavailable` if the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, process: Process) -> None:
        """Note what a process says of itself, and that it lives."""
        said = {**vars(process), "role": process.role.value, "beaten_at": func.current_timestamp()}
        mine = processes.c.name == process.name
        with self._database.writing() as connection:
            known = connection.execute(update(processes).where(mine).values(said))
            if not known.rowcount:
                connection.execute(insert(processes).values(said))

    def end(self, name: str) -> None:
        """Forget a process that ends as it should."""
        with self._database.writing() as connection:
            connection.execute(delete(processes).where(processes.c.name == name))

    def seen(self) -> tuple[ProcessHeartbeat, ...]:
        """Every process that is known, the one that started first first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(processes, _now().label("now")).order_by(
                    processes.c.started_at, processes.c.name
                )
            )
            return tuple(
                ProcessHeartbeat(
                    process_from(row), max(0.0, (row.now - row.beaten_at).total_seconds())
                )
                for row in rows
            )

    def succeed(self, process: Process, lives: Callable[[int], bool]) -> None:
        """Forget those that a process takes the place of.

        These are the ones of its role and machine that ended without a word, and on whatever
        machine those that have been silent for `GONE_S`.

        Parameters
        ----------
        lives
            Whether there is a process with this id on this machine.
        """
        for one in self.seen():
            other = one.process
            is_alike = (other.role, other.host) == (process.role, process.host)
            if one.silent_s >= GONE_S or (is_alike and not lives(other.pid)):
                self.end(other.name)


def lives_here(pid: int) -> bool:
    """Whether there is a process with this id on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def beating(
    table: ProcessTable, describe: Callable[[], Process], *also: Callable[[], object]
) -> Iterator[None]:
    """Report a process until the block ends.

    A database that does not answer stops nothing: the next beat may reach it.

    Parameters
    ----------
    describe
        What the process says of itself now.
    also
        What else is written at each beat and at the end.
    """
    done = threading.Event()

    def beat() -> None:
        with suppress(DatabaseUnavailable):
            table.succeed(describe(), lives_here)
        while not done.is_set():
            with suppress(DatabaseUnavailable):
                table.beat(describe())
                for write in also:
                    write()
            done.wait(BEAT_S)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        take_leave(table, describe(), *also)


def take_leave(table: ProcessTable, process: Process, *also: Callable[[], object]) -> None:
    """Write what is left to write and forget the process, if the database answers."""
    with suppress(DatabaseUnavailable):
        for write in also:
            write()
        table.end(process.name)


def _now() -> ColumnElement[datetime]:
    return type_coerce(func.current_timestamp(), Utc)
