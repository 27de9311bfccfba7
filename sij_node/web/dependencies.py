"""Dependencies of the routes (in FastAPI's sense): configuration, admin, sign-in, clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection

from sij_node.audit.messages import HumanUser
from sij_node.config.settings import Config
from sij_node.domain.users import CurrentUser
from sij_node.operate.admin import Admin
from sij_node.operate.authentication import Authentication


@dataclass(frozen=True)
class Parts:
    """Everything the web application uses.

    Parameters
    ----------
    admin
        Queries and actions, recorded under a user's name.
    clock
        Now, in UTC.
    key
        The node's secret key.
    routers
        Further routes, for instance of the metrics.
    """

    config: Config
    admin: Callable[[HumanUser], Admin]
    access: Authentication
    clock: Callable[[], datetime]
    key: bytes
    routers: tuple[APIRouter, ...] = ()

    def admin_for(self, person: CurrentUser) -> Admin:
        """Queries and actions, recorded under the current user's name."""
        return self.admin(HumanUser(person.name, person.address))


def parts(connection: HTTPConnection) -> Parts:
    """The parts of the application that serves a request."""
    found: Parts = connection.app.state.parts
    return found


TheParts = Annotated[Parts, Depends(parts)]
