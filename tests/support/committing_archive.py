"""An archive with storage commitment that answers as a test wants: late, never, partly, twice."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)

PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"


@dataclass
class CommittingArchive:
    """What it holds, what it was asked, and how it reports.

    Parameters
    ----------
    has_lost
        SOP Instance UIDs that it acknowledged and lost.
    omits
        SOP Instance UIDs that its reports do not mention.
    on_same_association
        Whether it reports on the association of the request.
    reports
        Whether it reports by itself at all.
    """

    has_lost: set[str] = field(default_factory=set)
    omits: set[str] = field(default_factory=set)
    on_same_association: bool = False
    reports: bool = True
    node_port: int = 0
    port: int = 0
    stored: list[str] = field(default_factory=list)
    requests: list[Dataset] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Of the node's N-EVENT-REPORT-RSP."""

    def store(self, event: evt.Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def act(self, event: evt.Event) -> tuple[int, None]:
        request = event.action_information
        self.requests.append(request)
        if self.reports:
            sending = event.assoc if self.on_same_association else None
            threading.Timer(0.05, self.report, (request, sending)).start()
        return 0, None

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for uid in set(self.stored) - self.has_lost:
            answer = Dataset()
            answer.QueryRetrieveLevel = "IMAGE"
            answer.SOPInstanceUID = uid
            yield 0xFF00, answer

    def report(self, request: Dataset, association: object = None) -> None:
        """Report on a request, on its association or on one of its own."""
        if association is not None:
            self._send(association, request)
            return
        entity = AE("ARCHIVE")
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        own = entity.associate("127.0.0.1", self.node_port, ae_title="SIJ", ext_neg=[role])
        assert own.is_established
        try:
            self._send(own, request)
        finally:
            own.release()

    def _send(self, association: object, request: Dataset) -> None:
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        asked = [
            one
            for one in request.ReferencedSOPSequence
            if one.ReferencedSOPInstanceUID not in self.omits
        ]
        lost = [one for one in asked if one.ReferencedSOPInstanceUID in self.has_lost]
        for one in lost:
            one.FailureReason = 0x0112
        report.ReferencedSOPSequence = [one for one in asked if one not in lost]
        if lost:
            report.FailedSOPSequence = lost
        status, _ = association.send_n_event_report(  # type: ignore[attr-defined]
            report, 2 if lost else 1, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE
        )
        self.statuses.append(status.Status)


@contextmanager
def committing_archive(
    *, commits: bool = True, finds: bool = True, port: int = 0
) -> Iterator[CommittingArchive]:
    """An archive on a free port, or on a port of its own.

    Parameters
    ----------
    commits, finds
        Whether it supports storage commitment and C-FIND.
    """
    archive = CommittingArchive()
    entity = AE("ARCHIVE")
    entity.supported_contexts = AllStoragePresentationContexts
    for supported, sop_class in (
        (commits, StorageCommitmentPushModel),
        (finds, StudyRootQueryRetrieveInformationModelFind),
    ):
        if supported:
            entity.add_supported_context(sop_class)
    handlers = [
        (evt.EVT_C_STORE, archive.store),
        (evt.EVT_N_ACTION, archive.act),
        (evt.EVT_C_FIND, archive.find),
    ]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    archive.port = server.socket.getsockname()[1]
    try:
        yield archive
    finally:
        server.shutdown()
