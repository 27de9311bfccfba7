"""The story of one received image, from its first byte to the answer the sender gets.

Success is said only when the whole instance is on the disk under its final name and in the
database. Whatever comes before leaves nothing behind, and an instance that was acknowledged once
is never touched again: a copy with other content goes to quarantine.

=========  ============================================================  ================
status     meaning                                                       kept
=========  ============================================================  ================
0x0000     on the disk and in the database                               yes
0x0122     the class is not the one of the presentation context          no
0xA700     no room, or the disk or the database does not answer          no
0xA900     command and dataset name different classes or instances       no
0xC000     the dataset cannot be understood, or is truncated             no
0xC001     other content under a UID that was acknowledged               in quarantine
0xC211     the node is wrong                                             no
=========  ============================================================  ================
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Protocol

import structlog

from sij_node.audit.peer_events import PeerEvents
from sij_node.dicom.dataset_scan import Scan, is_uid, scan
from sij_node.dicom.part10 import part10_header
from sij_node.domain.study import ReceivedInstance, Refusal, Registration
from sij_node.errors import (
    DatabaseUnavailable,
    DatasetUnreadable,
    InternalFault,
    TemporarilyUnavailable,
)
from sij_node.network.association_summary import CallingPeer
from sij_node.network.dimse import Status, StoreRequest
from sij_node.network.pdu import AnsweredContext

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
HELD_BYTES = 1 << 20
"""An instance of up to this size is held in memory until it is whole; of a longer one, this much.

A classic MR image fits.
"""
_STRIPES = 1024

_log = structlog.get_logger()


class TemporaryFile(Protocol):
    """A file that has no name yet. Leaving its ``with`` block removes what was not moved."""

    def write(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Append."""

    def sync(self) -> None:
        """Return when the bytes are on the disk."""

    def mapped(self, offset: int) -> memoryview:
        """What was written from `offset` on."""

    def keep(self, file_name: str) -> bool:
        """Give it its name durably; False when that name is taken."""

    def put_in_place_of(self, file_name: str) -> None:
        """Give it a name that another file has."""

    def quarantine(self, name: str) -> None:
        """Put it aside."""


class InstanceStorage(Protocol):
    """What reception needs of the spool. Its errors are `SpoolUnavailable`."""

    def stage(self) -> AbstractContextManager[TemporaryFile]:
        """A new file without a name."""

    def digest_of(self, file_name: str) -> str:
        """SHA-256 of the dataset of a kept file."""

    def transfer_syntax_of(self, file_name: str) -> str:
        """Transfer Syntax UID of a kept file."""

    def remove(self, file_name: str) -> None:
        """Forget a kept file."""


@dataclass(frozen=True)
class StoreOutcome:
    """What is answered to a C-STORE, and the instance if it was taken."""

    status: Status
    reason: str = ""
    instance: ReceivedInstance | None = None


SUCCESS = StoreOutcome(Status.SUCCESS)
_NO_ROOM = StoreOutcome(Status.OUT_OF_RESOURCES, "too little free disk space")
_OTHER_CLASS = StoreOutcome(Status.CLASS_NOT_SUPPORTED, "SOP class is not that of the context")
_NO_UID = StoreOutcome(Status.CANNOT_UNDERSTAND, "Affected SOP Instance UID is no UID")
_NO_DATASET = StoreOutcome(Status.CANNOT_UNDERSTAND, "there is no dataset")
_MISMATCH = StoreOutcome(Status.DOES_NOT_MATCH_CLASS, "command and dataset name different objects")
_CONFLICT = StoreOutcome(
    Status.CONFLICTING_COPY, "other content than the copy that is already here"
)


class StorageService:
    """What all associations share.

    Parameters
    ----------
    spool
        Where instances are kept.
    file_name_of
        Name within the spool for a SOP Instance UID.
    register
        Enters an instance in the database and returns when that is durable.
    refuse
        Enters what was not accepted, for the administrator.
    room
        Whether there is enough free disk space to accept anything.
    max_nesting
        How deep sequences may be nested.
    events
        Records every association and every answer.
    """

    def __init__(
        self,
        *,
        spool: InstanceStorage,
        file_name_of: Callable[[str], str],
        register: Callable[[ReceivedInstance], Registration],
        refuse: Callable[[Refusal], None],
        room: Callable[[], bool],
        events: PeerEvents,
        max_nesting: int = 16,
    ) -> None:
        self.events = events
        self.spool = spool
        self.file_name_of = file_name_of
        self.register = register
        self.max_nesting = max_nesting
        self._refuse = refuse
        self._room = room
        self._turns = tuple(Lock() for _ in range(_STRIPES))

    def intake(self, origin: CallingPeer) -> "AssociationStorage":
        """For one association."""
        return AssociationStorage(self, origin)

    def has_room(self) -> bool:
        """Whether anything can be accepted now; not when the disk does not answer."""
        try:
            return self._room()
        except TemporarilyUnavailable:
            return False

    def turn(self, file_name: str) -> Lock:
        """Held while a name is given and entered: copies of one instance come one by one."""
        return self._turns[int(file_name[:8], 16) % _STRIPES]

    def report_refusal(
        self,
        origin: CallingPeer,
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
                    source_ae=origin.ae_title,
                    address=origin.address,
                    sop_instance_uid=sop_instance_uid,
                    study_uid=study_uid,
                    status=status,
                    reason=reason,
                    quarantined_as=quarantined_as,
                )
            )
        except TemporarilyUnavailable as error:
            _log.warning("refusal not recorded", peer=origin.ae_title, reason=str(error))


