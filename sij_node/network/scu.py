"""Associations requested by the node, with TLS where the peer requires it.

Source: DICOM PS3.7 D.3 (presentation contexts and roles), PS3.15 B.12 (TLS).
"""

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, build_role
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from sij_node.config.settings import DeliveryConfig, PeerConfig, TlsConfig
from sij_node.errors import DestinationRefused, DestinationUnavailable

_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False

MAX_CONTEXTS = 128
"""Maximum per association: IDs are odd bytes (PS3.8 9.3.2.2)."""
Handler = tuple[Any, Callable[..., Any]]
NO_ROLES: Mapping[str, tuple[bool, bool]] = MappingProxyType({})


@dataclass(frozen=True)
class AssociationRequestor:
    """Requests associations with peers under the node's AE title."""

    ae_title: str
    limits: DeliveryConfig
    tls: TlsConfig | None = None

    @contextmanager
    def associated(
        self,
        peer: PeerConfig,
        contexts: Sequence[tuple[str, str]],
        taking: Sequence[str] = (),
        handlers: Sequence[Handler] = (),
        limit_s: float = float("inf"),
        roles: Mapping[str, tuple[bool, bool]] = NO_ROLES,
    ) -> Iterator[Association]:
        """Context manager: an association with a peer.

        Parameters
        ----------
        contexts
            SOP class and transfer syntax of each proposed presentation context.
        taking
            SOP classes that the peer may send on the same association (SCP role).
        handlers
            pynetdicom events and their handlers.
        limit_s
            Upper limit of all timeouts, in seconds.
        roles
            Whether the node is SCU and SCP, by SOP class, where it is not the SCU alone.

        Raises
        ------
        DestinationUnavailable
            If the association was not established.
        """
        entity = self._entity(limit_s)
        entity.requested_contexts = _proposed(contexts, taking)
        try:
            association = entity.associate(
                peer.host,
                peer.port,
                ae_title=peer.ae_title,
                ext_neg=_selected_roles(taking, roles) or None,
                evt_handlers=list(handlers),
                tls_args=self._tls_arguments(peer),
            )
        except (OSError, UnicodeError) as error:  # unknown or impossible host name, certificate
            raise DestinationUnavailable(f"{named(peer)} cannot be reached: {error}") from error
        if not association.is_established:
            raise _not_established(association, peer, self.ae_title)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _entity(self, limit_s: float) -> AE:
        entity = AE(ae_title=self.ae_title)
        response_s = min(self.limits.response_timeout_s, limit_s)
        entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = response_s
        entity.connection_timeout = min(self.limits.connect_timeout_s, limit_s)
        return entity

    def _tls_arguments(self, peer: PeerConfig) -> tuple[ssl.SSLContext, str] | None:
        if not peer.tls or self.tls is None:
            return None
        context = ssl.create_default_context(cafile=self.limits.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.tls.certificate, self.tls.private_key)
        return context, peer.host


def _proposed(
    contexts: Sequence[tuple[str, str]], taking: Sequence[str]
) -> list[PresentationContext]:
    return [
        *(build_context(*context) for context in contexts[: MAX_CONTEXTS - len(taking)]),
        *(build_context(sop_class, ExplicitVRLittleEndian) for sop_class in taking),
    ]


def _selected_roles(taking: Sequence[str], roles: Mapping[str, tuple[bool, bool]]) -> list[Any]:
    return [
        *(build_role(sop_class, scp_role=True) for sop_class in taking),
        *(
            build_role(sop_class, scu_role=scu, scp_role=scp)
            for sop_class, (scu, scp) in roles.items()
        ),
    ]


def close_sockets(associations: Sequence[Association]) -> None:
    """Close the connections of associations whose threads may hang."""
    for association in associations:
        transport = association.dul.socket
        if transport is not None and transport.socket is not None:
            with suppress(OSError):
                transport.socket.shutdown(socket.SHUT_RDWR)


def named(peer: PeerConfig) -> str:
    """A peer as named in messages."""
    return f"{peer.ae_title} at {peer.host}:{peer.port}"


_REJECTIONS: Mapping[tuple[int | None, int | None], str] = MappingProxyType(
    {
        (1, 1): "no reason given",
        (1, 2): "application context name not supported",
        (1, 3): "calling AE title not recognized",
        (1, 7): "called AE title not recognized",
        (2, 1): "no reason given",
        (2, 2): "protocol version not supported",
        (3, 1): "temporary congestion",
        (3, 2): "local limit exceeded",
    }
)
"""Meaning of an A-ASSOCIATE-RJ by its source and reason, PS3.8 Table 9-21."""


def _rejection(association: Association) -> str:
    """Result, source and reason of the A-ASSOCIATE-RJ, with their meaning."""
    answer = association.acceptor.primitive
    if answer is None:
        return "without a reason"
    code = answer.result, answer.result_source, answer.diagnostic
    return f"{','.join(map(str, code))}, {_REJECTIONS.get(code[1:], 'unknown reason')}"


def _not_established(
    association: Association, peer: PeerConfig, own_title: str
) -> DestinationUnavailable:
    if association.is_rejected:
        return DestinationRefused(
            f"{named(peer)} rejected the association ({_rejection(association)}). This node called "
            f'it "{peer.ae_title}" and itself "{own_title}": check both AE titles and the address '
            "of this node there."
        )
    if association.rejected_contexts:
        return DestinationRefused(
            f"{named(peer)} accepted none of the proposed presentation contexts."
        )
    return DestinationUnavailable(
        f"{named(peer)} cannot be reached: check that it is running, and check its host and port."
    )
