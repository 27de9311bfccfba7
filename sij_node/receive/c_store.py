"""C-STORE: one received instance, from its first byte to the response.

The response is Success only when the whole instance is on disk under its final name and in the
database. An instance that fails before that leaves nothing behind. An acknowledged instance is
never overwritten: a copy that differs in identity only is kept beside it as a correction, one with
different content as a conflict. See `sij_node.store.received_copies` for what becomes of both.

=========  ============================================================  =================
status     meaning                                                       stored
=========  ============================================================  =================
0x0000     on disk and in the database                                   yes
0x0000     same image under a corrected identity                         beside the first
0x0122     SOP class differs from the presentation context's             no
0xA700     out of space, or disk or database unavailable                 no
0xA900     command and dataset have different SOP class or instance UIDs no
0xC000     dataset malformed or truncated                                no
0xC001     different content under an acknowledged SOP Instance UID      in quarantine
0xC211     internal error                                                no
=========  ============================================================  =================
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from threading import Lock

import structlog
from pydicom import Dataset, dcmread

from sij_node.audit.peer_events import PeerEvents
from sij_node.dicom.dataset_scan import Scan, is_uid, scan
from sij_node.dicom.headers import READING_ERRORS
from sij_node.dicom.part10 import part10_header
from sij_node.dicom.same_object import differences, has_same_content, identity_digest, is_correction
from sij_node.domain.study import (
    CopyKind,
    ReceivedCopy,
    ReceivedInstance,
    Refusal,
    Registration,
)
from sij_node.errors import (
    DatabaseUnavailable,
    DatasetUnreadable,
    InternalFault,
    TemporarilyUnavailable,
)
from sij_node.network.association_summary import CallingPeer
from sij_node.network.dimse import Status, StoreRequest
from sij_node.network.pdu import AnsweredContext
from sij_node.receive.storage_commitment import NO_COMMITMENT, CommitmentService
from sij_node.store.spool import Spool, StagedFile, file_meta_of

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
HELD_BYTES = 1 << 20
"""Instances up to this size stay in memory until complete; longer ones are written in such pieces.

A classic MR image fits.
"""
_STRIPES = 1024

_log = structlog.get_logger()


@dataclass(frozen=True)
class StoreOutcome:
    """Status of a C-STORE response, and the instance if it was stored."""

    status: Status
    reason: str = ""
    instance: ReceivedInstance | None = None


SUCCESS = StoreOutcome(Status.SUCCESS)
_OUT_OF_SPACE = StoreOutcome(Status.OUT_OF_RESOURCES, "out of disk space")
_CLASS_MISMATCH = StoreOutcome(Status.CLASS_NOT_SUPPORTED, "SOP class differs from the context's")
_NO_UID = StoreOutcome(Status.CANNOT_UNDERSTAND, "Affected SOP Instance UID is not a valid UID")
_NO_DATASET = StoreOutcome(Status.CANNOT_UNDERSTAND, "no dataset")
_UID_MISMATCH = StoreOutcome(Status.DOES_NOT_MATCH_CLASS, "command and dataset have different UIDs")
_CONFLICT = StoreOutcome(Status.CONFLICTING_COPY, "different content already stored under this UID")


class StorageService:
    """The Storage Service Class as SCP: what all associations share.

    Parameters
    ----------
    spool
        Stores the instances.
    file_name_of
        File name in the spool for a SOP Instance UID.
    register
        Registers an instance in the database; returns after the commit.
    stored
        The registered instance with a SOP Instance UID.
    keep_copy
        Records a second copy that is in quarantine; returns after the commit.
    refuse
        Records a rejected association or instance for the administrator.
    room
        Whether there is enough free disk space to accept associations.
    max_nesting
        Maximum nesting depth of sequences.
    events
        Records every association and every answer.
    own_result
        Content of the node's own result with a SOP Instance UID; None if it is not stored.
    commitment
        Takes requests and reports of storage commitment.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        file_name_of: Callable[[str], str],
        register: Callable[[ReceivedInstance], Registration],
        stored: Callable[[str], ReceivedInstance | None],
        keep_copy: Callable[[ReceivedCopy], None],
        refuse: Callable[[Refusal], None],
        room: Callable[[], bool],
        events: PeerEvents,
        max_nesting: int = 16,
        commitment: CommitmentService = NO_COMMITMENT,
        own_result: Callable[[str], bytes | None] = lambda uid: None,
    ) -> None:
        self.own_result = own_result
        self.events = events
        self.commitment = commitment
        self.spool = spool
        self.file_name_of = file_name_of
        self.register = register
        self.stored = stored
        self.keep_copy = keep_copy
        self.max_nesting = max_nesting
        self._refuse = refuse
        self._room = room
        self._locks = tuple(Lock() for _ in range(_STRIPES))
        self._carried = Counter[str]()
        self._carried_lock = Lock()

    def receiver_for(self, caller: CallingPeer) -> "InstanceReceiver":
        """Receives the instances of one association."""
        return InstanceReceiver(self, caller)

    def is_carried(self, study_uid: str) -> bool:
        """Whether an open association has sent images of a study."""
        return self._carried[study_uid] > 0

    def carry(self, study_uid: str, associations: int) -> None:
        """Count an association that has begun (1) or ceased (-1) to carry a study."""
        with self._carried_lock:
            self._carried[study_uid] += associations
            if self._carried[study_uid] <= 0:
                del self._carried[study_uid]

    def has_room(self) -> bool:
        """Whether there is room for new instances; False while the disk is unavailable."""
        try:
            return self._room()
        except TemporarilyUnavailable:
            return False

    @contextmanager
    def locked(self, file_name: str) -> Iterator[None]:
        """Hold while an instance is stored: copies of it take turns, in all processes."""
        stripe = int(file_name[:8], 16) % _STRIPES
        with self._locks[stripe], self.spool.locked(stripe):
            yield

    def report_rejection(
        self,
        caller: CallingPeer,
        outcome: StoreOutcome | str,
        sop_instance_uid: str = "",
        study_uid: str = "",
        quarantined_as: str = "",
    ) -> None:
        """Enter a refused instance, or with a text a refused or broken association."""
        status, reason = (
            (outcome.status, outcome.reason) if isinstance(outcome, StoreOutcome) else (0, outcome)
        )
        try:
            self._refuse(
                Refusal(
                    at=datetime.now(UTC),
                    source_ae=caller.ae_title,
                    address=caller.address,
                    sop_instance_uid=sop_instance_uid,
                    study_uid=study_uid,
                    status=status,
                    reason=reason,
                    quarantined_as=quarantined_as,
                )
            )
        except TemporarilyUnavailable as error:
            _log.warning("refusal not recorded", peer=caller.ae_title, reason=str(error))


