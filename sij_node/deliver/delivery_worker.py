"""The delivery worker: sends stored results to their destinations until they are acknowledged."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import structlog

from sij_node.audit.peer_events import PeerEvents
from sij_node.config.profiles import Profile
from sij_node.config.settings import PeerConfig
from sij_node.domain.job import Delivery, DeliveryState, Job, RetryPolicy
from sij_node.errors import DestinationUnavailable, SpoolUnavailable
from sij_node.network.store_scu import OutgoingObject, SendResult
from sij_node.queue.lease import held, one_after_the_other
from sij_node.store.deliveries import deliveries_of
from sij_node.store.destination_holds import current_holds
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool

log = structlog.get_logger()

Send = Callable[[PeerConfig, Sequence[OutgoingObject]], Iterator[SendResult]]


class DeliveryWorker:
    """Claims jobs with results to deliver, one at a time, until it is told to stop.

    Parameters
    ----------
    events
        Records every delivery and every answer.
    """

    def __init__(
        self,
        name: str,
        table: JobTable,
        spool: Spool,
        send: Send,
        peer_titled: Callable[[str], PeerConfig | None],
        profile_for: Callable[[str], Profile],
        policy: RetryPolicy,
        lease_s: float,
        stop: threading.Event,
        events: PeerEvents,
        shadow: Collection[str] = (),
    ) -> None:
        self._events = events
        self._name = name
        self._table = table
        self._spool = spool
        self._send = send
        self._peer_titled = peer_titled
        self._profile_for = profile_for
        self._policy = policy
        self._lease_s = lease_s
        self._stop = stop
        self._shadow = shadow

    def run(self, idle_s: float = 1.0) -> None:
        """Deliver until `stop` is set."""
        one_after_the_other(self.deliver_next, self._name, self._stop, idle_s)

    def deliver_next(self) -> bool:
        """Deliver what one job has pending; False when there is none."""
        job = self._table.claim_delivery(self._name, self._shadow)
        if job is not None:
            self._deliver(job)
        return job is not None

    def _deliver(self, job: Job) -> None:
        began = time.monotonic()
        pending, waiting = self._to_send(job)
        try:
            with held(self._table, job, self._lease_s):
                self._send_all(job, pending)
            close = self._table.hand_back if waiting else self._table.delivered
            after, event, reason = close(job, self._name), "results delivered", ""
        except (DestinationUnavailable, SpoolUnavailable) as error:
            after = self._table.fail(job, error, self._policy, self._name)
            event, reason = "delivery failed", str(error)
        log.info(
            event,
            job_id=after.job_id,
            state=after.state,
            destination=job.source_ae,
            objects=len(pending),
            attempt=after.delivery_attempts,
            reason=reason,
            seconds=round(time.monotonic() - began, 2),
        )

    def _to_send(self, job: Job) -> tuple[list[Delivery], list[Delivery]]:
        """What can be sent now, and what waits because its destination is held or in shadow."""
        closed = {
            *self._shadow,
            *(hold.destination for hold in current_holds(self._table.database)),
        }
        left = [
            d
            for d in deliveries_of(self._table.database, job.job_id)
            if d.state is DeliveryState.PENDING
        ]
        return (
            [delivery for delivery in left if delivery.destination not in closed],
            [delivery for delivery in left if delivery.destination in closed],
        )

    def _send_all(self, job: Job, pending: Sequence[Delivery]) -> None:
        """Send what is pending; raises `DestinationUnavailable` unless all was acknowledged."""
        refused = [sent for sent in self._answers(job, pending) if not sent.acknowledged]
        if refused:
            said = "; ".join(sorted({_why(sent) for sent in refused}))
            raise DestinationUnavailable(
                f"{len(refused)} of {len(pending)} objects were refused: {said}"
            )

    def _answers(self, job: Job, pending: Sequence[Delivery]) -> Iterator[SendResult]:
        for destination in sorted({delivery.destination for delivery in pending}):
            peer = self._peer_titled(destination)
            if peer is None:
                raise DestinationUnavailable(
                    f"{destination} is not a [[peer]] of config.toml any more; add it again."
                )
            profile = self._profile_for(destination)
            its_own = [each for each in pending if each.destination == destination]
            its_own.sort(key=lambda each: (profile.place_of(each.result.kind), each.result.kind))
            objects = [self._outgoing(each) for each in its_own]
            for sent in self._sent_and_recorded(job, peer, objects):
                self._table.record_delivery(
                    job,
                    sent.sop_instance_uid,
                    destination,
                    sent.status,
                    sent.acknowledged,
                    sent.note,
                )
                yield sent

    def _sent_and_recorded(
        self, job: Job, peer: PeerConfig, objects: Sequence[OutgoingObject]
    ) -> Iterator[SendResult]:
        classes = {one.sop_instance_uid: one.sop_class_uid for one in objects}
        taken, refused = Counter[str](), Counter[str]()
        if job.delivery_attempts <= 1:
            self._events.delivery_started(job.study_uid, peer)
        try:
            for sent in self._send(peer, objects):
                self._events.result_sent(peer, sent.status)
                (taken if sent.acknowledged else refused)[classes[sent.sop_instance_uid]] += 1
                yield sent
        finally:
            self._events.delivery_ended(job.study_uid, peer, taken, refused)

    def _outgoing(self, delivery: Delivery) -> OutgoingObject:
        result = delivery.result
        file = self._spool.path_of_result(result.file_name)
        if not file.exists():
            raise SpoolUnavailable(
                f"The stored result {result.sop_instance_uid} is not in the spool. "
                "Is the data folder mounted here?"
            )
        return OutgoingObject(
            result.sop_class_uid, result.sop_instance_uid, result.transfer_syntax_uid, file
        )


def _why(refused: SendResult) -> str:
    """An archive's own comment stays with the delivery: it may name the patient."""
    return refused.note if refused.status is None else f"status 0x{refused.status:04X}"
