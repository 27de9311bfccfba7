"""When a peer last called, was refused, or answered a C-ECHO."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class PeerActivity:
    """When a peer was last heard of; None for never.

    Parameters
    ----------
    echo_out_error
        Why its last answer to our C-ECHO was none; empty when it was good.
    """

    peer: str
    address: str = ""
    accepted_at: datetime | None = None
    refused_at: datetime | None = None
    refused_because: str = ""
    echo_in_at: datetime | None = None
    echo_out_at: datetime | None = None
    echo_out_error: str = ""
