"""One conversation with a peer: who are you, what may you send, then message after message.

Each association has its own thread, which does nothing but wait for the next bytes. What goes
wrong in it ends this association and touches no other.

Source: DICOM PS3.8 sections 7 and 9, PS3.7 section 6.3 and Annexes D and E.
"""

import ipaddress
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import structlog
from pynetdicom import AllStoragePresentationContexts

from sij_node.config.settings import ListenerConfig, PeerConfig
from sij_node.errors import AssociationEnded, HandshakeRefused, PeerGone, ProtocolViolated
from sij_node.network.association_summary import AssociationSummary, CallingPeer
from sij_node.network.dimse import (
    MAX_COMMAND_BYTES,
    EchoRequest,
    Status,
    StoreRequest,
    decode_request,
    encode_echo_response,
    encode_store_response,
)
from sij_node.network.pdu import (
    ADDRESS_NOT_ALLOWED,
    APPLICATION_CONTEXT,
    CALLED_TITLE_UNKNOWN,
    CALLING_TITLE_UNKNOWN,
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
from sij_node.network.transport import Transport
from sij_node.receive.c_store import IMPLICIT_VR_LITTLE_ENDIAN, AssociationStorage, StorageService

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
"""PS3.6 Table A-1. Never deflated, of which 200 kB can become 1 GB, and never big endian."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Policy:
    """Whom the node talks to, and within which limits.

    Parameters
    ----------
    tls
        None where associations are not encrypted.
    """

    ae_title: str
    peers: Mapping[str, PeerConfig]
    limits: ListenerConfig
    tls: ssl.SSLContext | None


@dataclass
class Tally:
    """What one association has brought so far, for its line in the log and for the audit."""

    peer: str = ""
    instances: int = 0
    refused: int = 0
    size_bytes: int = 0
    status: str = "crashed"
    reason: str = ""
    began: float = field(default_factory=monotonic)
    summary: AssociationSummary = field(default_factory=AssociationSummary)


def rejection_of(request: AssociateRequest, address: str, policy: Policy) -> Rejection | None:
    """Why this peer may not associate, or None when it may."""
    if not request.protocol_version & 1:
        return VERSION_UNKNOWN
    if request.application_context != APPLICATION_CONTEXT:
        return CONTEXT_NAME_UNKNOWN
    if request.called_ae != policy.ae_title:
        return CALLED_TITLE_UNKNOWN
    peer = policy.peers.get(request.calling_ae)
    if peer is None:
        return CALLING_TITLE_UNKNOWN
    return None if is_in(address, peer.networks) else ADDRESS_NOT_ALLOWED


def is_in(address: str, networks: Sequence[str]) -> bool:
    """Whether an address, IPv4 also where written within IPv6, is in one of the networks."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in ipaddress.ip_network(network, strict=False) for network in networks)


def answer(proposed: ProposedContext) -> AnsweredContext:
    """Accept a context with one transfer syntax, or say why not."""
    syntax = next((s for s in TRANSFER_SYNTAXES if s in proposed.transfer_syntaxes), None)
    known = proposed.abstract_syntax in STORAGE_CLASSES or proposed.abstract_syntax == VERIFICATION
    if not known:
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif syntax is None:
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        result = ContextResult.ACCEPTED
    return AnsweredContext(
        proposed.context_id, result, proposed.abstract_syntax, syntax or IMPLICIT_VR_LITTLE_ENDIAN
    )


class Association:
    """One association, from the connection to its end.

    Parameters
    ----------
    admit
        Asks for one of the places for associations; the rejection when there is none.
    leave
        Gives the place back, if it has one.
    is_stopping
        Whether the node wants to stop; an instance that is on its way is still taken.
    """

    def __init__(
        self,
        wire: Transport,
        address: str,
        *,
        policy: Policy,
        reception: StorageService,
        admit: Callable[[], Rejection | None],
        leave: Callable[[], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._wire = wire
        self._address = address
        self._policy = policy
        self._limits = policy.limits
        self._reception = reception
        self._events = reception.events
        self._admit = admit
        self._leave = leave
        self._is_stopping = is_stopping
        self._tally = Tally()
        self._messages: Messages | None = None

    @property
    def is_amid_message(self) -> bool:
        """Whether a message has begun that is not answered yet."""
        return self._messages is not None and self._messages.is_amid_one

    def run(self) -> None:
        """Speak until it ends, in whatever way; raises only what is a fault of the node."""
        try:
            self._converse()
        except ProtocolViolated as error:
            self._abort(str(error), error.abort_reason)
        except PeerGone as error:
            self._lose(str(error))
        except AssociationEnded as error:
            self._abort(str(error))
        finally:
            self._messages = None  # they know each other: its buffers would outlive it
            self._wire.close()
            self._log()
            self._events.association_ended(
                self._origin, self._tally.status.split()[0], self._tally.summary.studies
            )

    @property
    def _origin(self) -> CallingPeer:
        return CallingPeer(self._tally.peer, self._address)

    def _converse(self) -> None:
        request = self._read_request()
        self._tally.peer = request.calling_ae
        rejection = rejection_of(request, self._address, self._policy) or self._admit()
        if rejection is not None:
            self._events.association_rejected(self._origin, rejection)
            self._reject(rejection)
            return
        self._events.association_accepted(self._origin)
        answers = tuple(answer(proposed) for proposed in request.contexts)
        limit = self._limits.max_pdu_bytes
        self._wire.expect(limit)
        self._wire.send(encode_associate_accept(request, answers, limit))
        self._receive({a.context_id: a for a in answers if a.result is ContextResult.ACCEPTED})

    def _read_request(self) -> AssociateRequest:
        deadline = monotonic() + self._limits.handshake_timeout_s
        if self._policy.tls is not None:
            self._secure(self._policy.tls, deadline)
        return decode_associate_request(self._wire.read_request(deadline, MAX_REQUEST_BYTES))

    def _secure(self, tls: ssl.SSLContext, deadline: float) -> None:
        try:
            self._wire.secure(tls, deadline)
        except HandshakeRefused as error:
            self._events.tls_failed(self._origin, str(error))
            raise

    def _receive(self, accepted: Mapping[int, AnsweredContext]) -> None:
        """Message after message, until the peer releases or the node stops."""
        messages = self._messages = Messages(
            accepted,
            self._reception.intake(self._origin),
            self._limits.max_instance_mb,
            self._tally,
            self._seen,
        )
        try:
            while messages.is_amid_one or not self._is_stopping():
                kind, body = self._wire.read_pdu(
                    self._limits.idle_timeout_s, self._limits.max_pdu_bytes
                )
                if kind == PduType.P_DATA:
                    for fragment in fragments(body):
                        if response := messages.take(fragment):
                            self._wire.send(response)
                elif kind == PduType.RELEASE_RQ and not messages.is_amid_one:
                    self._tally.status = "released"
                    self._bid_farewell(encode_release_response())
                    return
                else:
                    raise _unexpected(kind)
        finally:
            messages.abandon()
        self._abort("the node is stopping")

    def _seen(self, status: Status | None) -> None:
        """Tell of an answer: to a C-STORE, or without a status to a C-ECHO."""
        if status is None:
            self._events.echo_received(self._origin)
        else:
            self._events.instance_received(self._origin, status)

    def _reject(self, rejection: Rejection) -> None:
        self._tally.status = f"rejected {rejection}"
        self._tally.reason = rejection.words
        self._report()
        self._bid_farewell(encode_associate_reject(rejection))

    def _abort(self, reason: str, abort_reason: int = AbortReason.NOT_SPECIFIED) -> None:
        self._tally.status = "aborted"
        self._tally.reason = reason
        if self._tally.peer:
            self._report()
        self._bid_farewell(encode_abort(abort_reason))

    def _lose(self, reason: str) -> None:
        if self._is_stopping():
            self._abort("the node is stopping")
        else:
            self._tally.status = "lost"
            self._tally.reason = reason

    def _bid_farewell(self, pdu: bytes) -> None:
        """Give the place back first: the peer may come again as soon as it reads this."""
        self._leave()
        self._wire.say_farewell(pdu)

    def _report(self) -> None:
        self._reception.report_refusal(
            self._origin, f"association {self._tally.status}: {self._tally.reason}"
        )

    def _log(self) -> None:
        tally = self._tally
        went_well = tally.status == "released" and not tally.refused
        (_log.info if went_well else _log.warning)(
            "association ended",
            peer=tally.peer,
            address=self._address,
            status=tally.status,
            reason=tally.reason,
            instances=tally.instances,
            refused=tally.refused,
            bytes=tally.size_bytes,
            seconds=round(monotonic() - tally.began, 3),
        )


class Messages:
    """Puts commands and datasets together from their fragments, and answers them.

    Parameters
    ----------
    accepted
        The presentation contexts that may be used, by ID.
    seen
        Told of each answer: the status of a C-STORE, or None for a C-ECHO.
    """

    def __init__(
        self,
        accepted: Mapping[int, AnsweredContext],
        intake: AssociationStorage,
        max_instance_mb: int,
        tally: Tally,
        seen: Callable[[Status | None], None],
    ) -> None:
        self._seen = seen
        self._accepted = accepted
        self._intake = intake
        self._max_instance_bytes = max_instance_mb * 1_000_000
        self._tally = tally
        self._command = bytearray()
        self._context_id: int | None = None
        self._store: StoreRequest | None = None

    @property
    def is_amid_one(self) -> bool:
        """Whether a message has begun that is not answered yet."""
        return self._context_id is not None

    def take(self, fragment: Fragment) -> bytes:
        """Add a fragment; returns the response when it was the last one of a message.

        Raises
        ------
        ProtocolViolated
            When it is not the kind of fragment that has to come, or the message is too long.
        """
        context = self._accepted.get(fragment.context_id)
        if context is None or self._context_id not in (None, fragment.context_id):
            raise _misplaced("a fragment is in a presentation context that is not open")
        if fragment.is_command == (self._store is not None):
            raise _misplaced("a command and a dataset are not in turn")
        self._context_id = fragment.context_id
        response = (
            self._take_dataset(fragment, self._store)
            if self._store is not None
            else self._take_command(fragment, context)
        )
        if response:
            self._context_id = None
        return response

    def abandon(self) -> None:
        """Forget the message that has begun."""
        self._intake.abandon()

    def _take_command(self, fragment: Fragment, context: AnsweredContext) -> bytes:
        self._command += fragment.content
        if len(self._command) > MAX_COMMAND_BYTES:
            raise ProtocolViolated(f"a command is longer than {MAX_COMMAND_BYTES} bytes")
        if not fragment.is_last:
            return b""
        request = decode_request(bytes(self._command))
        self._command.clear()
        if isinstance(request, EchoRequest):
            self._seen(None)
            return encode_command(context.context_id, encode_echo_response(request))
        if context.abstract_syntax == VERIFICATION:
            raise ProtocolViolated("a C-STORE in the presentation context of Verification")
        self._intake.begin(request, context)
        if not request.has_dataset:
            return self._answer(request, context.context_id)
        self._store = request
        return b""

    def _take_dataset(self, fragment: Fragment, request: StoreRequest) -> bytes:
        self._intake.take(fragment.content)
        if self._intake.size_bytes > self._max_instance_bytes:
            raise ProtocolViolated(
                f"an instance of more than {self._max_instance_bytes} bytes; "
                "[listener] max_instance_mb is the limit"
            )
        if not fragment.is_last:
            return b""
        self._store = None
        return self._answer(request, fragment.context_id)

    def _answer(self, request: StoreRequest, context_id: int) -> bytes:
        """Finish the instance and say what became of it."""
        size_bytes = self._intake.size_bytes
        outcome = self._intake.finish()
        self._seen(outcome.status)
        if outcome.instance is not None:
            self._tally.summary.add(outcome.instance)
        if outcome.status is Status.SUCCESS:
            self._tally.instances += 1
            self._tally.size_bytes += size_bytes
        else:
            self._tally.refused += 1
            self._tally.reason = outcome.reason
        response = encode_store_response(request, outcome.status, outcome.reason)
        return encode_command(context_id, response)


def _misplaced(message: str) -> ProtocolViolated:
    return ProtocolViolated(message, AbortReason.UNEXPECTED_PARAMETER)


def _unexpected(kind: int) -> AssociationEnded:
    if kind == PduType.ABORT:
        return PeerGone("the peer aborted")
    if kind in set(PduType):
        return ProtocolViolated("a PDU that may not come now", AbortReason.UNEXPECTED_PDU)
    return ProtocolViolated("a PDU of an unknown type", AbortReason.UNRECOGNIZED_PDU)
