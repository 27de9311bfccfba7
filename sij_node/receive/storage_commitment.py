"""Storage commitment at the listener: reports of archives, and requests of peers.

An archive that was asked to commit to the node's results reports on an association of its own. A
peer that asks the node gets its answer later, on an association of the node.

Source: DICOM PS3.4 J.3.2 (N-ACTION) and J.3.3 (N-EVENT-REPORT).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from sij_node.dicom.commitment_dataset import read_report, read_request
from sij_node.domain.storage_commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    CommitmentReport,
    CommitmentRequest,
)
from sij_node.errors import DatasetUnreadable, TemporarilyUnavailable
from sij_node.network.association_summary import CallingPeer
from sij_node.network.dimse import NormalizedRequest, NormalizedStatus

log = structlog.get_logger()


@dataclass(frozen=True)
class CommitmentService:
    """Takes requests and reports, and answers their N-ACTION or N-EVENT-REPORT.

    Parameters
    ----------
    reporters
        Peers that the node requests storage commitment from.
    requestors
        Peers that may request it from the node.
    apply_report
        Applies a report of a peer; False if its transaction is unknown. Returns after the commit.
    add_request
        Stores a request of a peer, to be answered later. Returns after the commit.
    """

    reporters: Collection[str]
    requestors: Collection[str]
    apply_report: Callable[[str, CommitmentReport], bool]
    add_request: Callable[[str, CommitmentRequest], None]

    def classes_for(self, peer: str) -> frozenset[str]:
        """The SOP class, for peers that use it."""
        uses_it = peer in self.reporters or peer in self.requestors
        return frozenset({PUSH_MODEL}) if uses_it else frozenset()

    def take(
        self, caller: CallingPeer, request: NormalizedRequest, content: bytes, explicit_vr: bool
    ) -> NormalizedStatus:
        """Take an N-ACTION or N-EVENT-REPORT; returns the status of its response."""
        if (request.sop_class_uid, request.sop_instance_uid) != (PUSH_MODEL, PUSH_MODEL_INSTANCE):
            return NormalizedStatus.NO_SUCH_OBJECT_INSTANCE
        try:
            if request.is_report:
                return self._report(caller.ae_title, request.type_id, content, explicit_vr)
            return self._request(caller.ae_title, request.type_id, content, explicit_vr)
        except DatasetUnreadable as error:
            log.warning("storage commitment refused", peer=caller.ae_title, reason=str(error))
            return NormalizedStatus.INVALID_ARGUMENT_VALUE
        except TemporarilyUnavailable as error:
            log.warning("storage commitment refused", peer=caller.ae_title, reason=str(error))
            return NormalizedStatus.PROCESSING_FAILURE

    def _report(
        self, peer: str, type_id: int, content: bytes, explicit_vr: bool
    ) -> NormalizedStatus:
        if type_id not in (ALL_COMMITTED, FAILURES_EXIST) or peer not in self.reporters:
            return NormalizedStatus.NO_SUCH_EVENT_TYPE
        if self.apply_report(peer, read_report(content, explicit_vr)):
            return NormalizedStatus.SUCCESS
        return NormalizedStatus.INVALID_ARGUMENT_VALUE

    def _request(
        self, peer: str, type_id: int, content: bytes, explicit_vr: bool
    ) -> NormalizedStatus:
        if type_id != REQUEST_COMMITMENT or peer not in self.requestors:
            return NormalizedStatus.NO_SUCH_ACTION
        self.add_request(peer, read_request(content, explicit_vr))
        return NormalizedStatus.SUCCESS


NO_COMMITMENT = CommitmentService((), (), lambda peer, report: False, lambda peer, request: None)
"""For a listener without storage commitment."""
