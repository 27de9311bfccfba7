"""How results are sent to each kind of destination.

A kind is one function: it sends prepared objects and yields the response to each of them. Attempts,
delays, records, audit and alerts are the same for all kinds; see
`sij_node.deliver.delivery_worker`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sij_node.config.settings import AnyDestination, Config, DestinationConfig, PeerConfig
from sij_node.network.fhir_client import FhirClient
from sij_node.network.mllp import MllpClient
from sij_node.network.store_scu import OutgoingObject, SendResult, StoreScu
from sij_node.network.stow_rs import StowClient
from sij_node.results.fhir_report import fhir_bundle
from sij_node.results.hl7_report import oru_message
from sij_node.results.report_content import ReportContent, read_report

SendToDestination = Callable[[DestinationConfig, Sequence[OutgoingObject]], Iterator[SendResult]]
SendReport = Callable[[DestinationConfig, ReportContent], SendResult]


@dataclass(frozen=True)
class Senders:
    """Sends to any destination.

    Parameters
    ----------
    dimse
        To peers.
    kinds
        To destinations of each kind.
    """

    dimse: StoreScu
    kinds: Mapping[str, SendToDestination]

    def send(self, to: AnyDestination, objects: Sequence[OutgoingObject]) -> Iterator[SendResult]:
        """Send objects to a destination in order; yields one result per object.

        Raises
        ------
        DestinationUnavailable
            If it does not respond, or refuses this node; results yielded before are valid.
        StoredResultDamaged
            If a report to be sent as FHIR or HL7 cannot be read.
        """
        if isinstance(to, PeerConfig):
            return self.dimse.send(to, objects)
        return self.kinds[to.kind](to, objects)


def senders(config: Config) -> Senders:
    """The senders of a node."""
    limits, title = config.delivery, config.node.ae_title
    fhir, mllp = FhirClient(limits), MllpClient(limits)

    def send_fhir(to: DestinationConfig, report: ReportContent) -> SendResult:
        bundle = fhir_bundle(report, to.patient_system)
        return fhir.send(to, bundle, report.sop_instance_uid)

    def send_hl7(to: DestinationConfig, report: ReportContent) -> SendResult:
        receiver = to.receiving_application, to.receiving_facility
        control_id, message = oru_message(report, title, receiver)
        return mllp.send(to, message, control_id, report.sop_instance_uid)

    return Senders(
        StoreScu(title, limits, config.listener.tls),
        {
            "stow-rs": StowClient(limits).send,
            "fhir": _each_report(send_fhir),
            "hl7": _each_report(send_hl7),
        },
    )


def _each_report(send: SendReport) -> SendToDestination:
    """Send each object as what its report says."""

    def send_reports(
        to: DestinationConfig, objects: Sequence[OutgoingObject]
    ) -> Iterator[SendResult]:
        for item in objects:
            yield send(to, read_report(item.file.read_bytes()))

    return send_reports
