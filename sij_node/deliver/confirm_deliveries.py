"""Confirms deliveries by storage commitment or C-FIND, and answers requests of peers.

For each destination: jobs whose results were acknowledged are asked about, one request each. A
report comes on the association of the request, or at the listener. Without one in time, C-FIND
tells whether the results are there. Results that the destination does not have are sent again.
All delays are measured on the monotonic clock.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from sij_node.domain.backoff import delay_after_s
from sij_node.domain.job import StallDetector
from sij_node.domain.storage_commitment import CommitmentReport
from sij_node.errors import CommitmentUnsupported, DestinationRefused, DestinationUnavailable
from sij_node.network.storage_commitment import CommitmentScu
from sij_node.store.commitments import (
    CommitmentState,
    OpenCommitment,
    PeerCommitment,
    add_commitment,
    apply_report,
    commit,
    open_commitments,
    peer_requests,
    set_answered,
    set_commitment,
    stored_of,
    unconfirmed_jobs,
)
from sij_node.store.database import Database
from sij_node.store.job_table import SCHEDULER
from sij_node.store.spool import Spool

log = structlog.get_logger()

CONFIRM_S = 5.0
MAX_ANSWERS = 200
"""Attempts to deliver an answer to a peer: about a day at the longest delay."""


def _wait_s(failures: int, first_s: float, longest_s: float) -> float:
    """Delay before the next attempt; none before the first."""
    return delay_after_s(failures, first_s, longest_s) if failures else 0.0


@dataclass
class DeliveryConfirmation:
    """Confirms the deliveries to one destination.

    Parameters
    ----------
    by_request
        Whether to request storage commitment; otherwise the destination is asked by C-FIND only.
    timeout_s
        A request without a report for this long is decided by C-FIND.
    first_wait_s, longest_wait_s
        Delays after failed attempts.
    confirming
        All destinations that confirm deliveries.
    """

    database: Database
    scu: CommitmentScu
    by_request: bool
    timeout_s: float
    first_wait_s: float
    longest_wait_s: float
    confirming: Collection[str]
    _open: StallDetector = field(default_factory=StallDetector)
    _closed: StallDetector = field(default_factory=StallDetector)

    @property
    def _title(self) -> str:
        return self.scu.peer.ae_title

    def run(self, now: float) -> None:
        """Send the requests that are due, and decide those that were not answered in time."""
        self._add_requests(now)
        found = open_commitments(self.database, self._title)
        self._open.keep_only(one.transaction_uid for one in found)
        for one in found:
            waited_s = self._open.still_for_s(one.transaction_uid, (one.state, one.attempts), now)
            if one.state is CommitmentState.REQUESTED:
                if waited_s >= self.timeout_s:
                    self._find(one)
            elif waited_s >= self._delay_s(one.attempts) and not self._send(one):
                return  # cannot be reached: the others would wait for it too

    def _add_requests(self, now: float) -> None:
        jobs = unconfirmed_jobs(self.database, self._title)
        self._closed.keep_only(jobs)
        for job_id, requests in jobs.items():
            if self._closed.still_for_s(job_id, requests, now) >= self._delay_s(requests):
                add_commitment(self.database, job_id, self._title)

    def _delay_s(self, failures: int) -> float:
        return _wait_s(failures, self.first_wait_s, self.longest_wait_s)

    def _send(self, one: OpenCommitment) -> bool:
        """Send a request; False if the destination cannot be reached."""
        if not self.by_request:
            return self._find(one)
        try:
            report = self.scu.request(one.request)
        except CommitmentUnsupported as error:
            log.info("storage commitment unsupported", destination=self._title, reason=str(error))
            return self._find(one)
        except DestinationUnavailable as error:
            set_commitment(self.database, one, CommitmentState.NEW, str(error))
            return False
        set_commitment(self.database, one, CommitmentState.REQUESTED)
        if report is not None:
            self._apply(one, report)
        return True

    def _find(self, one: OpenCommitment) -> bool:
        """Decide a request by C-FIND; False if the destination cannot be reached."""
        try:
            report = self.scu.find(one.transaction_uid, one.objects)
        except DestinationRefused as error:
            set_commitment(self.database, one, CommitmentState.UNANSWERED, str(error))
            return True
        except DestinationUnavailable as error:
            set_commitment(self.database, one, CommitmentState.NEW, str(error))
            return False
        self._apply(one, report)
        return True

    def _apply(self, one: OpenCommitment, report: CommitmentReport) -> None:
        apply_report(self.database, self._title, report, SCHEDULER, self.confirming)
        log.info(
            "deliveries confirmed" if not report.failed else "deliveries not confirmed",
            job_id=one.job_id,
            destination=self._title,
            objects=len(report.committed),
            refused=len(report.failed),
            reason=report.reasons(),
        )


@dataclass
class CommitmentAnswers:
    """Answers the requests of one peer: what is stored, which then stays until the answer says.

    Parameters
    ----------
    retention
        What is committed is kept for this long from the answer.
    """

    database: Database
    spool: Spool
    scu: CommitmentScu
    retention: timedelta
    first_wait_s: float
    longest_wait_s: float
    _waits: StallDetector = field(default_factory=StallDetector)

    def run(self, now: float) -> None:
        """Answer the requests that are due."""
        found = peer_requests(self.database, self.scu.peer.ae_title, MAX_ANSWERS)
        self._waits.keep_only(one.request_id for one in found)
        for one in found:
            waited_s = self._waits.still_for_s(one.request_id, one.attempts, now)
            if waited_s >= _wait_s(one.attempts, self.first_wait_s, self.longest_wait_s):
                with suppress(DestinationUnavailable):
                    self._answer(one)

    def _answer(self, one: PeerCommitment) -> None:
        files = stored_of(self.database, one.request.objects)
        present = [uid for uid, name in files.items() if self.spool.path_of(name).exists()]
        kept_until = datetime.now(UTC) + self.retention
        report = commit(self.database, one.request, kept_until, present)
        note = (
            f"{len(report.committed)} committed until {kept_until:%Y-%m-%d}, "
            f"{len(report.failed)} failed"
        )
        try:
            self.scu.report(report, one.request)
        except DestinationUnavailable as error:
            set_answered(self.database, one.request_id, str(error), answered=False)
            raise
        set_answered(self.database, one.request_id, note, answered=True)
        log.info(
            "storage commitment answered",
            peer=self.scu.peer.ae_title,
            objects=len(report.committed),
            refused=len(report.failed),
            reason=note,
        )
