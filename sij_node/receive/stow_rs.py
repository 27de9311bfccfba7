"""STOW-RS: studies received by DICOMweb, into the same reception as C-STORE.

A request is written to the spool first and then stored part by part, so that a request which is
incomplete or malformed leaves nothing behind. Checks, durability and statuses of each instance are
those of `sij_node.receive.c_store`.

Source: DICOM PS3.18 10.5 (Store transaction), Annex I.2 (Store Instances Response).
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog

from sij_node.dicom.part10 import FileMeta, read_file_meta
from sij_node.errors import DatasetUnreadable, RequestMalformed, SpoolUnavailable
from sij_node.network.association_summary import AssociationSummary, CallingPeer
from sij_node.network.dimse import Status, StoreRequest
from sij_node.network.pdu import AnsweredContext, ContextResult
from sij_node.receive.association import STORAGE_CLASSES, TRANSFER_SYNTAXES
from sij_node.receive.c_store import HELD_BYTES, InstanceReceiver, StorageService, StoreOutcome
from sij_node.receive.multipart import Part, boundary_of, media_type_of, parts_of
from sij_node.store.spool import StagedFile

DICOM_JSON = "application/dicom+json"
MAX_PARTS = 10_000
_DICOM = "application/dicom"
_MAX_META_BYTES = 1 << 16
_SYNTAX_NOT_SUPPORTED = 0xC122
"""Failure reason of PS3.18 Table I.2-2 for which C-STORE has no status."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class StowAnswer:
    """The response to a request: HTTP status, and a dataset in the DICOM JSON model."""

    status: int
    dataset: dict[str, Any]


@dataclass(frozen=True)
class _StoredPart:
    sop_class_uid: str
    sop_instance_uid: str
    status: int


@dataclass(frozen=True)
class StowReception:
    """Receives Store requests.

    Parameters
    ----------
    max_instance_mb
        Longer instances are refused.
    """

    service: StorageService
    max_instance_mb: int

    @contextmanager
    def body(self) -> Iterator[StagedFile]:
        """A file for the body of a request, removed after the block.

        Raises
        ------
        SpoolUnavailable
            If the disk is full or unavailable.
        """
        if not self.service.has_room():
            raise SpoolUnavailable("Not enough free disk space; send the study again later.")
        with self.service.spool.stage() as staged:
            yield staged

    def store(self, body: StagedFile, content_type: str, caller: CallingPeer) -> StowAnswer:
        """Store every instance of a body.

        Parameters
        ----------
        content_type
            Content-Type header of the request.

        Raises
        ------
        RequestMalformed
            If the body is no complete multipart/related body of DICOM files; nothing is stored.
        """
        began = monotonic()
        try:
            with body.whole() as content:
                size_bytes = len(content)
                found = self._checked_parts(content, content_type)
                stored = self._store_all(content, found, caller)
        except RequestMalformed as error:
            self.service.report_rejection(caller, f"STOW-RS request refused: {error}")
            raise
        refused = [one for one in stored if one.status != Status.SUCCESS]
        (_log.warning if refused else _log.info)(
            "store request ended",
            peer=caller.ae_title,
            address=caller.address,
            instances=len(stored) - len(refused),
            refused=len(refused),
            bytes=size_bytes,
            seconds=round(monotonic() - began, 3),
        )
        return _answer(stored)

    def _checked_parts(
        self, content: mmap.mmap, content_type: str
    ) -> Sequence[tuple[Part, FileMeta]]:
        if media_type_of(content_type) != "multipart/related":
            raise RequestMalformed("Content-Type must be multipart/related (PS3.18 10.5.1).")
        found: list[tuple[Part, FileMeta]] = []
        for number, part in enumerate(parts_of(content, boundary_of(content_type)), 1):
            if number > MAX_PARTS:
                raise RequestMalformed(f"The body has more than {MAX_PARTS} parts; send fewer.")
            found.append((part, self._meta(content, part, number)))
        if not found:
            raise RequestMalformed("The body has no parts.")
        return found

    def _meta(self, content: mmap.mmap, part: Part, number: int) -> FileMeta:
        if part.media_type not in (_DICOM, ""):
            raise RequestMalformed(f"Part {number} is not {_DICOM}; only DICOM files are stored.")
        if part.end - part.start > self.max_instance_mb * 1_000_000:
            raise RequestMalformed(
                f"Part {number} is longer than {self.max_instance_mb} MB, the limit set by "
                "[listener] max_instance_mb."
            )
        try:
            return read_file_meta(content[part.start : min(part.end, part.start + _MAX_META_BYTES)])
        except DatasetUnreadable as error:
            raise RequestMalformed(f"Part {number}: {error}") from error

    def _store_all(
        self, content: mmap.mmap, found: Sequence[tuple[Part, FileMeta]], caller: CallingPeer
    ) -> list[_StoredPart]:
        events, summary = self.service.events, AssociationSummary()
        receiver, stored = self.service.receiver_for(caller), list[_StoredPart]()
        events.association_accepted(caller)
        try:
            for part, meta in found:
                status, reason = _not_supported(meta)
                if reason:
                    self.service.report_rejection(caller, reason, meta.sop_instance_uid)
                else:
                    outcome = _received(receiver, content, part, meta)
                    status = outcome.status
                    events.instance_received(caller, outcome.status)
                    if outcome.instance is not None:
                        summary.add(outcome.instance)
                stored.append(_StoredPart(meta.sop_class_uid, meta.sop_instance_uid, status))
        finally:
            receiver.end()
            events.association_ended(caller, "stow-rs", summary.studies)
        return stored


def _not_supported(meta: FileMeta) -> tuple[int, str]:
    """Failure reason of what C-STORE would not negotiate, in number and words; or 0 and empty."""
    if meta.sop_class_uid not in STORAGE_CLASSES:
        return Status.CLASS_NOT_SUPPORTED, "SOP class is not a storage class"
    if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
        return _SYNTAX_NOT_SUPPORTED, "transfer syntax not supported"
    return Status.SUCCESS, ""


def _received(
    receiver: InstanceReceiver, content: mmap.mmap, part: Part, meta: FileMeta
) -> StoreOutcome:
    """Hand an instance to the reception in pieces, as an association does."""
    start = part.start + meta.dataset_offset
    uids = meta.sop_class_uid, meta.sop_instance_uid
    context = AnsweredContext(1, ContextResult.ACCEPTED, uids[0], meta.transfer_syntax_uid)
    receiver.begin(StoreRequest(1, *uids, has_dataset=start < part.end), context)
    with memoryview(content) as whole:
        for at in range(start, part.end, HELD_BYTES):
            with whole[at : min(at + HELD_BYTES, part.end)] as piece:
                receiver.take(piece)
    return receiver.finish()


def _answer(stored: Sequence[_StoredPart]) -> StowAnswer:
    """A Store Instances Response, PS3.18 Table 10.5.3-1 and Annex I.2."""
    accepted = [_item(one) for one in stored if one.status == Status.SUCCESS]
    refused = [
        {**_item(one), "00081197": {"vr": "US", "Value": [one.status]}}
        for one in stored
        if one.status != Status.SUCCESS
    ]
    dataset: dict[str, Any] = {"00081190": {"vr": "UR"}}
    if accepted:
        dataset["00081199"] = {"vr": "SQ", "Value": accepted}
    if refused:
        dataset["00081198"] = {"vr": "SQ", "Value": refused}
    return StowAnswer(200 if not refused else 202 if accepted else 409, dataset)


def _item(one: _StoredPart) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [one.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [one.sop_instance_uid]},
    }
