"""HL7 messages over MLLP: acknowledged, or kept until they are."""

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.trial import free_port
from sij_node.config.settings import DeliveryConfig, DestinationConfig
from sij_node.errors import DestinationUnavailable
from sij_node.network.mllp import MllpClient
from tests.support.certificates import authority, signed_by
from tests.support.mllp_receiver import acknowledgement, hl7_receiver

MESSAGE = "MSH|^~\\&|SIJ||||20240101||ORU^R01^ORU_R01|C1|P|2.5.1\rPID|1||7||Müller^Anna\r"
CLIENT = MllpClient(DeliveryConfig(response_timeout_s=2))


def destination(url: str, **more: object) -> DestinationConfig:
    return DestinationConfig(name="RIS", kind="hl7", url=url, **more)


def test_a_message_arrives_whole_and_is_acknowledged():
    with hl7_receiver() as ris:
        result = CLIENT.send(destination(ris.url), MESSAGE, "C1", "1.2.3")

    assert (result.status, result.acknowledged, result.note) == (0x0000, True, "HL7 AA")
    assert [one.strip("\r") for one in ris.messages] == [MESSAGE.strip("\r")]


@pytest.mark.parametrize(
    ("code", "acknowledged", "is_final"),
    [
        ("CA", True, False),
        ("AE", False, True),
        ("CE", False, True),
        ("AR", False, False),
        ("CR", False, False),
    ],
)
def test_an_error_is_final_and_a_rejection_is_retried(code: str, acknowledged: bool, is_final):
    with hl7_receiver(lambda message: acknowledgement(message, code)) as ris:
        result = CLIENT.send(destination(ris.url), MESSAGE, "C1", "1.2.3")

    assert result.acknowledged is acknowledged
    assert bool(result.remedy) is is_final


@pytest.mark.parametrize(
    "answer",
    [
        lambda message: acknowledgement(message, control_id="OTHER"),
        lambda message: "\x0bhello\x1c\r",
        lambda message: "\x0b\x1c\r",
    ],
)
def test_an_answer_to_something_else_is_no_acknowledgement(answer):
    with (
        hl7_receiver(answer) as ris,
        pytest.raises(DestinationUnavailable, match="something else"),
    ):
        CLIENT.send(destination(ris.url), MESSAGE, "C1", "1.2.3")


@pytest.mark.parametrize("answer", [b"", b"\x0bMSH", b"x" * 70_000])
def test_a_receiver_that_never_completes_its_answer_is_left(answer: bytes):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)
                connection.settimeout(5)
                with suppress(ConnectionResetError):
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"mllp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(DestinationUnavailable, match="does not acknowledge"):
            CLIENT.send(destination(url), MESSAGE, "C1", "1.2.3")
        thread.join()


def test_a_receiver_that_is_down_is_unavailable_and_the_message_says_where():
    url = f"mllp://127.0.0.1:{free_port()}"

    with pytest.raises(DestinationUnavailable, match=f"RIS at {url} cannot be reached"):
        CLIENT.check(destination(url))


def test_messages_are_encrypted_and_both_sides_show_certificates(tmp_path: Path):
    ca = authority(tmp_path, "ca")
    server, client = signed_by(ca, tmp_path, "server"), signed_by(ca, tmp_path, "client")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server.certificate, server.private_key)
    tls.load_verify_locations(ca.certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    own = {"certificate": client.certificate, "private_key": client.private_key}

    with hl7_receiver(tls=tls) as ris:
        to = destination(ris.url, ca=ca.certificate, **own)
        CLIENT.check(to)
        assert CLIENT.send(to, MESSAGE, "C1", "1.2.3").acknowledged
        with pytest.raises(DestinationUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            CLIENT.check(destination(ris.url, **own))
