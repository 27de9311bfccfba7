"""Peer events without audit trail or database."""

from sij_node.audit.messages import Application, AuditSource
from sij_node.audit.peer_events import PeerEvents
from sij_node.audit.trail import AuditTrail
from sij_node.store.peer_activity_table import PeerActivityLog

NO_TRAIL = AuditTrail(Application("SIJ"), AuditSource("SIJ"), ())


def no_events() -> PeerEvents:
    """Peer events counted in memory, without audit or database."""
    return PeerEvents(PeerActivityLog(None), NO_TRAIL, str)
