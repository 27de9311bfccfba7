"""One association as acceptor: negotiation, then DIMSE messages until release or abort.

Each association runs in its own thread, so an error ends that association and no other.

Source: DICOM PS3.8 sections 7 and 9, PS3.7 section 6.3 and Annexes D and E.
"""

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

import structlog
from pynetdicom import AllStoragePresentationContexts

from sij_node.config.settings import ListenerConfig, PeerConfig
from sij_node.domain.storage_commitment import PUSH_MODEL
from sij_node.domain.study import of_association
from sij_node.errors import (
    AssociationEnded,
    HandshakeRefused,
    PeerGone,
    PeerTimedOut,
    ProtocolViolated,
)
from sij_node.network.association_summary import AssociationSummary, CallingPeer
from sij_node.network.dimse import (
    MAX_COMMAND_BYTES,
    EchoRequest,
    NormalizedRequest,
    NormalizedStatus,
    Status,
    StoreRequest,
    decode_request,
    encode_echo_response,
    encode_normalized_response,
    encode_store_response,
)
from sij_node.network.pdu import (
    ADDRESS_NOT_ALLOWED,
    APPLICATION_CONTEXT,
    CALLED_TITLE_UNKNOWN,
    CALLING_TITLE_UNKNOWN,
    CERTIFICATE_NOT_OF_PEER,
    CONTEXT_NAME_UNKNOWN,
    MAX_REQUEST_BYTES,
    VERSION_UNKNOWN,
    AbortReason,
    AnsweredContext,
    AssociateRequest,
    ContextResult,
    Fragment,
    PduType,
    ProposedContext,
    Rejection,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_command,
    encode_release_response,
    fragments,
)
from sij_node.network.tls import ServerTls
from sij_node.network.transport import Transport
from sij_node.receive.c_store import IMPLICIT_VR_LITTLE_ENDIAN, InstanceReceiver, StorageService
from sij_node.receive.rejection_advice import rejection_advice

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_CLASSES = frozenset(str(c.abstract_syntax) for c in AllStoragePresentationContexts)
"""Every storage SOP class of PS3.4 B.5 that pynetdicom knows."""

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
TRANSFER_SYNTAXES = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, selection value 1
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE lossless
)
"""PS3.6 Table A-1. Neither deflated (200 kB can inflate to 1 GB) nor big endian."""

MAX_COMMITMENT_BYTES = 4_000_000
"""Limit of a request or report of storage commitment; one instance takes about 200 bytes."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class AcceptancePolicy:
    """Which peers may associate, and within which limits.

    Parameters
    ----------
    tls
        None for associations without TLS.
    """

    ae_title: str
    peers: Mapping[str, PeerConfig]
    limits: ListenerConfig
    tls: ServerTls | None


@dataclass
class AssociationCounts:
    """Counts of one association, for its log line and the audit trail."""

    peer: str = ""
    instances: int = 0
    refused: int = 0
    size_bytes: int = 0
    status: str = "crashed"
    reason: str = ""
    began: float = field(default_factory=monotonic)
    summary: AssociationSummary = field(default_factory=AssociationSummary)


def rejection_of(
    request: AssociateRequest, address: str, names: frozenset[str], policy: AcceptancePolicy
) -> Rejection | None:
    """Why this association is rejected, or None if it is accepted.

    Parameters
    ----------
    names
        In the peer's certificate, in lower case.
    """
    if not request.protocol_version & 1:
        return VERSION_UNKNOWN
    if request.application_context != APPLICATION_CONTEXT:
        return CONTEXT_NAME_UNKNOWN
    if request.called_ae != policy.ae_title:
        return CALLED_TITLE_UNKNOWN
    peer = policy.peers.get(request.calling_ae)
    if peer is None:
        return CALLING_TITLE_UNKNOWN
    if peer.certificate_names and names.isdisjoint(map(str.lower, peer.certificate_names)):
        return CERTIFICATE_NOT_OF_PEER
    return None if is_in(address, peer.networks) else ADDRESS_NOT_ALLOWED


def is_in(address: str, networks: Sequence[str]) -> bool:
    """Whether an IP address, including IPv4-mapped IPv6, is in one of the networks."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in ipaddress.ip_network(network, strict=False) for network in networks)


