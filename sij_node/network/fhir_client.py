"""Sends transaction Bundles to a FHIR R4 server.

Source: HL7 FHIR R4 (4.0.1), http.html (transaction, capabilities).
"""

import json
from dataclasses import dataclass
from typing import Any

from sij_node.config.settings import DeliveryConfig, DestinationConfig
from sij_node.errors import DestinationRefused
from sij_node.network.http_client import HttpAnswer, HttpConnection, named_destination
from sij_node.network.store_scu import SendResult

_FHIR_JSON = "application/fhir+json"
_NOT_ACCEPTED = "the server does not accept the resources; see its log"
_NO_ANSWER = "the server does not confirm every resource of the transaction"


@dataclass(frozen=True)
class FhirClient:
    """Sends to a [[destination]] of kind fhir."""

    limits: DeliveryConfig

    def send(
        self, to: DestinationConfig, bundle: dict[str, Any], sop_instance_uid: str
    ) -> SendResult:
        """Send the resources of one report, all or none.

        Raises
        ------
        DestinationUnavailable
            If the server does not respond, or refuses this node.
        """
        headers = {"Content-Type": f"{_FHIR_JSON}; charset=utf-8", "Accept": _FHIR_JSON}
        with HttpConnection(to, self.limits) as connection:
            content = json.dumps(bundle, ensure_ascii=False).encode()
            answer = connection.request("POST", "", headers, content)
        note = f"HTTP {answer.status}"
        if answer.status != 200:
            return SendResult(sop_instance_uid, None, note, f"{note}, {_NOT_ACCEPTED}")
        if not _confirms(answer, len(bundle["entry"])):
            return SendResult(sop_instance_uid, None, note, f"{note}, {_NO_ANSWER}")
        return SendResult(sop_instance_uid, 0x0000, note)

    def check(self, to: DestinationConfig) -> None:
        """Ask for the server's capabilities.

        Raises
        ------
        DestinationUnavailable
            If it does not respond, refuses this node, or does not speak FHIR R4.
        """
        with HttpConnection(to, self.limits) as connection:
            answer = connection.request(
                "GET", "/metadata", {"Accept": _FHIR_JSON}, params={"_summary": "true"}
            )
        found = _object(answer)
        if not str(found.get("fhirVersion", "")).startswith("4."):
            raise DestinationRefused(
                f"{named_destination(to)} is no FHIR R4 server; check the URL of this "
                "[[destination]]."
            )


def _confirms(answer: HttpAnswer, resources: int) -> bool:
    entries = _object(answer).get("entry")
    if not isinstance(entries, list) or len(entries) != resources:
        return False
    return all(_status(one).startswith("2") for one in entries)


def _status(entry: Any) -> str:
    response = entry.get("response") if isinstance(entry, dict) else None
    return str(response.get("status", "")) if isinstance(response, dict) else ""


def _object(answer: HttpAnswer) -> dict[str, Any]:
    found = answer.json
    return found if isinstance(found, dict) else {}
