"""Sending results: stored bytes go out as they were stored, on an association of their own.

Source: DICOM PS3.4 B.2.3 (statuses of C-STORE).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from sij_node.config.settings import DeliveryConfig, PeerConfig, TlsConfig
from sij_node.errors import DestinationUnavailable
from sij_node.network.scu import AssociationRequestor, named

# Bytes are read from the file and sent, never decoded and encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True

_SUCCESS = 0x0000
_DUPLICATE_INSTANCE = 0x0111
_WARNINGS = range(0xB000, 0xC000)


@dataclass(frozen=True)
class OutgoingObject:
    """A stored Part 10 file, and the names it is announced by."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: Path

    @property
    def contexts(self) -> tuple[tuple[str, str], ...]:
        """SOP class and transfer syntax under which it can be sent, as stored first."""
        syntaxes = [self.transfer_syntax_uid]
        if self.transfer_syntax_uid == ExplicitVRLittleEndian:
            syntaxes.append(ImplicitVRLittleEndian)  # what every node must accept (PS3.5 10.1)
        return tuple((self.sop_class_uid, syntax) for syntax in syntaxes)


@dataclass(frozen=True)
class SendResult:
    """What the destination answered to one object.

    Parameters
    ----------
    status
        C-STORE status, or None where the context was refused or no answer came.
    note
        What to tell an administrator.
    """

    sop_instance_uid: str
    status: int | None
    note: str

    @property
    def acknowledged(self) -> bool:
        """True when the destination has the object (a coercion warning included)."""
        return self.status is not None and (
            self.status in (_SUCCESS, _DUPLICATE_INSTANCE) or self.status in _WARNINGS
        )


@dataclass(frozen=True)
class StoreScu:
    """Opens associations to peers in the node's name."""

    ae_title: str
    limits: DeliveryConfig
    tls: TlsConfig | None = None

    def send(self, peer: PeerConfig, objects: Sequence[OutgoingObject]) -> Iterator[SendResult]:
        """Send objects to a peer, one answer each, in order.

        Raises
        ------
        DestinationUnavailable
            If no association could be made, or it broke; objects answered before are done.
        """
        contexts = sorted({context for item in objects for context in item.contexts})
        with self._caller.associated(peer, contexts) as association:
            for number, item in enumerate(objects, start=1):
                yield _send_one(association, item, number, peer)

    def echo(self, peer: PeerConfig) -> None:
        """C-ECHO.

        Raises
        ------
        DestinationUnavailable
            If the peer does not answer with success.
        """
        with self._caller.associated(peer, [(Verification, ImplicitVRLittleEndian)]) as association:
            answer = association.send_c_echo()
            if answer.get("Status") != _SUCCESS:
                raise DestinationUnavailable(f"{named(peer)} did not answer a C-ECHO with success.")

    @property
    def _caller(self) -> AssociationRequestor:
        return AssociationRequestor(self.ae_title, self.limits, self.tls)


def _send_one(
    association: Association, item: OutgoingObject, number: int, peer: PeerConfig
) -> SendResult:
    accepted = {
        (context.abstract_syntax, context.transfer_syntax[0])
        for context in association.accepted_contexts
    }
    possible = [context for context in item.contexts if context in accepted]
    if not possible:
        return SendResult(
            item.sop_instance_uid, None, f"{named(peer)} does not accept this kind of object."
        )
    as_stored = possible[0] == item.contexts[0]
    what = item.file if as_stored else dcmread(item.file)
    try:
        answer = association.send_c_store(what, msg_id=number % 65535 + 1)
    except RuntimeError as error:  # pynetdicom's word for an association that is gone
        raise DestinationUnavailable(f"{named(peer)} ended the association.") from error
    if "Status" not in answer:
        raise DestinationUnavailable(f"{named(peer)} broke off or did not answer in time.")
    status = int(answer.Status)
    return SendResult(item.sop_instance_uid, status, str(answer.get("ErrorComment", "")))
