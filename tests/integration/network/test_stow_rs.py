"""STOW-RS to a destination: stored bytes are sent unchanged, and every answer is understood."""

import ssl
import threading
import time
from pathlib import Path

import pytest

from deploy.trial import free_port
from sij_node.config.settings import DeliveryConfig, DestinationConfig
from sij_node.errors import DestinationRefused, DestinationUnavailable
from sij_node.network.store_scu import OutgoingObject
from sij_node.network.stow_rs import StowClient
from tests.integration.network.test_store_scu import stored
from tests.support.certificates import authority, signed_by
from tests.support.http_destination import Answer, Received, http_destination, stow_answer

CLIENT = StowClient(DeliveryConfig())


def destination(url: str, **more: object) -> DestinationConfig:
    return DestinationConfig(name="WEB", kind="stow-rs", url=url, **more)


@pytest.fixture
def item(tmp_path: Path) -> OutgoingObject:
    (one,) = stored(tmp_path / "out", count=1)
    return one


def uid_of(item: OutgoingObject, **more: int) -> list[dict[str, object]]:
    return [{"uid": item.sop_instance_uid, **more}]


def answered(item: OutgoingObject, answer: Answer):
    """What the client makes of an answer."""
    with http_destination(lambda request: answer) as web:
        (result,) = CLIENT.send(destination(web.url), [item])
    return result


def test_an_object_is_posted_byte_for_byte_as_one_part(item: OutgoingObject):
    with http_destination(lambda request: stow_answer(200, stored=uid_of(item))) as web:
        (result,) = CLIENT.send(destination(f"{web.url}/"), [item])

    (request,) = web.requests
    kind, boundary = request.headers["Content-Type"].split("; boundary=")
    assert (request.method, request.path) == ("POST", "/web/studies")
    assert kind == 'multipart/related; type="application/dicom"'
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    assert request.body == head + item.file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    assert (result.status, result.acknowledged) == (0x0000, True)


def test_each_object_has_an_answer_of_its_own(tmp_path: Path):
    first, second = stored(tmp_path / "out")

    def answer(request: Received) -> Answer:
        if first.sop_instance_uid.encode() in request.body:
            return stow_answer(409, failed=uid_of(first, reason=0xA700))
        return stow_answer(200, stored=uid_of(second))

    with http_destination(answer) as web:
        results = list(CLIENT.send(destination(web.url), [first, second]))

    assert [(one.sop_instance_uid, one.status) for one in results] == [
        (first.sop_instance_uid, 0xA700),
        (second.sop_instance_uid, 0x0000),
    ]


@pytest.mark.parametrize(
    ("status", "reason", "expected", "acknowledged", "is_final"),
    [
        (409, 0x0110, 0x0110, False, False),
        (202, 0xA700, 0xA700, False, False),
        (409, 0xA900, 0xA900, False, True),
        (409, 0x0122, 0x0122, False, True),
        (409, 0xC122, 0xC122, False, True),
        (409, 0x0111, 0x0111, True, False),
        (409, 0xB00E, 0x0111, True, False),
        (409, 0xB006, 0x0110, False, False),
    ],
)
def test_a_failure_reason_counts_as_the_same_status_of_c_store(
    item: OutgoingObject, status, reason, expected, acknowledged, is_final
):
    result = answered(item, stow_answer(status, failed=uid_of(item, reason=reason)))

    assert (result.status, result.acknowledged) == (expected, acknowledged)
    assert bool(result.remedy) is is_final


@pytest.mark.parametrize("status", [200, 202])
def test_an_object_stored_with_a_warning_is_acknowledged(item: OutgoingObject, status: int):
    result = answered(item, stow_answer(status, stored=uid_of(item, reason=0xB000)))

    assert (result.status, result.acknowledged) == (0xB000, True)


@pytest.mark.parametrize(
    "body",
    [b"", b"OK", b"[]", b"null", b"{}", b'{"00081199": 5}', b'{"00081199": {"Value": [7]}}'],
)
def test_success_without_the_object_in_the_answer_is_no_acknowledgement(item, body: bytes):
    result = answered(item, (200, body))

    assert not result.acknowledged
    assert "does not list what it has stored" in result.remedy


def test_an_answer_about_another_object_is_no_acknowledgement(item: OutgoingObject):
    assert not answered(item, stow_answer(200, stored=[{"uid": "1.2.3.4"}])).acknowledged


