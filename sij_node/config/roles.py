"""What a person or a program may do with the node: the roles of the page and the API."""

from enum import StrEnum


class Role(StrEnum):
    """What a user may do; each role includes those before it."""

    VIEWER = "viewer"
    """Look at everything but identifiers of patients."""
    OPERATOR = "operator"
    """Act on jobs and destinations, download results, reveal a patient's identifier."""
    ADMINISTRATOR = "administrator"
    """Add and remove users."""

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what the other one may."""
        ranks = tuple(Role)
        return ranks.index(self) >= ranks.index(other)
