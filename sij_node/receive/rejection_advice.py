"""Why an association was rejected, with both sides and what to change, for administrators.

The calling AE title is foreign text; `sij_node.network.pdu` has made it printable ASCII.
"""

import json
from collections.abc import Mapping

from sij_node.config.settings import PeerConfig
from sij_node.network.pdu import (
    ADDRESS_NOT_ALLOWED,
    CALLED_TITLE_UNKNOWN,
    CALLING_TITLE_UNKNOWN,
    CERTIFICATE_NOT_OF_PEER,
    AssociateRequest,
    Rejection,
)

SHOWN = 5
"""Peers or networks that a message names."""


def rejection_advice(
    rejection: Rejection,
    request: AssociateRequest,
    address: str,
    own_title: str,
    peers: Mapping[str, PeerConfig],
) -> str:
    """The reason of a rejection in full.

    Parameters
    ----------
    own_title
        The node's AE title.
    peers
        The configured peers by AE title.

    Returns
    -------
    str
        Who called whom from where, what is configured, and the setting to change.
    """
    calling = request.calling_ae
    peer = peers.get(calling)
    if rejection == CALLED_TITLE_UNKNOWN:
        return (
            f'"{calling}" at {address} called "{request.called_ae}", but this node is '
            f'"{own_title}". Set the AE title of this node there to {own_title}.'
        )
    if rejection == CALLING_TITLE_UNKNOWN:
        return (
            f'"{calling}" at {address} is not a configured peer; configured: {_some(peers)}. If it '
            f"may send, add to config.toml: {_peer_section(calling, address)}"
        )
    if rejection == ADDRESS_NOT_ALLOWED and peer is not None:
        return (
            f'"{calling}" called from {address}, but networks of [[peer]] {calling} allows only '
            f'{_some(peer.networks)}. If this is {calling}, add "{address}" to networks.'
        )
    if rejection == CERTIFICATE_NOT_OF_PEER and peer is not None:
        return (
            f'the certificate of "{calling}" at {address} contains none of the certificate_names '
            f"of [[peer]] {calling}: {_some(peer.certificate_names)}."
        )
    return f'{rejection.text}; "{calling}" at {address} called "{request.called_ae}"'


def _some(names: Mapping[str, PeerConfig] | tuple[str, ...]) -> str:
    shown = list(names)[:SHOWN]
    further = len(names) - len(shown)
    return ", ".join(shown) + (f" and {further} more" if further else "")


def _peer_section(ae_title: str, address: str) -> str:
    quoted, here = json.dumps(ae_title), json.dumps(address)
    return f"[[peer]] ae_title = {quoted}, networks = [{here}], host = {here}, port = 104"
