"""Tests the connection to a peer or destination without sending a result."""

from collections.abc import Mapping

from sij_node.config.settings import AnyDestination, Config, PeerConfig
from sij_node.network.fhir_client import FhirClient
from sij_node.network.mllp import MllpClient
from sij_node.network.store_scu import StoreScu
from sij_node.network.stow_rs import StowClient

_CLIENTS: Mapping[str, type[StowClient] | type[FhirClient] | type[MllpClient]] = {
    "stow-rs": StowClient,
    "fhir": FhirClient,
    "hl7": MllpClient,
}


def check_connection(config: Config, to: AnyDestination) -> None:
    """Send a C-ECHO to a peer, or connect to a destination without sending about a patient.

    Raises
    ------
    DestinationUnavailable
        If it does not respond or refuses this node, or if a certificate cannot be used.
    """
    if isinstance(to, PeerConfig):
        StoreScu(config.node.ae_title, config.delivery, config.listener.tls).echo(to)
    else:
        _CLIENTS[to.kind](config.delivery).check(to)
