"""The processes of the node: each sends a heartbeat every few seconds.

The database timestamps heartbeats and computes their age, so that the clocks of several hosts need
not agree.
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

HEARTBEAT_S = 5.0
GONE_S = 900.0
"""A process without heartbeat for this long is removed from the table."""


def this_process(role: ProcessRole) -> Process:
    """The calling process, without job and networks."""
    host, pid = socket.gethostname(), os.getpid()
    return Process(f"{host}:{pid}", role, host, pid, __version__, datetime.now(UTC))


class ProcessTable:
    """The running processes and their heartbeats.

    Every method raises `DatabaseUnavailable` if the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_heartbeat(self, process: Process) -> None:
        """Store a heartbeat with the current state of its process."""
        row = {**vars(process), "role": process.role.value, "beaten_at": func.current_timestamp()}
        mine = processes.c.name == process.name
        with self._database.writing() as connection:
            known = connection.execute(update(processes).where(mine).values(row))
            if not known.rowcount:
                connection.execute(insert(processes).values(row))

    def end(self, name: str) -> None:
        """Remove a process that has stopped."""
        with self._database.writing() as connection:
            connection.execute(delete(processes).where(processes.c.name == name))

    def seen(self) -> tuple[ProcessHeartbeat, ...]:
        """All processes, in the order in which they started."""
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

    def remove_dead(self, process: Process, is_alive: Callable[[int], bool]) -> None:
        """Remove processes that ended without deregistering.

        On the host of `process` these are those of its role that no longer run; on any host those
        without heartbeat for `GONE_S`.

        Parameters
        ----------
        is_alive
            Whether a process with this ID runs on this host.
        """
        for one in self.seen():
            other = one.process
            is_alike = (other.role, other.host) == (process.role, process.host)
            if one.silent_s >= GONE_S or (is_alike and not is_alive(other.pid)):
                self.end(other.name)


def is_running(pid: int) -> bool:
    """Whether a process with this ID runs on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def heartbeats(
    table: ProcessTable, describe: Callable[[], Process], *also: Callable[[], object]
) -> Iterator[None]:
    """Context manager: send heartbeats of a process, then deregister it.

    A database outage does not end this: the next heartbeat may succeed.

    Parameters
    ----------
    describe
        The process with its current job and networks.
    also
        Called after each heartbeat and at the end, to write more to the database.
    """
    done = threading.Event()

    def send_heartbeats() -> None:
        with suppress(DatabaseUnavailable):
            table.remove_dead(describe(), is_running)
        while not done.is_set():
            with suppress(DatabaseUnavailable):
                table.record_heartbeat(describe())
                for write in also:
                    write()
            done.wait(HEARTBEAT_S)

    thread = threading.Thread(target=send_heartbeats, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        deregister(table, describe(), *also)


def deregister(table: ProcessTable, process: Process, *also: Callable[[], object]) -> None:
    """Call `also` and remove the process, unless the database is unavailable."""
    with suppress(DatabaseUnavailable):
        for write in also:
            write()
        table.end(process.name)


def _now() -> ColumnElement[datetime]:
    return type_coerce(func.current_timestamp(), Utc)
