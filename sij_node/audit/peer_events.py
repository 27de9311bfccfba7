"""The visitors' book: what is seen of peers goes into contacts, counts and the audit trail."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from sij_node.audit.messages import (
    Application,
    AuditedStudy,
    SecurityAlert,
    begin_transferring,
    instances_transferred,
    query,
    security_alert,
)
from sij_node.audit.trail import AuditTrail
from sij_node.config.settings import PeerConfig
from sij_node.errors import DatabaseUnavailable
from sij_node.network.dimse import Status
from sij_node.network.observers import (
    CallingPeer,
    QueryObserver,
    ReceivedStudy,
    ReceiveObserver,
    SendObserver,
)
from sij_node.network.pdu import Rejection
from sij_node.store.peer_activity import PeerActivityLog, PeerCounter

UNKNOWN = "unknown"
"""Whoever is not configured is counted under one name, however many they are."""
_PERMANENT = 1
"""Result of a rejection that is about who the caller is, and not about when it calls."""


class Arrivals(ReceiveObserver):
    """What comes in through the door.

    Parameters
    ----------
    peers
        The AE titles that are configured.
    audit_accepted
        Whether associations that were let in are audited too.
    """

    def __init__(
        self,
        book: PeerActivityLog,
        trail: AuditTrail,
        peers: Collection[str],
        audit_accepted: bool = False,
    ) -> None:
        self._book = book
        self._trail = trail
        self._peers = frozenset(peers)
        self._audit_accepted = audit_accepted

    def unsecured(self, caller: CallingPeer, reason: str) -> None:
        """Audit that somebody could not show who they are."""
        self._book.count(PeerCounter.REFUSALS, UNKNOWN, "TLS handshake refused")
        self._alert(caller, reason, is_failure=True)

    def accepted(self, caller: CallingPeer) -> None:
        """Note that a peer was let in."""
        self._book.accepted(caller.ae_title, caller.address)
        if self._audit_accepted:
            self._alert(caller, "association accepted", is_failure=False)

    def rejected(self, caller: CallingPeer, rejection: Rejection) -> None:
        """Note that it was not, and why."""
        self._book.count(PeerCounter.REFUSALS, self._counted_as(caller), rejection.words)
        if caller.ae_title in self._peers:
            self._book.refused(caller.ae_title, caller.address, rejection.words)
        if rejection.result == _PERMANENT:
            self._alert(caller, f"association refused: {rejection.words}", is_failure=True)

    def echoed(self, caller: CallingPeer) -> None:
        """Note a C-ECHO."""
        self._book.echo_received(caller.ae_title)

    def answered(self, caller: CallingPeer, status: Status) -> None:
        """Count a C-STORE by its status."""
        self._book.count(PeerCounter.RECEIVED, self._counted_as(caller), f"0x{status:04X}")

    def ended(self, caller: CallingPeer, outcome: str, studies: Sequence[ReceivedStudy]) -> None:
        """Count how it ended, and audit what was taken."""
        self._book.count(PeerCounter.ASSOCIATIONS, self._counted_as(caller), outcome)
        for brought in studies:
            study = AuditedStudy(brought.study_uid, brought.patient_id, brought.instances)
            self._trail.record(instances_transferred(_caller(caller), self._trail.node, study))

    def _alert(self, caller: CallingPeer, words: str, *, is_failure: bool) -> None:
        alert = security_alert(
            SecurityAlert.NODE_AUTHENTICATION, words, _caller(caller), is_failure=is_failure
        )
        self._trail.record(alert)

    def _counted_as(self, caller: CallingPeer) -> str:
        return caller.ae_title if caller.ae_title in self._peers else UNKNOWN


class Departures(SendObserver, QueryObserver):
    """What goes out to destinations, and what is asked of archives and fetched there.

    Parameters
    ----------
    patient_of
        The patient identifier of a study.
    """

    def __init__(
        self, book: PeerActivityLog, trail: AuditTrail, patient_of: Callable[[str], str]
    ) -> None:
        self._book = book
        self._trail = trail
        self._patient_of = patient_of

    def begun(self, study_uid: str, peer: PeerConfig) -> None:
        """Audit that results are about to be sent."""
        study = self._subject(study_uid, {})
        self._trail.record(begin_transferring(self._trail.node, _peer(peer), study))

    def answered(self, peer: PeerConfig, status: int | None) -> None:
        """Count an answer by its status."""
        outcome = "not accepted" if status is None else f"0x{status:04X}"
        self._book.count(PeerCounter.SENT, peer.ae_title, outcome)

    def ended(
        self, study_uid: str, peer: PeerConfig, taken: Counter[str], refused: Counter[str]
    ) -> None:
        """Audit what was taken, and apart from it what was refused."""
        for objects, failure in ((taken, ""), (refused, "refused by the destination")):
            if objects:
                study = self._subject(study_uid, objects)
                ends = self._trail.node, _peer(peer)
                self._trail.record(instances_transferred(*ends, study, failure))

    def asked(self, peer: PeerConfig, sop_class_uid: str, question: Dataset) -> None:
        """Audit a question to an archive; its patient is hidden where a site wants that."""
        told = deepcopy(question)
        if question.get("PatientID"):
            told.PatientID = self._trail.patient(question.PatientID)
        identifier = encode(told, is_implicit_vr=True, is_little_endian=True) or b""
        ends = self._trail.node, _peer(peer)
        self._trail.record(query(*ends, sop_class_uid, identifier, ImplicitVRLittleEndian))

    def fetched(self, peer: PeerConfig, studies: Sequence[ReceivedStudy]) -> None:
        """Audit what an archive gave on the association that asked for it."""
        for brought in studies:
            study = AuditedStudy(brought.study_uid, brought.patient_id, brought.instances)
            ends = _peer(peer), self._trail.node
            self._trail.record(instances_transferred(*ends, study, was_fetched=True))

    def _subject(self, study_uid: str, objects: Mapping[str, int]) -> AuditedStudy:
        """The study; without its patient when the database does not answer now."""
        try:
            return AuditedStudy(study_uid, self._patient_of(study_uid), objects)
        except DatabaseUnavailable:
            return AuditedStudy(study_uid, "", objects)


def _caller(caller: CallingPeer) -> Application:
    return Application(caller.ae_title or UNKNOWN, caller.address)


def _peer(peer: PeerConfig) -> Application:
    return Application(peer.ae_title, peer.host)
