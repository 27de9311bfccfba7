"""Last contact with each peer, and counts of C-STOREs and associations.

Listener and workers collect both in memory and write them every few seconds, so that an image costs
no extra write. A crash loses the last few seconds.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, insert, select, update

from sij_node.domain.peer_activity import PeerActivity
from sij_node.store.database import Database
from sij_node.store.tables import contacts, tallies


class PeerCounter(StrEnum):
    """Kinds of counts."""

    RECEIVED = "c-store received"
    """By the status returned."""
    SENT = "c-store sent"
    """By the status received."""
    ASSOCIATIONS = "associations"
    """By outcome: released, rejected, aborted, lost."""
    REFUSALS = "associations refused"
    """By reason."""
    FAILED_DELIVERIES = "deliveries failed"
    """Attempts, by destination."""


Tally = tuple[PeerCounter, str, str]
"""Kind of count, peer and outcome."""


class PeerActivityTable:
    """Peer activity and counts of all processes.

    Every method raises `DatabaseUnavailable` if the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def contacts(self) -> tuple[PeerActivity, ...]:
        """Every peer that ever had contact with the node, by AE title."""
        with self._database.reading() as connection:
            rows = connection.execute(select(contacts).order_by(contacts.c.peer))
            return tuple(_contact_from(row) for row in rows)

    def tallies(self) -> Mapping[Tally, int]:
        """Counts since the node was installed."""
        with self._database.reading() as connection:
            return {
                (PeerCounter(row.counted), row.peer, row.outcome): row.total
                for row in connection.execute(select(tallies))
            }

    def write(self, news: Mapping[str, Mapping[str, Any]], counts: Mapping[Tally, int]) -> None:
        """Update the activity of peers, and add to the counts."""
        with self._database.writing() as connection:
            for peer, said in sorted(news.items()):
                _note(connection, contacts, {"peer": peer}, said)
            for (counted, peer, outcome), count in sorted(counts.items()):
                key = {"counted": counted.value, "peer": peer, "outcome": outcome}
                _add(connection, key, count)


class PeerActivityLog:
    """Collects peer activity of one process until it is written. Thread-safe."""

    def __init__(self, table: PeerActivityTable) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._news: dict[str, dict[str, Any]] = {}
        self._counts: Counter[Tally] = Counter()

    def count(self, counted: PeerCounter, peer: str, outcome: str) -> None:
        """Add one to a count."""
        with self._lock:
            self._counts[counted, peer, outcome] += 1

    def accepted(self, peer: str, address: str) -> None:
        """Record an accepted association."""
        self._note(peer, address=address, accepted_at=datetime.now(UTC))

    def refused(self, peer: str, address: str, reason: str) -> None:
        """Record a rejected association."""
        self._note(peer, address=address, refused_at=datetime.now(UTC), refused_because=reason)

    def echo_received(self, peer: str) -> None:
        """Record a C-ECHO from a peer."""
        self._note(peer, echo_in_at=datetime.now(UTC))

    def echo_sent(self, peer: str, error: str = "") -> None:
        """Record a C-ECHO to a peer; `error` is empty if it succeeded."""
        self._note(peer, echo_out_at=datetime.now(UTC), echo_out_error=error)

    def write(self) -> None:
        """Write what was collected; if that fails, it is kept for the next call."""
        with self._lock:
            news, self._news = self._news, {}
            counts, self._counts = self._counts, Counter()
        if not news and not counts:
            return
        with ExitStack() as undo:
            undo.callback(self._restore, news, counts)
            self._table.write(news, counts)
            undo.pop_all()

    def _note(self, peer: str, **said: object) -> None:
        with self._lock:
            self._news.setdefault(peer, {}).update(said)

    def _restore(self, news: Mapping[str, dict[str, Any]], counts: Counter[Tally]) -> None:
        with self._lock:
            self._counts.update(counts)
            for peer, said in news.items():
                self._news[peer] = said | self._news.get(peer, {})


def _note(
    connection: Connection, table: Table, key: Mapping[str, Any], said: Mapping[str, Any]
) -> None:
    known = connection.execute(update(table).where(_is(table, key)).values(**said))
    if not known.rowcount:
        blank = {"address": "", "refused_because": "", "echo_out_error": ""}
        connection.execute(insert(table).values(**{**blank, **key, **said}))


def _add(connection: Connection, key: Mapping[str, Any], count: int) -> None:
    more = {"total": tallies.c.total + count}
    known = connection.execute(update(tallies).where(_is(tallies, key)).values(more))
    if not known.rowcount:
        connection.execute(insert(tallies).values(**key, total=count))


def _is(table: Table, key: Mapping[str, Any]) -> Any:
    return and_(*(table.c[name] == value for name, value in key.items()))


def _contact_from(row: Row[Any]) -> PeerActivity:
    return PeerActivity(**row._mapping)
