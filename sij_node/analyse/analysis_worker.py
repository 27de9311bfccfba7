"""The analysis worker: claims queued jobs, has their studies analysed and stores the results."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from sij_node.analyse.analysis_process import AnalysisProcess, AnalysisRequest, Answer, Stopping
from sij_node.config.routing import Recipient
from sij_node.domain.health import Process
from sij_node.domain.job import Job, RetryPolicy
from sij_node.domain.prior_comparison import NO_PRIORS, Priors
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import LeaseLost, NodeError, WorkerLost
from sij_node.queue.lease import Lease, renewed_lease, run_jobs
from sij_node.store.deliveries import results_sent_before
from sij_node.store.job_table import JobTable
from sij_node.store.received_copies import correction_of, unsettled_conflicts
from sij_node.store.registration import received_instances
from sij_node.store.series_at_archive import series_at_archive

log = structlog.get_logger()

DRAIN_S = 25.0
PriorsFor = Callable[[Job, Sequence[ReceivedInstance]], Priors]


def _only_the_sender(source_ae: str) -> Sequence[Recipient]:
    return (Recipient(source_ae),)


def _no_priors(job: Job, received: Sequence[ReceivedInstance]) -> Priors:
    return NO_PRIORS


class AnalysisWorker:
    """Analyses queued jobs, one at a time, until it is stopped.

    Parameters
    ----------
    recipients_of
        The destinations of the results of a sender's studies.
    priors_for
        Collects prior results of the patient; limits its own time.
    """

    def __init__(
        self,
        name: str,
        table: JobTable,
        analysis: AnalysisProcess,
        policy: RetryPolicy,
        lease_s: float,
        stop: threading.Event,
        recipients_of: Callable[[str], Sequence[Recipient]] = _only_the_sender,
        priors_for: PriorsFor = _no_priors,
    ) -> None:
        self._name = name
        self._table = table
        self._analysis = analysis
        self._policy = policy
        self._lease_s = lease_s
        self._stop = stop
        self._recipients_of = recipients_of
        self._priors_for = priors_for
        self._drain_until = float("inf")
        self._current_job_id: int | None = None

    def status_of(self, process: Process) -> Process:
        """The process with its current job and loaded networks, for the heartbeat."""
        return replace(process, job_id=self._current_job_id, **vars(self._analysis.networks))

    def run(self, idle_s: float = 1.0) -> None:
        """Work until `stop` is set; the current study is finished first, within `DRAIN_S`.

        Raises
        ------
        WeightsRefused
            If the networks cannot be loaded.
        """
        try:
            self._analysis.start()
            log.info("worker ready", worker=self._name)
            run_jobs(self.analyse_next, self._name, self._stop, idle_s)
        finally:
            self._analysis.stop()

    def analyse_next(self) -> bool:
        """Analyse one queued study; False when there is none."""
        job = self._table.claim(self._name)
        if job is None:
            return False
        self._current_job_id = job.job_id
        try:
            self._analyse(job)
        finally:
            self._current_job_id = None
        return True

    def _analyse(self, job: Job) -> None:
        began = time.monotonic()
        try:
            with renewed_lease(self._table, job, self._lease_s) as lease:
                request = self._request_for(job)
                answer = self._analysis.analyse(request, lambda: self._check(lease))
            if self._is_outdated(request):
                after = self._table.supersede(job, self._name)
            else:
                after = self._settle(job, answer)
        except Stopping:
            after = self._table.release_claim(job, self._name)
        except WorkerLost as error:
            after = self._table.fail(job, error, self._policy, self._name)
        log.info(
            "study analysed",
            job_id=after.job_id,
            state=after.state,
            attempt=after.analysis_attempts,
            reason=after.reason,
            seconds=round(time.monotonic() - began, 2),
        )

    def _request_for(self, job: Job) -> AnalysisRequest:
        database = self._table.database
        instances = received_instances(database, job.study_uid)
        history = results_sent_before(database, job)
        return AnalysisRequest(
            instances,
            unsettled_conflicts(database, job.study_uid, history),
            job.source_ae,
            history,
            job.weights_wanted,
            self._priors_for(job, instances),
            correction_of(database, job),
            series_at_archive(database, job.study_uid),
        )

    def _is_outdated(self, request: AnalysisRequest) -> bool:
        """Whether an analysed image was replaced by a corrected one meanwhile."""
        if not request.instances:
            return False
        study_uid = request.instances[0].study_uid
        now = {one.sha256 for one in received_instances(self._table.database, study_uid)}
        return not {one.sha256 for one in request.instances} <= now

    def _settle(self, job: Job, answer: Answer) -> Job:
        if isinstance(answer, NodeError):
            return self._table.fail(job, answer, self._policy, self._name)
        results, recipients = answer.results, self._recipients_of(job.source_ae)
        if answer.rejected is not None:
            return self._table.reject(
                job, answer.rejected, results, recipients, self._name, answer.record
            )
        return self._table.store_results(
            job, results, recipients, self._name, answer.weights, answer.note, answer.record
        )

    def _check(self, lease: Lease) -> None:
        """Raise if the analysis must not continue: lease lost, or no time left to finish."""
        if lease.lost:
            raise LeaseLost("Another worker took over the job during the analysis.")
        if self._stop.is_set():
            self._drain_until = min(self._drain_until, time.monotonic() + DRAIN_S)
            if time.monotonic() > self._drain_until:
                raise Stopping
