"""What the page and the API are put together from."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection

from sij_node.access import Access
from sij_node.admin import Admin
from sij_node.config import Config, PeerConfig
from sij_node.store.secret_key import keyed_hash
from sij_node.store.spool import Spool


@dataclass(frozen=True)
class Parts:
    """Everything the web application uses; nothing is looked up elsewhere.

    Parameters
    ----------
    admin
        The questions and actions, in the name of whoever asks.
    echo
        C-ECHO to a peer; raises `DestinationUnavailable`.
    clock
        Now, in UTC.
    key
        The node's secret key.
    routers
        Further routes that other parts of the node bring, for instance its metrics.
    """

    config: Config
    admin: Callable[[str], Admin]
    access: Access
    spool: Spool
    echo: Callable[[PeerConfig], None]
    clock: Callable[[], datetime]
    key: bytes
    routers: tuple[APIRouter, ...] = ()

    def pseudonym(self, patient_id: str, issuer: str) -> str:
        """What stands for a patient on lists: the same for the same patient on this node."""
        return keyed_hash(self.key, "patient", patient_id, issuer)[:12]


def parts(connection: HTTPConnection) -> Parts:
    """The parts of the application that a request came to."""
    found: Parts = connection.app.state.parts
    return found


TheParts = Annotated[Parts, Depends(parts)]