@pytest.mark.parametrize(
    ("status", "words"), [(400, "see its log"), (413, "size limit"), (415, "multipart/related")]
)
def test_a_request_that_cannot_be_accepted_says_what_to_change(item, status: int, words: str):
    result = answered(item, (status, b""))

    assert (result.status, result.acknowledged) == (None, False)
    assert f"HTTP {status}" in result.remedy
    assert words in result.remedy


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 507])
def test_a_busy_or_faulty_service_is_tried_again(item: OutgoingObject, status: int):
    with pytest.raises(DestinationUnavailable, match=f"HTTP {status}"):
        answered(item, (status, b""))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, b""), "credentials"),
        ((403, b""), "allow this node"),
        ((404, b""), "check the URL"),
        ((302, b"", {"Location": "https://elsewhere.example/"}), "redirect"),
    ],
)
def test_a_service_that_refuses_the_node_is_tried_again_and_says_why(item, answer, words: str):
    with pytest.raises(DestinationRefused, match=words):
        answered(item, answer)


def test_a_service_that_is_down_is_unavailable_and_the_message_says_where(item: OutgoingObject):
    url = f"http://127.0.0.1:{free_port()}/web"

    with pytest.raises(DestinationUnavailable, match=f"WEB at {url} cannot be reached"):
        list(CLIENT.send(destination(url), [item]))


def test_an_answer_without_end_is_cut_off(item: OutgoingObject):
    with pytest.raises(DestinationUnavailable, match="more than 4 MB"):
        answered(item, (200, bytes(5 << 20)))


def test_a_service_that_hangs_is_left_at_the_limit(tmp_path: Path):
    objects, forever = stored(tmp_path / "out"), threading.Event()

    def answer(request: Received) -> Answer:
        forever.wait(20)
        return 200, b""

    client, began = StowClient(DeliveryConfig(timeout_s=1)), time.monotonic()
    with http_destination(answer) as web:
        try:
            with pytest.raises(DestinationUnavailable, match="all objects within 1 s"):
                list(client.send(destination(web.url), objects))
            took_s = time.monotonic() - began
        finally:
            forever.set()

    assert took_s < 15


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"token_file": "t0ken"}, "Bearer t0ken"),
        ({"user": "node", "password_file": "p:ss"}, "Basic bm9kZTpwOnNz"),
        ({}, None),
    ],
)
def test_the_node_authenticates_as_configured(tmp_path: Path, item, fields, expected):
    for name in ("token_file", "password_file"):
        if name in fields:
            (tmp_path / name).write_text(f"{fields[name]}\n")
            fields = {**fields, name: tmp_path / name}

    with http_destination(lambda request: stow_answer(200, stored=uid_of(item))) as web:
        list(CLIENT.send(destination(web.url, **fields), [item]))

    assert web.requests[0].headers["Authorization"] == expected


def test_a_secret_that_cannot_be_read_fails_the_attempt_and_names_the_file(tmp_path, item):
    with (
        http_destination(lambda request: (200, b"")) as web,
        pytest.raises(DestinationRefused, match=r"token.*cannot be read"),
    ):
        list(CLIENT.send(destination(web.url, token_file=tmp_path / "token"), [item]))

    assert web.requests == []


def test_a_client_certificate_opens_a_service_that_requires_one(tmp_path: Path, item):
    ca = authority(tmp_path, "ca")
    server, client = signed_by(ca, tmp_path, "server"), signed_by(ca, tmp_path, "client")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server.certificate, server.private_key)
    tls.load_verify_locations(ca.certificate)
    tls.verify_mode = ssl.CERT_REQUIRED

    with http_destination(lambda request: stow_answer(200, stored=uid_of(item)), tls) as web:
        own = {"certificate": client.certificate, "private_key": client.private_key}
        (result,) = CLIENT.send(destination(web.url, ca=ca.certificate, **own), [item])
        with pytest.raises(DestinationUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            list(CLIENT.send(destination(web.url, **own), [item]))
        with pytest.raises(DestinationUnavailable, match="cannot be reached"):
            list(CLIENT.send(destination(web.url, ca=ca.certificate), [item]))

    assert result.acknowledged
    assert len(web.requests) == 1


@pytest.mark.parametrize(("status", "responds"), [(200, True), (204, True), (501, False)])
def test_the_connection_test_asks_for_no_patient(status: int, responds: bool):
    with http_destination(lambda request: (status, b"")) as web:
        if responds:
            CLIENT.check(destination(web.url))
        else:
            with pytest.raises(DestinationUnavailable):
                CLIENT.check(destination(web.url))

    (request,) = web.requests
    assert (request.method, request.body) == ("GET", b"")
    assert request.path == "/web/studies?StudyInstanceUID=2.25.0&limit=1"
