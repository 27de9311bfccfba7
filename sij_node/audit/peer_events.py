"""Events of the DICOM network: noted as peer activity, counted for metrics, and audited.

Called in the thread of an association or a delivery, so nothing here may take long.
"""

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
from sij_node.config.settings import AnyDestination, PeerConfig
from sij_node.errors import DatabaseUnavailable
from sij_node.network.association_summary import CallingPeer, ReceivedStudy
from sij_node.network.dimse import Status
from sij_node.network.pdu import Rejection
from sij_node.store.peer_activity_table import PeerActivityLog, PeerCounter

UNKNOWN = "unknown"
"""All callers that are not configured are counted under this name."""
_PERMANENT = 1
"""Result of a rejection that concerns who the caller is, not when it calls."""


class PeerEvents:
    """Records every event between the node and its peers.

    Parameters
    ----------
    patient_of
        Patient ID of a study.
    peers
        The configured AE titles.
    audit_accepted
        Whether accepted associations are audited as well.
    """

    def __init__(
        self,
        activity: PeerActivityLog,
        trail: AuditTrail,
        patient_of: Callable[[str], str],
        peers: Collection[str] = (),
        audit_accepted: bool = False,
    ) -> None:
        self._activity = activity
        self._trail = trail
        self._patient_of = patient_of
        self._peers = frozenset(peers)
        self._audit_accepted = audit_accepted

    # ---- associations of peers with the listener ---------------------------------------------

    def tls_failed(self, caller: CallingPeer, reason: str) -> None:
        """A TLS handshake failed because of certificates, versions or ciphers."""
        self._activity.count(PeerCounter.REFUSALS, UNKNOWN, "TLS handshake refused")
        self._alert(caller, reason, is_failure=True)

    def association_accepted(self, caller: CallingPeer) -> None:
        """An association was accepted."""
        self._activity.accepted(caller.ae_title, caller.address)
        if self._audit_accepted:
            self._alert(caller, "association accepted", is_failure=False)

    def association_rejected(self, caller: CallingPeer, rejection: Rejection, advice: str) -> None:
        """An association was rejected; `advice` names both sides and what to change."""
        self._activity.count(PeerCounter.REFUSALS, self._counted_as(caller), rejection.text)
        if caller.ae_title in self._peers:
            self._activity.refused(caller.ae_title, caller.address, advice)
        if rejection.result == _PERMANENT:
            self._alert(caller, f"association refused: {rejection.text}", is_failure=True)

    def echo_received(self, caller: CallingPeer) -> None:
        """A C-ECHO was answered."""
        self._activity.echo_received(caller.ae_title)

    def instance_received(self, caller: CallingPeer, status: Status) -> None:
        """A C-STORE was answered with a status."""
        self._activity.count(PeerCounter.RECEIVED, self._counted_as(caller), f"0x{status:04X}")

    def association_ended(
        self, caller: CallingPeer, outcome: str, studies: Sequence[ReceivedStudy]
    ) -> None:
        """An association, or a connection that never became one, is over.

        Parameters
        ----------
        outcome
            released, rejected, aborted, lost or crashed.
        """
        self._activity.count(PeerCounter.ASSOCIATIONS, self._counted_as(caller), outcome)
        for received in studies:
            study = AuditedStudy(received.study_uid, received.patient_id, received.instances)
            self._trail.record(instances_transferred(_caller(caller), self._trail.node, study))

    # ---- deliveries --------------------------------------------------------------------------

    def delivery_started(self, study_uid: str, peer: AnyDestination) -> None:
        """The first attempt to send the results of a study starts."""
        study = self._audited(study_uid, {})
        self._trail.record(begin_transferring(self._trail.node, _peer(peer), study))

    def result_sent(self, peer: AnyDestination, status: int | None) -> None:
        """A destination answered with a status; None if it does not accept the object."""
        outcome = "not accepted" if status is None else f"0x{status:04X}"
        self._activity.count(PeerCounter.SENT, peer.title, outcome)

    def delivery_failed(self, destination: str) -> None:
        """An attempt to deliver a study's results to a destination failed."""
        self._activity.count(PeerCounter.FAILED_DELIVERIES, destination, "failed")

    def delivery_ended(
        self,
        study_uid: str,
        peer: AnyDestination,
        acknowledged: Counter[str],
        refused: Counter[str],
    ) -> None:
        """An attempt is over.

        Parameters
        ----------
        acknowledged, refused
            Number of results by SOP Class UID.
        """
        for objects, failure in ((acknowledged, ""), (refused, "refused by the destination")):
            if objects:
                study = self._audited(study_uid, objects)
                ends = self._trail.node, _peer(peer)
                self._trail.record(instances_transferred(*ends, study, failure))

    # ---- query and retrieval of prior studies ------------------------------------------------

    def query_sent(self, peer: PeerConfig, sop_class_uid: str, identifier: Dataset) -> None:
        """A query is sent to an archive; its patient is audited as [audit] says."""
        audited = deepcopy(identifier)
        if identifier.get("PatientID"):
            audited.PatientID = self._trail.patient(identifier.PatientID)
        encoded = encode(audited, is_implicit_vr=True, is_little_endian=True) or b""
        ends = self._trail.node, _peer(peer)
        self._trail.record(query(*ends, sop_class_uid, encoded, ImplicitVRLittleEndian))

    def studies_retrieved(self, peer: PeerConfig, studies: Sequence[ReceivedStudy]) -> None:
        """An archive sent instances on the association that requested them (C-GET)."""
        for received in studies:
            study = AuditedStudy(received.study_uid, received.patient_id, received.instances)
            ends = _peer(peer), self._trail.node
            self._trail.record(instances_transferred(*ends, study, was_fetched=True))

    # ---- parts of messages -------------------------------------------------------------------

    def _alert(self, caller: CallingPeer, words: str, *, is_failure: bool) -> None:
        alert = security_alert(
            SecurityAlert.NODE_AUTHENTICATION, words, _caller(caller), is_failure=is_failure
        )
        self._trail.record(alert)

    def _counted_as(self, caller: CallingPeer) -> str:
        return caller.ae_title if caller.ae_title in self._peers else UNKNOWN

    def _audited(self, study_uid: str, objects: Mapping[str, int]) -> AuditedStudy:
        """The study, without its patient while the database is unavailable."""
        try:
            return AuditedStudy(study_uid, self._patient_of(study_uid), objects)
        except DatabaseUnavailable:
            return AuditedStudy(study_uid, "", objects)


def _caller(caller: CallingPeer) -> Application:
    return Application(caller.ae_title or UNKNOWN, caller.address)


def _peer(peer: AnyDestination) -> Application:
    return Application(peer.title, peer.host)
