"""Storage commitment over the network: requests of the node, and its reports to peers.

Source: DICOM PS3.4 J.3 (Storage Commitment Push Model), C.4.1 (C-FIND at the IMAGE level).
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from sij_node.config.settings import PeerConfig
from sij_node.dicom.commitment_dataset import report_dataset, report_of, request_dataset
from sij_node.dicom.headers import READING_ERRORS, text
from sij_node.domain.storage_commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    NO_SUCH_INSTANCE,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    CommitmentReport,
    CommitmentRequest,
)
from sij_node.domain.study import InstanceReference
from sij_node.errors import CommitmentUnsupported, DestinationRefused, DestinationUnavailable
from sij_node.network.scu import AssociationRequestor, named

_SUCCESS, _INVALID_ARGUMENT, _DUPLICATE_TRANSACTION = 0x0000, 0x0115, 0x0131
_PENDING = (0xFF00, 0xFF01)
COMMITMENT_CONTEXTS = ((PUSH_MODEL, ExplicitVRLittleEndian), (PUSH_MODEL, ImplicitVRLittleEndian))
SAME_ASSOCIATION_S = 5.0
"""An association stays open for this long, because some archives report on it (PS3.4 J.3.3)."""


@dataclass
class _Reports:
    """Takes reports that come on the association of the request."""

    transaction_uid: str
    answered: threading.Event = field(default_factory=threading.Event)
    report: CommitmentReport | None = None

    def take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        try:
            report = report_of(event.event_information)
        except READING_ERRORS:
            return _INVALID_ARGUMENT, None
        if report.transaction_uid != self.transaction_uid:
            return _INVALID_ARGUMENT, None
        self.report = report
        return _SUCCESS, None

    def sent(self, _: evt.Event) -> None:
        """A PDU was sent; the first one after the report is the response to it."""
        if self.report is not None:
            self.answered.set()


@dataclass(frozen=True)
class CommitmentScu:
    """Requests storage commitment from a peer, and asks it by C-FIND what it has."""

    caller: AssociationRequestor
    peer: PeerConfig
    wait_s: float = SAME_ASSOCIATION_S

    def request(self, request: CommitmentRequest) -> CommitmentReport | None:
        """Request storage commitment with N-ACTION.

        Returns
        -------
        CommitmentReport or None
            None if the report did not come on the same association; it comes on another one.

        Raises
        ------
        CommitmentUnsupported
            If the peer does not support storage commitment, or refuses the request.
        DestinationUnavailable
            If it cannot be reached, or did not respond.
        """
        reports = _Reports(request.transaction_uid)
        handlers = [(evt.EVT_N_EVENT_REPORT, reports.take), (evt.EVT_PDU_SENT, reports.sent)]
        try:
            with self.caller.associated(
                self.peer, COMMITMENT_CONTEXTS, handlers=handlers
            ) as association:
                self._act(association, request)
                reports.answered.wait(self.wait_s)
        except DestinationRefused as error:
            raise CommitmentUnsupported(str(error)) from error
        return reports.report

    def _act(self, association: Association, request: CommitmentRequest) -> None:
        try:
            answer, _ = association.send_n_action(
                request_dataset(request), REQUEST_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE
            )
        except (ValueError, RuntimeError) as error:
            raise DestinationUnavailable(f"{named(self.peer)} ended the association.") from error
        status = answer.get("Status")
        if status is None:
            raise DestinationUnavailable(f"{named(self.peer)} aborted or did not respond in time.")
        if status not in (_SUCCESS, _DUPLICATE_TRANSACTION):
            raise CommitmentUnsupported(
                f"{named(self.peer)} refused the request for storage commitment with status "
                f"0x{status:04X}."
            )

    def find(self, transaction_uid: str, objects: Sequence[InstanceReference]) -> CommitmentReport:
        """Ask by C-FIND which of some instances the peer has.

        Raises
        ------
        DestinationRefused
            If it does not support C-FIND.
        DestinationUnavailable
            If it cannot be reached, or did not respond.
        """
        model = StudyRootQueryRetrieveInformationModelFind
        with self.caller.associated(self.peer, [(model, ImplicitVRLittleEndian)]) as association:
            present = {
                uid
                for series, _ in groupby(sorted(objects), key=lambda one: one[:2])
                for uid in self._instances(association, *series)
            }
        wanted = {one[3] for one in objects}
        missing = dict.fromkeys(wanted - present, NO_SUCH_INSTANCE)
        return CommitmentReport(transaction_uid, frozenset(wanted & present), missing)

    def _instances(
        self, association: Association, study_uid: str, series_uid: str
    ) -> Iterator[str]:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID = study_uid, series_uid
        query.SOPInstanceUID = ""
        model = StudyRootQueryRetrieveInformationModelFind
        status = None
        try:
            for answer, identifier in association.send_c_find(query, model):
                status = answer.get("Status")
                if status in _PENDING and identifier is not None:
                    yield text(identifier, "SOPInstanceUID")
        except RuntimeError as error:  # pynetdicom: the association has ended
            raise DestinationUnavailable(f"{named(self.peer)} ended the association.") from error
        if status is None:
            raise DestinationUnavailable(f"{named(self.peer)} aborted or did not respond in time.")
        if status != _SUCCESS:
            raise DestinationRefused(
                f"{named(self.peer)} responded to a C-FIND with status 0x{status:04X}."
            )

    def report(self, report: CommitmentReport, request: CommitmentRequest) -> None:
        """Report to a peer what the node has committed to, with N-EVENT-REPORT.

        Raises
        ------
        DestinationUnavailable
            If it cannot be reached, refuses the node as SCP, or did not take the report.
        """
        dataset = report_dataset(report, request.objects, self.caller.ae_title)
        event_type = FAILURES_EXIST if report.failed else ALL_COMMITTED
        with self.caller.associated(
            self.peer, COMMITMENT_CONTEXTS, roles={PUSH_MODEL: (False, True)}
        ) as association:
            try:
                answer, _ = association.send_n_event_report(
                    dataset, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
                )
            except (ValueError, RuntimeError) as error:
                raise DestinationUnavailable(
                    f"{named(self.peer)} does not take reports of storage commitment."
                ) from error
        if answer.get("Status") != _SUCCESS:
            raise DestinationUnavailable(
                f"{named(self.peer)} did not take the report of storage commitment."
            )