def negotiate(proposed: ProposedContext, further: Collection[str] = frozenset()) -> AnsweredContext:
    """Accept a presentation context with one transfer syntax, or reject it.

    Parameters
    ----------
    further
        SOP classes that are accepted besides storage and verification.
    """
    syntax = next((s for s in TRANSFER_SYNTAXES if s in proposed.transfer_syntaxes), None)
    known = proposed.abstract_syntax in STORAGE_CLASSES or proposed.abstract_syntax == VERIFICATION
    if not known and proposed.abstract_syntax not in further:
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif syntax is None:
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        result = ContextResult.ACCEPTED
    return AnsweredContext(
        proposed.context_id, result, proposed.abstract_syntax, syntax or IMPLICIT_VR_LITTLE_ENDIAN
    )


class Association:
    """One association, from the connection to its release or abort.

    Parameters
    ----------
    claim_slot
        Claims an association slot; returns the rejection if none is free.
    release_slot
        Releases the slot, if one was claimed.
    is_stopping
        Whether the node is shutting down; an instance being received is still completed.
    """

    def __init__(
        self,
        transport: Transport,
        address: str,
        *,
        policy: AcceptancePolicy,
        storage: StorageService,
        claim_slot: Callable[[], Rejection | None],
        release_slot: Callable[[], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._address = address
        self._policy = policy
        self._limits = policy.limits
        self._storage = storage
        self._events = storage.events
        self._claim_slot = claim_slot
        self._release_slot = release_slot
        self._is_stopping = is_stopping
        self._counts = AssociationCounts()
        self._messages: MessageReceiver | None = None
        self._message_began, self._message_bytes = 0.0, 0

    @property
    def is_receiving(self) -> bool:
        """Whether a message has begun and has no response yet."""
        return self._messages is not None and self._messages.is_incomplete

    def run(self) -> None:
        """Run the association to its end; raises only internal errors."""
        try:
            self._negotiate_and_receive()
        except ProtocolViolated as error:
            self._abort(str(error), error.abort_reason)
        except PeerGone as error:
            self._end_as_lost(str(error))
        except AssociationEnded as error:
            self._abort(str(error))
        finally:
            self._messages = None  # breaks a reference cycle that would keep its buffers alive
            self._transport.close()
            self._log()
            self._events.association_ended(
                self._caller, self._counts.status.split()[0], self._counts.summary.studies
            )

    @property
    def _caller(self) -> CallingPeer:
        return CallingPeer(self._counts.peer, self._address)

    def _negotiate_and_receive(self) -> None:
        request = self._read_request()
        self._counts.peer = request.calling_ae
        names = self._transport.certificate_names
        rejection = rejection_of(request, self._address, names, self._policy)
        rejection = rejection or self._claim_slot()
        if rejection is not None:
            self._reject(rejection, request)
            return
        self._events.association_accepted(self._caller)
        further = self._storage.commitment.classes_for(request.calling_ae)
        answers = tuple(negotiate(proposed, further) for proposed in request.contexts)
        limit = self._limits.max_pdu_bytes
        self._transport.reserve_buffer(limit)
        self._transport.send(encode_associate_accept(request, answers, limit))
        self._receive({a.context_id: a for a in answers if a.result is ContextResult.ACCEPTED})

    def _read_request(self) -> AssociateRequest:
        deadline = monotonic() + self._limits.handshake_timeout_s
        if self._policy.tls is not None:
            self._secure(self._policy.tls, deadline)
        return decode_associate_request(self._transport.read_request(deadline, MAX_REQUEST_BYTES))

    def _secure(self, tls: ServerTls, deadline: float) -> None:
        try:
            self._transport.secure(tls.context(), deadline)
        except HandshakeRefused as error:
            self._events.tls_failed(self._caller, str(error))
            raise

    def _receive(self, accepted: Mapping[int, AnsweredContext]) -> None:
        """Receive messages until the peer releases or the node stops."""
        messages = self._messages = MessageReceiver(
            accepted,
            self._storage.receiver_for(self._caller),
            partial(self._storage.commitment.take, self._caller),
            self._limits.max_instance_mb,
            self._counts,
            self._seen,
        )
        try:
            while messages.is_incomplete or not self._is_stopping():
                kind, body = self._transport.read_pdu(
                    self._limits.idle_timeout_s, self._limits.max_pdu_bytes
                )
                if kind == PduType.P_DATA:
                    self._check_rate(messages, len(body))
                    for fragment in fragments(body):
                        if response := messages.take(fragment):
                            self._transport.send(response)
                elif kind == PduType.RELEASE_RQ and not messages.is_incomplete:
                    self._counts.status = "released"
                    self._send_last(encode_release_response())
                    return
                else:
                    raise _unexpected_pdu(kind)
        finally:
            messages.end()
        self._abort("the node is shutting down")

    def _check_rate(self, messages: "MessageReceiver", size: int) -> None:
        """Raise `PeerTimedOut` if a message has been arriving too slowly for too long."""
        if not messages.is_incomplete:
            self._message_began, self._message_bytes = monotonic(), 0
        self._message_bytes += size
        elapsed_s = monotonic() - self._message_began
        least = self._limits.min_bytes_per_s * elapsed_s
        if elapsed_s > self._limits.idle_timeout_s and self._message_bytes < least:
            raise PeerTimedOut(
                f"instance sent at {self._message_bytes / elapsed_s:.0f} bytes per second; "
                f"[listener] min_bytes_per_s is {self._limits.min_bytes_per_s:g}"
            )

    def _seen(self, status: Status | None) -> None:
        """Count a response: the status of a C-STORE, or none for a C-ECHO."""
        if status is None:
            self._events.echo_received(self._caller)
        else:
            self._events.instance_received(self._caller, status)

    def _reject(self, rejection: Rejection, request: AssociateRequest) -> None:
        policy = self._policy
        advice = rejection_advice(rejection, request, self._address, policy.ae_title, policy.peers)
        self._events.association_rejected(self._caller, rejection, advice)
        self._counts.status = f"rejected {rejection}"
        self._counts.reason = advice
        self._report_rejection()
        self._send_last(encode_associate_reject(rejection))

    def _abort(self, reason: str, abort_reason: int = AbortReason.NOT_SPECIFIED) -> None:
        self._counts.status = "aborted"
        self._counts.reason = reason
        if self._counts.peer:
            self._report_rejection()
        self._send_last(encode_abort(abort_reason))

    def _end_as_lost(self, reason: str) -> None:
        if self._is_stopping():
            self._abort("the node is shutting down")
        else:
            self._counts.status = "lost"
            self._counts.reason = reason

    def _send_last(self, pdu: bytes) -> None:
        """Release the slot first: the peer may reconnect as soon as it has read this PDU."""
        self._release_slot()
        self._transport.send_last(pdu)

    def _report_rejection(self) -> None:
        self._storage.report_rejection(
            self._caller, of_association(self._counts.status, self._counts.reason)
        )

    def _log(self) -> None:
        counts = self._counts
        succeeded = counts.status == "released" and not counts.refused
        (_log.info if succeeded else _log.warning)(
            "association ended",
            peer=counts.peer,
            address=self._address,
            status=counts.status,
            reason=counts.reason,
            instances=counts.instances,
            refused=counts.refused,
            bytes=counts.size_bytes,
            seconds=round(monotonic() - counts.began, 3),
        )


class MessageReceiver:
    """Assembles commands and datasets from their fragments, and responds to them.

    Parameters
    ----------
    accepted
        Accepted presentation contexts by ID.
    take_commitment
        Takes a request or report of storage commitment with its dataset, and whether that has
        explicit value representations.
    seen
        Called with each response: the status of a C-STORE, or None for a C-ECHO.
    """

    def __init__(
        self,
        accepted: Mapping[int, AnsweredContext],
        receiver: InstanceReceiver,
        take_commitment: Callable[[NormalizedRequest, bytes, bool], NormalizedStatus],
        max_instance_mb: int,
        counts: AssociationCounts,
        seen: Callable[[Status | None], None],
    ) -> None:
        self._seen = seen
        self._accepted = accepted
        self._receiver = receiver
        self._take_commitment = take_commitment
        self._max_instance_bytes = max_instance_mb * 1_000_000
        self._counts = counts
        self._command = bytearray()
        self._context_id: int | None = None
        self._pending_store: StoreRequest | None = None
        self._pending_commitment: NormalizedRequest | None = None
        self._commitment = bytearray()

    @property
    def is_incomplete(self) -> bool:
        """Whether a message has begun and has no response yet."""
        return self._context_id is not None

    def take(self, fragment: Fragment) -> bytes:
        """Add a fragment; returns the response after the last fragment of a message.

        Raises
        ------
        ProtocolViolated
            If the fragment is out of order, or the message is too long.
        """
        context = self._accepted.get(fragment.context_id)
        if context is None or self._context_id not in (None, fragment.context_id):
            raise _unexpected_fragment("fragment in a presentation context not in use")
        is_pending = bool(self._pending_store or self._pending_commitment)
        if fragment.is_command == is_pending:
            raise _unexpected_fragment("command and dataset fragments out of order")
        self._context_id = fragment.context_id
        if self._pending_store is not None:
            response = self._take_dataset(fragment, self._pending_store)
        elif self._pending_commitment is not None:
            response = self._take_commitment_dataset(fragment, context, self._pending_commitment)
        else:
            response = self._take_command(fragment, context)
        if response:
            self._context_id = None
        return response

    def end(self) -> None:
        """Discard the incomplete message at the end of the association."""
        self._receiver.end()

    def _take_command(self, fragment: Fragment, context: AnsweredContext) -> bytes:
        self._command += fragment.content
        if len(self._command) > MAX_COMMAND_BYTES:
            raise ProtocolViolated(f"command longer than {MAX_COMMAND_BYTES} bytes")
        if not fragment.is_last:
            return b""
        request = decode_request(bytes(self._command))
        self._command.clear()
        if isinstance(request, EchoRequest):
            self._seen(None)
            return encode_command(context.context_id, encode_echo_response(request))
        if isinstance(request, NormalizedRequest):
            if context.abstract_syntax != PUSH_MODEL or not request.has_dataset:
                raise ProtocolViolated("N-ACTION or N-EVENT-REPORT without storage commitment")
            self._pending_commitment = request
            return b""
        if context.abstract_syntax in (VERIFICATION, PUSH_MODEL):
            raise ProtocolViolated("C-STORE in a presentation context of another service")
        self._receiver.begin(request, context)
        if not request.has_dataset:
            return self._store_response(request, context.context_id)
        self._pending_store = request
        return b""

    def _take_dataset(self, fragment: Fragment, request: StoreRequest) -> bytes:
        self._receiver.take(fragment.content)
        if self._receiver.size_bytes > self._max_instance_bytes:
            raise ProtocolViolated(
                f"instance longer than {self._max_instance_bytes} bytes, "
                "the limit set by [listener] max_instance_mb"
            )
        if not fragment.is_last:
            return b""
        self._pending_store = None
        return self._store_response(request, fragment.context_id)

    def _take_commitment_dataset(
        self, fragment: Fragment, context: AnsweredContext, request: NormalizedRequest
    ) -> bytes:
        self._commitment += fragment.content
        if len(self._commitment) > MAX_COMMITMENT_BYTES:
            raise ProtocolViolated(f"storage commitment longer than {MAX_COMMITMENT_BYTES} bytes")
        if not fragment.is_last:
            return b""
        content, self._commitment = bytes(self._commitment), bytearray()
        self._pending_commitment = None
        explicit_vr = context.transfer_syntax != IMPLICIT_VR_LITTLE_ENDIAN
        status = self._take_commitment(request, content, explicit_vr)
        return encode_command(context.context_id, encode_normalized_response(request, status))

    def _store_response(self, request: StoreRequest, context_id: int) -> bytes:
        """Finish the instance and encode the C-STORE-RSP."""
        size_bytes = self._receiver.size_bytes
        outcome = self._receiver.finish()
        self._seen(outcome.status)
        if outcome.instance is not None:
            self._counts.summary.add(outcome.instance)
        if outcome.status is Status.SUCCESS:
            self._counts.instances += 1
            self._counts.size_bytes += size_bytes
        else:
            self._counts.refused += 1
            self._counts.reason = outcome.reason
        response = encode_store_response(request, outcome.status, outcome.reason)
        return encode_command(context_id, response)


def _unexpected_fragment(message: str) -> ProtocolViolated:
    return ProtocolViolated(message, AbortReason.UNEXPECTED_PARAMETER)


def _unexpected_pdu(kind: int) -> AssociationEnded:
    if kind == PduType.ABORT:
        return PeerGone("aborted by the peer")
    if kind in set(PduType):
        return ProtocolViolated("unexpected PDU", AbortReason.UNEXPECTED_PDU)
    return ProtocolViolated("unrecognized PDU", AbortReason.UNRECOGNIZED_PDU)
