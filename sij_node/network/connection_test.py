"""Tests the connection to a peer or destination without sending a result."""

from sij_node.config.settings import AnyDestination, Config, PeerConfig
from sij_node.network.store_scu import StoreScu
from sij_node.network.stow_rs import StowClient


def check_connection(config: Config, to: AnyDestination) -> None:
    """Send a C-ECHO to a peer, or a query without result to a DICOMweb service.

    Raises
    ------
    DestinationUnavailable
        If it does not respond or refuses this node, or if a certificate cannot be used.
    """
    if isinstance(to, PeerConfig):
        StoreScu(config.node.ae_title, config.delivery, config.listener.tls).echo(to)
    else:
        StowClient(config.delivery).check(to)
