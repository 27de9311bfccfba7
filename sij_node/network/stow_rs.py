"""STOW-RS: stores results in an archive by DICOMweb, byte for byte.

Every result has a request of its own, so that each has its own answer from any server.

Source: DICOM PS3.18 10.5 (Store transaction), Annex F (DICOM JSON), RFC 2387 (multipart/related).
"""

import secrets
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sij_node.config.settings import DeliveryConfig, DestinationConfig
from sij_node.errors import DestinationUnavailable
from sij_node.network.http_client import HttpAnswer, HttpConnection, named_destination
from sij_node.network.store_scu import OutgoingObject, SendResult
from sij_node.network.time_limit import limited_in_time

_PIECE_BYTES = 1 << 16
_REFERENCED, _FAILED = "00081199", "00081198"
_INSTANCE_UID, _FAILURE_REASON, _WARNING_REASON = "00081155", "00081197", "00081196"
_ANSWERS = (200, 202, 409)
"""Statuses whose body lists what was stored and what was not, Table 10.5.3-1."""
_PROCESSING_FAILURE, _DUPLICATE_INSTANCE = 0x0110, 0x0111
_ALREADY_STORED = 0xB00E
"""Reason by which cloud services refuse an instance that they have already."""
_WARNINGS = range(0xB000, 0xC000)
_UNREADABLE = "the destination does not accept the request; see its log"
_REFUSED = {
    413: "raise the size limit of requests at the destination",
    415: "the destination accepts no multipart/related with application/dicom",
}
_NO_ANSWER = "the destination does not list what it has stored (PS3.18 10.5.3)"
_UNKNOWN_STUDY = "2.25.0"
"""No study has this UID, so a query for it returns nothing about a patient."""


@dataclass(frozen=True)
class StowClient:
    """Stores objects at a [[destination]] of kind stow-rs."""

    limits: DeliveryConfig

    def send(
        self, to: DestinationConfig, objects: Sequence[OutgoingObject]
    ) -> Iterator[SendResult]:
        """Send objects in order; yields one result per object.

        Raises
        ------
        DestinationUnavailable
            If the service does not respond, refuses this node, or takes too long; results yielded
            before are valid.
        """
        with HttpConnection(to, self.limits) as connection:
            try:
                yield from limited_in_time(
                    _responses(connection, objects), self.limits.timeout_s, connection.cut
                )
            except TimeoutError as error:
                raise DestinationUnavailable(
                    f"{named_destination(to)} did not take all objects within "
                    f"{self.limits.timeout_s:g} s. The others follow with the next attempt."
                ) from error

    def check(self, to: DestinationConfig) -> None:
        """Query for a study that does not exist; a service without queries is accepted as well.

        Raises
        ------
        DestinationUnavailable
            If the service does not respond, or refuses this node.
        """
        with HttpConnection(to, self.limits) as connection:
            query = {"StudyInstanceUID": _UNKNOWN_STUDY, "limit": "1"}
            accept = {"Accept": "application/dicom+json"}
            connection.request("GET", "/studies", accept, params=query)


def _responses(
    connection: HttpConnection, objects: Sequence[OutgoingObject]
) -> Generator[SendResult, None, None]:
    for item in objects:
        boundary = f"sij-node-{secrets.token_hex(16)}"
        head, tail = _around(boundary)
        answer = connection.request(
            "POST",
            "/studies",
            {
                "Accept": "application/dicom+json",
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Content-Length": str(len(head) + item.file.stat().st_size + len(tail)),
            },
            _body(head, item.file, tail),
        )
        yield send_result(item.sop_instance_uid, answer)


def _around(boundary: str) -> tuple[bytes, bytes]:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _body(head: bytes, file: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            yield piece
    yield tail


def send_result(sop_instance_uid: str, answer: HttpAnswer) -> SendResult:
    """What a Store response says of one object."""
    note = f"HTTP {answer.status}"
    if answer.status not in _ANSWERS:
        advice = f"{note}, {_REFUSED.get(answer.status, _UNREADABLE)}"
        return SendResult(sop_instance_uid, None, note, advice)
    listed = _listed(answer)
    failed = _reason(listed, _FAILED, _FAILURE_REASON, sop_instance_uid)
    if failed is not None:
        return SendResult(sop_instance_uid, _failure(failed), note)
    stored = _reason(listed, _REFERENCED, _WARNING_REASON, sop_instance_uid)
    if stored is None:
        return SendResult(sop_instance_uid, None, note, f"{note}, {_NO_ANSWER}")
    return SendResult(sop_instance_uid, stored, note)


def _failure(reason: int) -> int:
    """A reason as C-STORE status; one that C-STORE counts as stored is none here."""
    if reason == _ALREADY_STORED:
        return _DUPLICATE_INSTANCE
    return reason if reason and reason not in _WARNINGS else _PROCESSING_FAILURE


def _listed(answer: HttpAnswer) -> dict[str, Any]:
    found = answer.json
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, dict) else {}


def _reason(
    listed: dict[str, Any], sequence: str, reason: str, sop_instance_uid: str
) -> int | None:
    """The reason that a sequence gives for an object, 0 without one; None if it is not listed."""
    for item in _values(listed, sequence):
        if sop_instance_uid in _values(item, _INSTANCE_UID):
            numbers = [one for one in _values(item, reason) if isinstance(one, int)]
            return numbers[0] if numbers else 0
    return None


def _values(dataset: Any, tag: str) -> list[Any]:
    element = dataset.get(tag, {}) if isinstance(dataset, dict) else {}
    values = element.get("Value", []) if isinstance(element, dict) else []
    return values if isinstance(values, list) else []
