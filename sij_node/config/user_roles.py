"""Roles of users and API tokens."""

from enum import StrEnum


class Role(StrEnum):
    """What a user may do; each role includes the ones before it."""

    VIEWER = "viewer"
    """View everything except patient identifiers."""
    READER = "reader"
    """Give verdicts on findings: a radiologist."""
    OPERATOR = "operator"
    """Act on jobs and destinations, download results, reveal patient identifiers."""
    ADMINISTRATOR = "administrator"
    """Manage users."""

    def includes(self, other: "Role") -> bool:
        """Whether this role may do everything the other may."""
        ranks = tuple(Role)
        return ranks.index(self) >= ranks.index(other)
