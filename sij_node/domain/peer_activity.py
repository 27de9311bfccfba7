"""When a peer last called, was refused, or answered a C-ECHO."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class PeerActivity:
    """Times of a peer's last activity; None for never.

    Parameters
    ----------
    echo_out_error
        Error of the last C-ECHO to it; empty if it succeeded.
    """

    peer: str
    address: str = ""
    accepted_at: datetime | None = None
    refused_at: datetime | None = None
    refused_because: str = ""
    echo_in_at: datetime | None = None
    echo_out_at: datetime | None = None
    echo_out_error: str = ""
