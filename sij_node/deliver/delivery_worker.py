"""The delivery worker: sends stored results to their destinations until they are acknowledged."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress

import structlog
from pydicom.uid import UID

from sij_node.audit.peer_events import PeerEvents
from sij_node.config.profiles import Profile
from sij_node.config.settings import AnyDestination
from sij_node.domain.job import Delivery, DeliveryState, Job, RetryPolicy
from sij_node.errors import (
    DatabaseUnavailable,
    DeliveryInterrupted,
    DestinationUnavailable,
    IllegalStep,
    LeaseLost,
    NodeError,
    ResultsRefused,
    SpoolUnavailable,
    StoredResultDamaged,
)
from sij_node.network.store_scu import OutgoingObject, SendResult
from sij_node.queue.lease import renewed_lease, run_jobs
from sij_node.store.deliveries import deliveries_of
from sij_node.store.destination_holds import current_holds
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool

log = structlog.get_logger()

Send = Callable[[AnyDestination, Sequence[OutgoingObject]], Iterator[SendResult]]


class DeliveryWorker:
    """Delivers results, one job at a time, until it is stopped.

    Parameters
    ----------
    events
        Counts and audits deliveries and their responses.
    """

    def __init__(
        self,
        name: str,
        table: JobTable,
        spool: Spool,
        send: Send,
        destination_titled: Callable[[str], AnyDestination | None],
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
        self._destination_titled = destination_titled
        self._profile_for = profile_for
        self._policy = policy
        self._lease_s = lease_s
        self._stop = stop
        self._shadow = shadow

    def run(self, idle_s: float = 1.0) -> None:
        """Deliver until `stop` is set."""
        run_jobs(self.deliver_next, self._name, self._stop, idle_s)

    def deliver_next(self) -> bool:
        """Deliver the pending results of one job; False when there is none."""
        job = self._table.claim_delivery(self._name, self._shadow)
        if job is not None:
            self._deliver(job)
        return job is not None

    def _deliver(self, job: Job) -> None:
        began = time.monotonic()
        sendable, paused = self._pending(job)
        try:
            with renewed_lease(self._table, job, self._lease_s):
                self._send_all(job, sendable)
            close = self._table.release_claim if paused else self._table.delivered
            after, event, reason = close(job, self._name), "results delivered", ""
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - any error fails this delivery alone
            cause = _in_words(error)
            after, event, reason = self._failed(job, cause), "delivery failed", str(cause)
        log.info(
            event,
            job_id=after.job_id,
            state=after.state,
            destination=", ".join(sorted({one.destination for one in sendable})),
            objects=len(sendable),
            attempt=after.delivery_attempts,
            reason=reason,
            seconds=round(time.monotonic() - began, 2),
        )

    def _failed(self, job: Job, error: NodeError) -> Job:
        """The job after a failed attempt; damaged results are made again if possible."""
        if isinstance(error, StoredResultDamaged):
            with suppress(IllegalStep):
                return self._table.analyse_again(job, error, self._name)
        return self._table.fail(job, error, self._policy, self._name)

    def _pending(self, job: Job) -> tuple[list[Delivery], list[Delivery]]:
        """Pending deliveries to send now, and those whose destination is on hold or in shadow."""
        holds = current_holds(self._table.database)
        paused = {*self._shadow, *(hold.destination for hold in holds)}
        pending = [
            delivery
            for delivery in deliveries_of(self._table.database, job.job_id)
            if delivery.state is DeliveryState.PENDING
        ]
        return (
            [delivery for delivery in pending if delivery.destination not in paused],
            [delivery for delivery in pending if delivery.destination in paused],
        )

    def _send_all(self, job: Job, pending: Sequence[Delivery]) -> None:
        """Send results.

        A destination that is unavailable does not delay the others.

        Raises
        ------
        DestinationUnavailable
            If some were not acknowledged, and a retry may help.
        ResultsRefused
            If all others were refused for reasons that a retry cannot change.
        """
        unavailable: list[DestinationUnavailable] = []
        refused: list[SendResult] = []
        for destination in sorted({delivery.destination for delivery in pending}):
            own = [each for each in pending if each.destination == destination]
            try:
                refused += self._attempt(job, destination, own)
            except DestinationUnavailable as error:
                unavailable.append(error)
        if unavailable:
            raise _together(unavailable)
        if refused:
            classes = {one.result.sop_instance_uid: one.result.sop_class_uid for one in pending}
            names = {uid: UID(sop_class).name for uid, sop_class in classes.items()}
            reasons = sorted({_reason(sent, names[sent.sop_instance_uid]) for sent in refused})
            said = f"{len(refused)} of {len(pending)} objects were refused: {'; '.join(reasons)}"
            is_final = all(sent.remedy for sent in refused)
            raise ResultsRefused(said) if is_final else DestinationUnavailable(said)

    def _attempt(self, job: Job, destination: str, own: Sequence[Delivery]) -> Sequence[SendResult]:
        """Send to one destination and return what it refused; failed attempts are counted."""
        try:
            responses = self._responses(job, destination, own)
            refused = [sent for sent in responses if not sent.acknowledged]
        except DestinationUnavailable:
            self._events.delivery_failed(destination)
            raise
        if refused:
            self._events.delivery_failed(destination)
        return refused

    def _responses(
        self, job: Job, destination: str, own: Sequence[Delivery]
    ) -> Iterator[SendResult]:
        configured = self._destination_titled(destination)
        if configured is None:
            raise DestinationUnavailable(
                f"{destination} is no longer a [[peer]] or [[destination]] in config.toml; add it "
                "again."
            )
        profile = self._profile_for(job.source_ae)
        in_order = sorted(
            own, key=lambda each: (profile.place_of(each.result.kind), each.result.kind)
        )
        objects = [self._outgoing(each) for each in in_order]
        for sent in self._send_audited(job, configured, objects):
            self._table.record_delivery(
                job,
                sent.sop_instance_uid,
                destination,
                sent.status,
                sent.acknowledged,
                sent.note,
            )
            yield sent

    def _send_audited(
        self, job: Job, peer: AnyDestination, objects: Sequence[OutgoingObject]
    ) -> Iterator[SendResult]:
        classes = {one.sop_instance_uid: one.sop_class_uid for one in objects}
        acknowledged, refused = Counter[str](), Counter[str]()
        if job.delivery_attempts <= 1:
            self._events.delivery_started(job.study_uid, peer)
        try:
            for sent in self._send(peer, objects):
                self._events.result_sent(peer, sent.status)
                counts = acknowledged if sent.acknowledged else refused
                counts[classes[sent.sop_instance_uid]] += 1
                yield sent
        finally:
            self._events.delivery_ended(job.study_uid, peer, acknowledged, refused)

    def _outgoing(self, delivery: Delivery) -> OutgoingObject:
        result = delivery.result
        file = self._spool.path_of_result(result.file_name)
        if not file.exists():
            raise SpoolUnavailable(
                f"The stored result {result.sop_instance_uid} is not in the spool. "
                "Check that the data folder is mounted on this host."
            )
        if hashlib.sha256(file.read_bytes()).hexdigest() != result.sha256:
            raise StoredResultDamaged(
                f"The stored result {result.sop_instance_uid} ({result.kind}) has changed on disk "
                "and is not sent. Check the disk, then reanalyse the study."
            )
        return OutgoingObject(
            result.sop_class_uid, result.sop_instance_uid, result.transfer_syntax_uid, file
        )


def _together(errors: Sequence[DestinationUnavailable]) -> DestinationUnavailable:
    """One error of one destination, or of several."""
    if len(errors) == 1:
        return errors[0]
    return DestinationUnavailable(" ".join(map(str, errors)))


def _in_words(error: Exception) -> NodeError:
    """An error as the reason of a failed attempt; unexpected ones are logged with their trace."""
    if isinstance(error, NodeError):
        return error
    log.error("delivery interrupted", exc_info=error)
    return DeliveryInterrupted(f"The delivery failed with {type(error).__name__}; see the log.")


def _reason(refused: SendResult, sop_class: str) -> str:
    """Class, status and remedy, without the archive's comment, which may name the patient."""
    status = "not accepted" if refused.status is None else f"status 0x{refused.status:04X}"
    return ": ".join(filter(None, (f"{sop_class}, {status}", refused.remedy)))
