"""Storage SCU: sends stored results byte for byte, and C-ECHO.

Source: DICOM PS3.4 B.2.3 (statuses of C-STORE).
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from sij_node.config.settings import DeliveryConfig, PeerConfig, TlsConfig
from sij_node.errors import DestinationUnavailable
from sij_node.network.scu import AssociationRequestor, close_sockets, named
from sij_node.network.time_limit import limited_in_time

# Send the bytes of the file, never decoded and re-encoded.
_config.STORE_SEND_CHUNKED_DATASET = True

_SUCCESS = 0x0000
_DUPLICATE_INSTANCE = 0x0111
_WARNINGS = range(0xB000, 0xC000)
_REMEDIES: tuple[tuple[range, str], ...] = (
    (range(0x0122, 0x0123), "enable this SOP class for the node's AE title at the destination"),
    (range(0x0124, 0x0125), "allow the node's AE title to store objects at the destination"),
    (range(0x0117, 0x0118), "the destination does not accept this SOP Instance UID"),
    (range(0xA900, 0xAA00), "the destination does not accept this SOP class as it is encoded"),
    (range(0xC000, 0xD000), "the destination cannot read this object; see its log"),
)
"""Statuses that no retry can change, and what to do (PS3.4 B.2.3, PS3.7 C.5)."""
_CLASS_NOT_OFFERED = (
    "enable this SOP class and transfer syntax for the node's AE title at the destination, or set "
    "a profile without it for this [[peer]]"
)


@dataclass(frozen=True)
class OutgoingObject:
    """A stored Part 10 file with its UIDs."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: Path

    @property
    def contexts(self) -> tuple[tuple[str, str], ...]:
        """Presentation contexts for sending it, the stored transfer syntax first."""
        syntaxes = [self.transfer_syntax_uid]
        if self.transfer_syntax_uid == ExplicitVRLittleEndian:
            syntaxes.append(ImplicitVRLittleEndian)  # the default transfer syntax (PS3.5 10.1)
        return tuple((self.sop_class_uid, syntax) for syntax in syntaxes)


@dataclass(frozen=True)
class SendResult:
    """The response of the destination to one object.

    Parameters
    ----------
    status
        C-STORE status, or None if the presentation context or the whole request was rejected.
    note
        Details for the administrator.
    advice
        What to change where a retry cannot help, if the status does not tell.
    """

    sop_instance_uid: str
    status: int | None
    note: str
    advice: str = ""

    @property
    def remedy(self) -> str:
        """What to change where a retry cannot help; empty where it may."""
        if self.advice:
            return self.advice
        if self.status is None:
            return _CLASS_NOT_OFFERED
        return next((words for codes, words in _REMEDIES if self.status in codes), "")

    @property
    def acknowledged(self) -> bool:
        """True when the destination has the object (a coercion warning included)."""
        return self.status is not None and (
            self.status in (_SUCCESS, _DUPLICATE_INSTANCE) or self.status in _WARNINGS
        )


@dataclass(frozen=True)
class StoreScu:
    """Sends objects to peers under the node's AE title."""

    ae_title: str
    limits: DeliveryConfig
    tls: TlsConfig | None = None

    def send(self, peer: PeerConfig, objects: Sequence[OutgoingObject]) -> Iterator[SendResult]:
        """Send objects to a peer in order; yields one result per object.

        Raises
        ------
        DestinationUnavailable
            If the association was not established, ended or took too long; results yielded before
            are valid.
        """
        connections: list[Association] = []
        responses = self._responses(peer, objects, connections)
        try:
            yield from limited_in_time(
                responses, self.limits.timeout_s, lambda: close_sockets(connections)
            )
        except TimeoutError as error:
            raise DestinationUnavailable(
                f"{named(peer)} did not take all objects within {self.limits.timeout_s:g} s; the "
                "association was closed. The others follow with the next attempt."
            ) from error

    def _responses(
        self, peer: PeerConfig, objects: Sequence[OutgoingObject], connections: list[Association]
    ) -> Generator[SendResult, None, None]:
        opened = (evt.EVT_CONN_OPEN, lambda event: connections.append(event.assoc))
        contexts = sorted({context for item in objects for context in item.contexts})
        with self._caller.associated(peer, contexts, handlers=[opened]) as association:
            for number, item in enumerate(objects, start=1):
                yield _send_one(association, item, number, peer)

    def echo(self, peer: PeerConfig) -> None:
        """Send a C-ECHO.

        Raises
        ------
        DestinationUnavailable
            If the peer does not respond with Success.
        """
        with self._caller.associated(peer, [(Verification, ImplicitVRLittleEndian)]) as association:
            answer = association.send_c_echo()
            if answer.get("Status") != _SUCCESS:
                raise DestinationUnavailable(
                    f"{named(peer)} did not respond to a C-ECHO with Success."
                )

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
            item.sop_instance_uid, None, f"{named(peer)} does not accept this SOP class."
        )
    as_stored = possible[0] == item.contexts[0]
    what = item.file if as_stored else dcmread(item.file)
    try:
        answer = association.send_c_store(what, msg_id=number % 65535 + 1)
    except RuntimeError as error:  # pynetdicom: the association has ended
        raise DestinationUnavailable(f"{named(peer)} ended the association.") from error
    if "Status" not in answer:
        raise DestinationUnavailable(f"{named(peer)} aborted or did not respond in time.")
    status = int(answer.Status)
    return SendResult(item.sop_instance_uid, status, str(answer.get("ErrorComment", "")))