class InstanceReceiver:
    """The instances of one association, one after the other.

    `begin`, then `take` for each fragment, then `finish`; or `abandon` at any time. Nothing of
    one instance is left when the next begins.
    """

    _request: StoreRequest
    _context: AnsweredContext
    _fault: StoreOutcome | None
    _staged: StagedFile | None

    def __init__(self, service: StorageService, caller: CallingPeer) -> None:
        self._service = service
        self._caller = caller
        self._held = memoryview(bytearray(HELD_BYTES))
        self._studies: set[str] = set()
        self._clear()

    def begin(self, request: StoreRequest, context: AnsweredContext) -> None:
        """Start an instance. What is wrong with it already is answered when it is complete."""
        self._request = request
        self._context = context
        if request.sop_class_uid != context.abstract_syntax:
            self._fault = _CLASS_MISMATCH
        elif not is_uid(request.sop_instance_uid):
            self._fault = _NO_UID
        elif not request.has_dataset:
            self._fault = _NO_DATASET
        elif not self._service.has_room():
            self._fault = _OUT_OF_SPACE

    def take(self, fragment: memoryview) -> None:
        """Add a piece of the dataset."""
        length = len(fragment)
        self.size_bytes += length
        if self._fault is not None:
            return
        if self._filled + length > HELD_BYTES:
            self._spill()
        self._held[self._filled : self._filled + length] = fragment
        self._filled += length

    def finish(self) -> StoreOutcome:
        """Check, store and register what was taken; returns what is to be answered."""
        outcome, study_uid, quarantined_as = self._fault or SUCCESS, "", ""
        try:
            if self._fault is None:
                scanned = self._scan()
                study_uid = scanned.study_uid
                self._carry(study_uid)
                outcome, quarantined_as = self._store(scanned)
        except DatasetUnreadable as error:
            outcome = StoreOutcome(Status.CANNOT_UNDERSTAND, str(error))
        except TemporarilyUnavailable as error:
            outcome = StoreOutcome(Status.OUT_OF_RESOURCES, str(error))
        except InternalFault as error:
            _log.exception("C-STORE failed")
            outcome = StoreOutcome(Status.NODE_FAULT, str(error))
        uid = self._request.sop_instance_uid
        self.abandon()
        if outcome.status is not Status.SUCCESS:
            self._service.report_rejection(
                self._caller, outcome, uid if is_uid(uid) else "", study_uid, quarantined_as
            )
        return outcome

    def end(self) -> None:
        """Discard the incomplete instance; the association carries no study any more."""
        self.abandon()
        for study_uid in self._studies:
            self._service.carry(study_uid, -1)
        self._studies.clear()

    def _carry(self, study_uid: str) -> None:
        if study_uid not in self._studies:
            self._studies.add(study_uid)
            self._service.carry(study_uid, 1)

    def abandon(self) -> None:
        """Discard the incomplete instance."""
        self._staging.close()
        self._clear()

    def _clear(self) -> None:
        self._fault = None
        self._filled = 0
        self._digest = hashlib.sha256()
        self._staging = ExitStack()
        self._staged = None
        self.size_bytes = 0

    def _spill(self) -> None:
        """Write the buffer to disk to free it."""
        try:
            self._write()
        except TemporarilyUnavailable as error:
            self._fault = StoreOutcome(Status.OUT_OF_RESOURCES, str(error))
            self._staging.close()
            self._filled = 0

    def _write(self) -> StagedFile:
        """Append the buffer to the staged file, which begins with the file meta information."""
        held = self._held[: self._filled]
        self._digest.update(held)
        if self._staged is None:
            self._staged = self._staging.enter_context(self._service.spool.stage())
            self._staged.write(self._header(), held)
        else:
            self._staged.write(held)
        self._filled = 0
        return self._staged

    def _header(self) -> bytes:
        return part10_header(
            self._context.abstract_syntax,
            self._request.sop_instance_uid,
            self._context.transfer_syntax,
            self._caller.ae_title,
        )

    def _scan(self) -> Scan:
        """Scan the dataset in memory or, if it is long, in the staged file."""
        if self._staged is None:
            dataset = self._held[: self._filled]
        else:
            dataset = self._write().mapped(len(self._header()))
        explicit_vr = self._context.transfer_syntax != IMPLICIT_VR_LITTLE_ENDIAN
        return scan(dataset, explicit_vr, self._service.max_nesting)

    def _store(self, scanned: Scan) -> tuple[StoreOutcome, str]:
        """Store and register; returns the outcome and the name in quarantine, if any."""
        named = (scanned.sop_class_uid, scanned.sop_instance_uid)
        if named != (self._request.sop_class_uid, self._request.sop_instance_uid):
            return _UID_MISMATCH, ""
        size_bytes = self.size_bytes
        staged = self._write()
        staged.sync()
        instance = self._described(scanned, size_bytes)
        with self._service.locked(instance.file_name):
            registration, stored = self._store_and_register(staged, instance)
            if registration not in (Registration.CORRECTION, Registration.CONFLICT):
                return StoreOutcome(Status.SUCCESS, instance=instance), ""
            kind = CopyKind(registration.value)
            name = self._keep_copy(staged, instance, kind, stored)
        if kind is CopyKind.CORRECTION:
            return StoreOutcome(Status.SUCCESS, instance=instance), ""
        return _CONFLICT, name

    def _keep_copy(
        self,
        staged: StagedFile,
        instance: ReceivedInstance,
        kind: CopyKind,
        stored: "_StoredFile",
    ) -> str:
        """Keep a second copy in quarantine and record it; returns its name there."""
        name = f"{instance.file_name[:64]}-{instance.sha256[:16]}.dcm"
        row = stored.row or self._service.stored(instance.sop_instance_uid)
        staged.quarantine(name)
        if row is not None:
            differs, identities = stored.differs or (), (stored.identity, stored.stored_identity)
            try:
                self._service.keep_copy(
                    ReceivedCopy(kind, instance, row, differs, *identities, name)
                )
            except TemporarilyUnavailable:
                self._service.spool.remove_from_quarantine(name)
                raise
        return name

    def _described(self, scanned: Scan, size_bytes: int) -> ReceivedInstance:
        return ReceivedInstance(
            sop_instance_uid=scanned.sop_instance_uid,
            sop_class_uid=scanned.sop_class_uid,
            transfer_syntax_uid=self._context.transfer_syntax,
            study_uid=scanned.study_uid,
            series_uid=scanned.series_uid,
            patient_id=scanned.patient_id,
            issuer_of_patient_id=scanned.issuer_of_patient_id,
            source_ae=self._caller.ae_title,
            file_name=self._service.file_name_of(scanned.sop_instance_uid),
            size_bytes=size_bytes,
            sha256=self._digest.hexdigest(),
            received_at=datetime.now(UTC),
        )

    def _store_and_register(
        self, staged: StagedFile, instance: ReceivedInstance
    ) -> tuple[Registration, "_StoredFile"]:
        """Store the file, then its row; remove the file again if the row is rejected.

        If the database fails, the row may exist all the same: the file stays, and is recognised
        as identical when the peer sends the instance again.
        """
        is_new = staged.keep(instance.file_name)
        stored = _StoredFile(instance.sha256) if is_new else self._compared(staged, instance)
        if stored.is_corrected_by(instance):
            return Registration.CORRECTION, stored
        is_same = stored.differs == ()
        if is_same and not stored.is_recoded:
            instance = replace(instance, sha256=stored.sha256)
        registration = self._register(instance, is_new)
        if registration is Registration.OWN_RESULT and self._is_other_result(staged, instance):
            return Registration.CONFLICT, stored
        if stored.is_recoded and registration is Registration.DUPLICATE:
            return (registration if is_same else Registration.CONFLICT), stored
        never_acknowledged = registration in (Registration.NEW, Registration.DUPLICATE)
        file_name = stored.row.file_name if stored.row else instance.file_name
        if stored.sha256 != instance.sha256 and never_acknowledged:
            staged.replace_instance(file_name)
        elif never_acknowledged and not self._service.spool.path_of(file_name).exists():
            staged.keep(file_name)  # a file without a row, cleared just before it was registered
        return registration, stored

    def _is_other_result(self, staged: StagedFile, instance: ReceivedInstance) -> bool:
        """Whether it has other content than the node's own result of the same UID."""
        content = self._service.own_result(instance.sop_instance_uid)
        if content is None:
            return False
        try:
            received = dcmread(BytesIO(staged.mapped(0)))
            return not has_same_content(dcmread(BytesIO(content)), received)
        except READING_ERRORS:
            return True

    def _register(self, instance: ReceivedInstance, is_new: bool) -> Registration:
        registration = None
        try:
            registration = self._service.register(instance)
        except DatabaseUnavailable:
            is_new = False
            raise
        finally:
            if is_new and registration not in (Registration.NEW, Registration.DUPLICATE):
                self._service.spool.remove(instance.file_name)
        return registration

    def _compared(self, staged: StagedFile, instance: ReceivedInstance) -> "_StoredFile":
        """The stored copy, compared with the received one if their bytes differ."""
        spool, row = self._service.spool, self._service.stored(instance.sop_instance_uid)
        file_name = row.file_name if row else instance.file_name
        try:
            sha256 = spool.digest_of(file_name)
        except DatasetUnreadable:  # damaged at its beginning
            return _StoredFile("", row)
        if instance.sha256 in (sha256, row and row.sha256):  # the same, or the file is damaged
            return _StoredFile(sha256, row)
        meta = file_meta_of(spool.path_of(file_name))
        is_recoded = meta.transfer_syntax_uid != instance.transfer_syntax_uid
        try:
            with spool.open(file_name) as file:
                stored, received = dcmread(file), dcmread(BytesIO(staged.mapped(0)))
                return _StoredFile(sha256, row, is_recoded, *_comparison(stored, received))
        except READING_ERRORS:
            return _StoredFile(sha256, row, is_recoded)


def _comparison(stored: Dataset, received: Dataset) -> tuple[tuple[str, ...], str, str]:
    """What differs, and the identities of the received and the stored copy."""
    return differences(stored, received), identity_digest(received), identity_digest(stored)


@dataclass(frozen=True)
class _StoredFile:
    """A stored file of the same SOP Instance UID as a received one.

    Parameters
    ----------
    sha256
        Of its dataset, as it is on disk.
    row
        Its row in the database, if it is registered.
    is_recoded
        Whether it has other bytes in another transfer syntax.
    differs
        What differs from the received copy; None if that is unknown.
    """

    sha256: str
    row: ReceivedInstance | None = None
    is_recoded: bool = False
    differs: tuple[str, ...] | None = None
    identity: str = ""
    stored_identity: str = ""

    def is_corrected_by(self, instance: ReceivedInstance) -> bool:
        """Whether a copy of this acknowledged instance differs in identity only."""
        if self.row is None or self.row.sha256 != self.sha256:
            return False  # the file is not what was acknowledged
        return self.sha256 != instance.sha256 and is_correction(self.differs or ())
