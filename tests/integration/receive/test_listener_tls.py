"""Associations over TLS: who may connect, and that a stalled handshake blocks no other peer."""

import socket
import ssl
import time
from contextlib import ExitStack

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage, Verification

from sij_node.config.settings import DeliveryConfig, ListenerConfig, PeerConfig, TlsConfig
from sij_node.errors import ConfigurationInvalid, DestinationUnavailable
from sij_node.network.store_scu import StoreScu
from sij_node.network.tls import server_context
from tests.support.certificates import authority, revoked_by, signed_by
from tests.support.raw_peer import (
    ANSWER_S,
    ASSOCIATE_AC,
    ASSOCIATE_RQ,
    EXPLICIT,
    associate_request,
    encoded,
    pdu,
)
from tests.support.running_listener import PEERS, Node, listening, mr_image

HANDSHAKE_S = 5
"""In which a node gives up; enough for a handshake on a busy machine."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ca(folder):
    return authority(folder, "ca")


@pytest.fixture(scope="module")
def server(folder, ca):
    return signed_by(ca, folder, "server")


@pytest.fixture(scope="module")
def client(folder, ca):
    return signed_by(ca, folder, "client")


@pytest.fixture
def node(tmp_path, server):
    tls = TlsConfig(certificate=server.certificate, private_key=server.private_key)
    limits = ListenerConfig(tls=tls, handshake_timeout_s=HANDSHAKE_S)
    with listening(tmp_path, limits=limits) as node:
        yield node


@pytest.fixture
def mutual_node(tmp_path, server, ca):
    tls = TlsConfig(
        certificate=server.certificate, private_key=server.private_key, client_ca=ca.certificate
    )
    with listening(tmp_path, limits=ListenerConfig(tls=tls)) as node:
        yield node


def client_context(ca, certificate=None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca.certificate)
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.private_key)
    return context


def associate(node: Node, context: ssl.SSLContext):
    ae = AE("MODALITY")
    ae.connection_timeout = ae.acse_timeout = ANSWER_S
    ae.add_requested_context(Verification)
    ae.add_requested_context(MRImageStorage, EXPLICIT)
    return ae.associate(
        "127.0.0.1", node.listener.port, ae_title="SIJ", tls_args=(context, "127.0.0.1")
    )


def seconds_for_an_echo(node: Node, context: ssl.SSLContext) -> float:
    started = time.monotonic()
    association = associate(node, context)
    assert association.send_c_echo().Status == 0x0000
    taken = time.monotonic() - started
    association.release()
    return taken


def shake_hands(node: Node, context: ssl.SSLContext) -> str:
    """Handshake and associate, since with TLS 1.3 a refusal comes after; returns the version."""
    with (
        socket.create_connection(("127.0.0.1", node.listener.port), timeout=ANSWER_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(pdu(ASSOCIATE_RQ, associate_request()))
        answer = secured.recv(1)
        if not answer:
            raise ConnectionResetError
        assert answer[0] == ASSOCIATE_AC
        return secured.version() or ""


def test_an_image_is_received_over_tls(node, ca):
    image = mr_image("1.2.3", pixels=bytes(3_000_000))
    image.ensure_file_meta()
    image.file_meta.TransferSyntaxUID = EXPLICIT
    association = associate(node, client_context(ca))

    assert association.send_c_store(image).Status == 0x0000
    association.release()

    assert node.stored_dataset("1.2.3") == encoded(image)


def test_stuck_handshakes_delay_no_other_peer(node, ca):
    with ExitStack() as stuck:
        peers = [stuck.enter_context(node.peer()) for _ in range(12)]
        for number, peer in enumerate(peers):
            peer.socket.sendall((b"", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\1\0\0\0")[number % 3])

        assert seconds_for_an_echo(node, client_context(ca)) < HANDSHAKE_S
        assert all(peer.is_closed_within(3 * HANDSHAKE_S) for peer in peers)


def test_a_peer_that_does_not_encrypt_is_turned_away(node):
    with node.peer() as peer:
        kind, _ = peer.associate()
        assert kind != 2
        assert peer.is_closed_within(10)


def test_tls_1_3_is_preferred_and_1_2_is_taken(node, ca):
    older = client_context(ca)
    older.maximum_version = ssl.TLSVersion.TLSv1_2

    assert shake_hands(node, client_context(ca)) == "TLSv1.3"
    assert shake_hands(node, older) == "TLSv1.2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused(node, ca, version):
    context = client_context(ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version

    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake_hands(node, context)


@pytest.mark.parametrize(
    "ciphers", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA256"]
)
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(node, ca, ciphers):
    context = client_context(ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake_hands(node, context)


def test_with_a_client_ca_a_signed_certificate_is_needed(mutual_node, folder, ca, client):
    stranger = signed_by(authority(folder, "other"), folder, "stranger")
    expired = signed_by(ca, folder, "expired", days=-1)

    assert shake_hands(mutual_node, client_context(ca, client)) == "TLSv1.3"
    for refused in (None, stranger, expired):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(mutual_node, client_context(ca, refused))


def test_certificates_that_cannot_be_used_are_named(tmp_path, server, client):
    for certificate, key in (
        (tmp_path / "missing.pem", server.private_key),
        (server.certificate, client.private_key),
        (server.private_key, server.private_key),
    ):
        with pytest.raises(ConfigurationInvalid, match=r"\[listener.tls\]"):
            server_context(TlsConfig(certificate=certificate, private_key=key))


# ---- revoked certificates, names, and trust the other way --------------------------------------


def mutual_tls(server, ca, **more) -> TlsConfig:
    return TlsConfig(
        certificate=server.certificate,
        private_key=server.private_key,
        client_ca=ca.certificate,
        **more,
    )


def test_a_revoked_certificate_is_refused_as_soon_as_the_list_says_so(tmp_path, folder, server, ca):
    client, other = (signed_by(ca, folder, name) for name in ("revoked", "not-revoked"))
    crl = revoked_by(ca, tmp_path)
    tls = mutual_tls(server, ca, crl=crl)
    with listening(tmp_path, limits=ListenerConfig(tls=tls)) as node:
        assert shake_hands(node, client_context(ca, client)) == "TLSv1.3"

        revoked_by(ca, tmp_path, client)

        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(node, client_context(ca, client))
        assert shake_hands(node, client_context(ca, other)) == "TLSv1.3"


def test_an_outdated_revocation_list_rejects_all_peers(tmp_path, server, ca, client):
    tls = mutual_tls(server, ca, crl=revoked_by(ca, tmp_path, due_days=-1))
    with (
        listening(tmp_path, limits=ListenerConfig(tls=tls)) as node,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        shake_hands(node, client_context(ca, client))


def test_files_that_cannot_be_read_again_leave_the_former_ones_in_use(
    tmp_path, folder, server, ca, client
):
    crl = revoked_by(ca, tmp_path)
    with listening(tmp_path, limits=ListenerConfig(tls=mutual_tls(server, ca, crl=crl))) as node:
        crl.write_text("half a file")

        assert shake_hands(node, client_context(ca, client)) == "TLSv1.3"


@pytest.mark.parametrize(
    ("names", "kind"),
    [(("CLIENT",), ASSOCIATE_AC), (("127.0.0.1",), ASSOCIATE_AC), (("pacs.example",), 3)],
    ids=["common name", "address", "another name"],
)
def test_a_certificate_is_bound_to_the_ae_title(tmp_path, server, ca, client, names, kind):
    peer = PEERS[0].model_copy(update={"certificate_names": names})
    limits = ListenerConfig(tls=mutual_tls(server, ca))
    with (
        listening(tmp_path, limits=limits, peers=[peer]) as node,
        socket.create_connection(("127.0.0.1", node.listener.port), timeout=ANSWER_S) as plain,
        client_context(ca, client).wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(pdu(ASSOCIATE_RQ, associate_request()))
        assert secured.recv(1)[0] == kind


def test_peers_are_trusted_for_sending_by_the_ca_of_delivery_alone(tmp_path, folder, server, ca):
    other = authority(folder, "peers")
    own = mutual_tls(server, other)  # who may connect says nothing about whom to send to
    with listening(tmp_path, limits=ListenerConfig(tls=mutual_tls(server, ca))) as node:
        peer = PeerConfig(
            ae_title="SIJ",
            networks=("127.0.0.1",),
            host="127.0.0.1",
            port=node.listener.port,
            tls=True,
        )
        StoreScu("MODALITY", DeliveryConfig(ca=ca.certificate), own).echo(peer)
        for trusted in (None, other.certificate):
            with pytest.raises(DestinationUnavailable):
                StoreScu("MODALITY", DeliveryConfig(ca=trusted), own).echo(peer)
