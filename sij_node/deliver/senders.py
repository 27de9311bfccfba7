"""How results are sent to each kind of destination.

A kind is one function: it sends prepared objects and yields the response to each of them. Attempts,
delays, records, audit and alerts are the same for all kinds; see
`sij_node.deliver.delivery_worker`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sij_node.config.settings import AnyDestination, Config, PeerConfig
from sij_node.network.store_scu import OutgoingObject, SendResult, StoreScu
from sij_node.network.stow_rs import StowClient


@dataclass(frozen=True)
class Senders:
    """Sends to any destination."""

    dimse: StoreScu
    stow: StowClient

    def send(self, to: AnyDestination, objects: Sequence[OutgoingObject]) -> Iterator[SendResult]:
        """Send objects to a destination in order; yields one result per object.

        Raises
        ------
        DestinationUnavailable
            If it does not respond, or refuses this node; results yielded before are valid.
        """
        if isinstance(to, PeerConfig):
            return self.dimse.send(to, objects)
        return self.stow.send(to, objects)


def senders(config: Config) -> Senders:
    """The senders of a node."""
    scu = StoreScu(config.node.ae_title, config.delivery, config.listener.tls)
    return Senders(scu, StowClient(config.delivery))
