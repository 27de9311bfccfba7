"""Who is told what is received, sent and asked for: for contacts, counts and the audit trail.

A witness is called within the association's own thread and must be quick.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from sij_node.config.settings import PeerConfig
from sij_node.dicom.dataset_scan import Scan
from sij_node.domain.study import ReceivedInstance
from sij_node.network.dimse import Status
from sij_node.network.pdu import Rejection


@dataclass(frozen=True)
class CallingPeer:
    """Who sends: a configured AE title, and the address it calls from."""

    ae_title: str
    address: str


@dataclass(frozen=True)
class ReceivedStudy:
    """What one association has brought of a study.

    Parameters
    ----------
    instances
        How many were taken, by SOP Class UID.
    """

    study_uid: str
    patient_id: str
    instances: Counter[str] = field(default_factory=Counter)


class AssociationSummary:
    """Sums up what one association brings, study by study."""

    def __init__(self) -> None:
        self._studies: dict[str, ReceivedStudy] = {}

    def add(self, instance: ReceivedInstance | Scan) -> None:
        """One more instance that was taken."""
        brought = self._studies.setdefault(
            instance.study_uid, ReceivedStudy(instance.study_uid, instance.patient_id)
        )
        brought.instances[instance.sop_class_uid] += 1

    @property
    def studies(self) -> tuple[ReceivedStudy, ...]:
        """In the order in which they began to come."""
        return tuple(self._studies.values())


class ReceiveObserver:
    """Sees what happens at the door; this one forgets it."""

    def unsecured(self, caller: CallingPeer, reason: str) -> None:
        """A TLS handshake failed over certificates, versions or ciphers."""

    def accepted(self, caller: CallingPeer) -> None:
        """An association was accepted."""

    def rejected(self, caller: CallingPeer, rejection: Rejection) -> None:
        """An association was rejected."""

    def echoed(self, caller: CallingPeer) -> None:
        """A C-ECHO was answered."""

    def answered(self, caller: CallingPeer, status: Status) -> None:
        """A C-STORE was answered."""

    def ended(self, caller: CallingPeer, outcome: str, studies: Sequence[ReceivedStudy]) -> None:
        """An association, or a connection that never became one, is over.

        Parameters
        ----------
        outcome
            released, rejected, aborted, lost or crashed.
        """


class SendObserver:
    """Sees what is sent to a destination; this one forgets it."""

    def begun(self, study_uid: str, peer: PeerConfig) -> None:
        """The first attempt to send a study's results begins."""

    def answered(self, peer: PeerConfig, status: int | None) -> None:
        """A destination answered to one object, or with None would not take its kind."""

    def ended(
        self, study_uid: str, peer: PeerConfig, taken: Counter[str], refused: Counter[str]
    ) -> None:
        """An attempt is over.

        Parameters
        ----------
        taken, refused
            How many objects were acknowledged and how many not, by SOP Class UID.
        """


class QueryObserver:
    """Sees what an archive is asked and what it gives; this one forgets it."""

    def asked(self, peer: PeerConfig, sop_class_uid: str, question: Dataset) -> None:
        """A question is sent."""

    def fetched(self, peer: PeerConfig, studies: Sequence[ReceivedStudy]) -> None:
        """Instances came that the node had asked for on the same association."""


UNSEEN = QueryObserver()
