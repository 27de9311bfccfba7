"""The visitors' book: what the door sees of peers goes into contacts and counts."""

from collections.abc import Collection, Sequence

from sij_node.network.dimse import Status
from sij_node.network.pdu import Rejection
from sij_node.network.witness import Brought, Origin, Witness
from sij_node.store.contacts import ContactBook, Counted

UNKNOWN = "unknown"
"""Whoever is not configured is counted under one name, however many they are."""


class VisitorsBook(Witness):
    """Notes contacts of the configured peers, and counts.

    Parameters
    ----------
    peers
        Their AE titles.
    """

    def __init__(self, book: ContactBook, peers: Collection[str]) -> None:
        self._book = book
        self._peers = frozenset(peers)

    def accepted(self, caller: Origin) -> None:
        """Note that a peer was let in."""
        self._book.accepted(caller.ae_title, caller.address)

    def rejected(self, caller: Origin, rejection: Rejection) -> None:
        """Note that it was not, and why."""
        self._book.count(Counted.REFUSALS, self._counted_as(caller), rejection.words)
        if caller.ae_title in self._peers:
            self._book.refused(caller.ae_title, caller.address, rejection.words)

    def echoed(self, caller: Origin) -> None:
        """Note a C-ECHO."""
        self._book.echo_received(caller.ae_title)

    def answered(self, caller: Origin, status: Status) -> None:
        """Count a C-STORE by its status."""
        self._book.count(Counted.RECEIVED, self._counted_as(caller), f"0x{status:04X}")

    def ended(self, caller: Origin, outcome: str, studies: Sequence[Brought]) -> None:
        """Count how it ended."""
        self._book.count(Counted.ASSOCIATIONS, self._counted_as(caller), outcome)

    def _counted_as(self, caller: Origin) -> str:
        return caller.ae_title if caller.ae_title in self._peers else UNKNOWN
