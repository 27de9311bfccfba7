"""FHIR transactions: every resource is confirmed, or nothing is acknowledged."""

import json
from typing import Any

import pytest

from sij_node.config.settings import DeliveryConfig, DestinationConfig
from sij_node.errors import DestinationRefused, DestinationUnavailable
from sij_node.network.fhir_client import FhirClient
from tests.support.http_destination import Answer, http_destination

CLIENT = FhirClient(DeliveryConfig())
BUNDLE = {"resourceType": "Bundle", "type": "transaction", "entry": [{}, {}]}


def destination(url: str) -> DestinationConfig:
    return DestinationConfig(name="FHIR", kind="fhir", url=url)


def confirmed(*statuses: str) -> bytes:
    entries = [{"response": {"status": status}} for status in statuses]
    said = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
    return json.dumps(said).encode()


def sent(answer: Answer) -> Any:
    with http_destination(lambda request: answer) as server:
        result = CLIENT.send(destination(server.url), BUNDLE, "1.2.3")
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/web")
    assert json.loads(request.body) == BUNDLE
    assert request.headers["Content-Type"].startswith("application/fhir+json")
    return result


def test_a_report_is_acknowledged_when_every_resource_is_confirmed():
    result = sent((200, confirmed("201 Created", "200 OK")))

    assert (result.status, result.acknowledged) == (0x0000, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"entry": 5}',
        b'{"entry": [1, 2]}',
        confirmed("201 Created"),
        confirmed("201 Created", "422"),
    ],
)
def test_a_resource_that_is_not_confirmed_is_no_acknowledgement(body: bytes):
    result = sent((200, body))

    assert not result.acknowledged
    assert "does not confirm" in result.remedy


@pytest.mark.parametrize("status", [400, 409, 412, 422])
def test_resources_that_the_server_does_not_accept_are_final(status: int):
    result = sent((status, b'{"issue": "Muster^Erika"}'))

    assert (result.status, result.acknowledged) == (None, False)
    assert result.remedy.startswith(f"HTTP {status}, the server does not accept")
    assert "Muster" not in f"{result}"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_tried_again(status: int):
    with pytest.raises(DestinationUnavailable, match=f"HTTP {status}"):
        sent((status, b""))


@pytest.mark.parametrize("version", ["4.0.1", "4.3.0"])
def test_the_connection_test_reads_the_capabilities(version: str):
    said = json.dumps({"resourceType": "CapabilityStatement", "fhirVersion": version})
    with http_destination(lambda request: (200, said.encode())) as server:
        CLIENT.check(destination(server.url))

    assert server.requests[0].path == "/web/metadata?_summary=true"


@pytest.mark.parametrize("body", [b"<html/>", b'{"fhirVersion": "5.0.0"}', b"[]"])
def test_a_server_of_another_kind_is_named(body: bytes):
    with (
        http_destination(lambda request: (200, body)) as server,
        pytest.raises(DestinationRefused, match="no FHIR R4 server"),
    ):
        CLIENT.check(destination(server.url))