class AssociationStorage:
    """The instances of one association, one after the other.

    `begin`, then `take` for each fragment, then `finish`; or `abandon` at any time. Nothing of
    one instance is left when the next begins.
    """

    _request: StoreRequest
    _context: AnsweredContext
    _fault: StoreOutcome | None
    _staged: TemporaryFile | None

    def __init__(self, reception: StorageService, origin: CallingPeer) -> None:
        self._reception = reception
        self._origin = origin
        self._held = memoryview(bytearray(HELD_BYTES))
        self._clear()

    def begin(self, request: StoreRequest, context: AnsweredContext) -> None:
        """Start an instance. What is wrong with it already is answered when it is complete."""
        self._request = request
        self._context = context
        if request.sop_class_uid != context.abstract_syntax:
            self._fault = _OTHER_CLASS
        elif not is_uid(request.sop_instance_uid):
            self._fault = _NO_UID
        elif not request.has_dataset:
            self._fault = _NO_DATASET
        elif not self._reception.has_room():
            self._fault = _NO_ROOM

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
                outcome, quarantined_as = self._store(scanned)
        except DatasetUnreadable as error:
            outcome = StoreOutcome(Status.CANNOT_UNDERSTAND, str(error))
        except TemporarilyUnavailable as error:
            outcome = StoreOutcome(Status.OUT_OF_RESOURCES, str(error))
        except InternalFault as error:
            _log.exception("instance not stored")
            outcome = StoreOutcome(Status.NODE_FAULT, str(error))
        uid = self._request.sop_instance_uid
        self.abandon()
        if outcome.status is not Status.SUCCESS:
            self._reception.report_refusal(
                self._origin, outcome, uid if is_uid(uid) else "", study_uid, quarantined_as
            )
        return outcome

    def abandon(self) -> None:
        """Forget the instance that was begun."""
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
        """Write what is held to the disk, to make room in memory."""
        try:
            self._write()
        except TemporarilyUnavailable as error:
            self._fault = StoreOutcome(Status.OUT_OF_RESOURCES, str(error))
            self._staging.close()
            self._filled = 0

    def _write(self) -> TemporaryFile:
        """Write what is held, after the file meta information if it is the first."""
        held = self._held[: self._filled]
        self._digest.update(held)
        if self._staged is None:
            self._staged = self._staging.enter_context(self._reception.spool.stage())
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
            self._origin.ae_title,
        )

    def _scan(self) -> Scan:
        """Walk over the dataset, wherever it is: in memory or, when it is long, on the disk."""
        if self._staged is None:
            dataset = self._held[: self._filled]
        else:
            dataset = self._write().mapped(len(self._header()))
        explicit_vr = self._context.transfer_syntax != IMPLICIT_VR_LITTLE_ENDIAN
        return scan(dataset, explicit_vr, self._reception.max_nesting)

    def _store(self, scanned: Scan) -> tuple[StoreOutcome, str]:
        """Write, name and register; returns the answer and the name in quarantine, if any."""
        named = (scanned.sop_class_uid, scanned.sop_instance_uid)
        if named != (self._request.sop_class_uid, self._request.sop_instance_uid):
            return _MISMATCH, ""
        size_bytes = self.size_bytes
        staged = self._write()
        staged.sync()
        instance = self._described(scanned, size_bytes)
        with self._reception.turn(instance.file_name):
            registration = self._keep_and_register(staged, instance)
        if registration is Registration.CONFLICT:
            name = f"{instance.file_name[:64]}-{instance.sha256[:16]}.dcm"
            staged.quarantine(name)
            return _CONFLICT, name
        return StoreOutcome(Status.SUCCESS, instance=instance), ""

    def _described(self, scanned: Scan, size_bytes: int) -> ReceivedInstance:
        return ReceivedInstance(
            sop_instance_uid=scanned.sop_instance_uid,
            sop_class_uid=scanned.sop_class_uid,
            transfer_syntax_uid=self._context.transfer_syntax,
            study_uid=scanned.study_uid,
            series_uid=scanned.series_uid,
            patient_id=scanned.patient_id,
            issuer_of_patient_id=scanned.issuer_of_patient_id,
            source_ae=self._origin.ae_title,
            file_name=self._reception.file_name_of(scanned.sop_instance_uid),
            size_bytes=size_bytes,
            sha256=self._digest.hexdigest(),
            received_at=datetime.now(UTC),
        )

    def _keep_and_register(self, staged: TemporaryFile, instance: ReceivedInstance) -> Registration:
        """First the file, then the row; a file whose row was refused is removed again.

        When the database does not answer, the row may be there nevertheless: the file stays, and
        when the instance is sent again it is found to be the same.
        """
        is_new = staged.keep(instance.file_name)
        has_other_bytes = not is_new and not self._is_kept(instance)
        registration = None
        try:
            registration = self._reception.register(instance)
        except DatabaseUnavailable:
            is_new = False
            raise
        finally:
            if is_new and registration not in (Registration.NEW, Registration.DUPLICATE):
                self._reception.spool.remove(instance.file_name)
        if has_other_bytes and self._is_left_over(instance, registration):
            staged.put_in_place_of(instance.file_name)
        return registration

    def _is_left_over(self, instance: ReceivedInstance, registration: Registration) -> bool:
        """Whether the kept file never was acknowledged.

        A crash came before its row, or between the row of what replaces it and the replacing;
        then the row is that of what comes again.
        """
        if registration is Registration.DUPLICATE:
            return not self._is_kept_otherwise_encoded(instance)
        return registration is Registration.NEW

    def _is_kept(self, instance: ReceivedInstance) -> bool:
        return self._reception.spool.digest_of(instance.file_name) == instance.sha256

    def _is_kept_otherwise_encoded(self, instance: ReceivedInstance) -> bool:
        kept_syntax = self._reception.spool.transfer_syntax_of(instance.file_name)
        return kept_syntax != instance.transfer_syntax_uid
