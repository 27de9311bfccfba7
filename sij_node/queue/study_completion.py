"""The delay before a study counts as complete: no new image for [study] stable_age_s.

DICOM does not say when a study is complete, so the node waits until no image has arrived for a
while: a short while if T1 and STIR are there and look whole, and no association that carries the
study is open; otherwise a longer one. If asked to, it also queries the archive for the number of
images of each series.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from sij_node.config.settings import StudyConfig
from sij_node.domain.job import Job, StallDetector
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import LeaseLost, NodeError
from sij_node.queue.completeness import Readiness
from sij_node.store.job_queries import receiving_jobs
from sij_node.store.job_table import JobTable
from sij_node.store.registration import received_instances

log = structlog.get_logger()

_NOT_ASSESSED = Readiness(has_pair=False, priority=None)


class StudyCompletion:
    """Queues studies once they count as complete.

    Parameters
    ----------
    assess
        Whether a study that is being received has T1 and STIR, and its priority.
    is_carried
        Whether an open association has sent images of a study.
    missing_at
        Asks the archive that sends a job's study what is missing here; called with whether T1 and
        STIR have begun to arrive.
    """

    def __init__(
        self,
        table: JobTable,
        config: StudyConfig,
        assess: Callable[[Sequence[ReceivedInstance]], Readiness],
        is_carried: Callable[[str], bool] = lambda study_uid: False,
        missing_at: Callable[[Job, bool], tuple[str, ...]] = lambda job, has_pair: (),
    ) -> None:
        self._table = table
        self._config = config
        self._assess = assess
        self._is_carried = is_carried
        self._missing_at = missing_at
        self._asked: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._arrivals = StallDetector()
        self._assessed: dict[int, tuple[int, Readiness]] = {}

    def queue_complete_studies(self, now: float) -> None:
        """Queue each study that has received no new image for long enough.

        Parameters
        ----------
        now
            Monotonic seconds.
        """
        jobs = receiving_jobs(self._table.database)
        self._arrivals.keep_only(job.job_id for job in jobs)
        known = {job.job_id for job in jobs} & set(self._assessed)
        self._assessed = {job_id: self._assessed[job_id] for job_id in known}
        self._asked = {key: one for key, one in self._asked.items() if key in known}
        for job in jobs:
            age_s = self._arrivals.still_for_s(job.job_id, (job.revision, job.instances), now)
            if age_s >= min(self._config.stable_age_s, self._config.stable_age_without_pair_s):
                self._queue_if_complete(job, age_s)

    def _queue_if_complete(self, job: Job, age_s: float) -> None:
        readiness = self._readiness(job)
        missing = self._missing(job, readiness)
        if not missing and age_s >= self._config.stable_age_s:
            note = f"T1 and STIR received, no new images for {age_s:.0f} s"
        elif age_s >= self._config.stable_age_without_pair_s:
            note = f"no new images for {age_s:.0f} s; {missing or 'T1 and STIR received'}"
        else:
            return
        with suppress(LeaseLost):  # the job has changed since it was read
            self._table.settle(job, note, readiness.priority, attributes=readiness.attributes)

    def _missing(self, job: Job, readiness: Readiness) -> str:
        """What a study still waits for, in words; empty if it looks complete."""
        if self._is_carried(job.study_uid):
            return "the association that carries the study is still open"
        at_archive = ", ".join(self._missing_at_archive(job, readiness.has_pair))
        if not readiness.has_pair:
            return "; ".join(filter(None, ("T1 and STIR are not complete", at_archive)))
        if readiness.unfinished and not at_archive:
            return f"images seem to be missing ({', '.join(readiness.unfinished)})"
        return at_archive

    def _missing_at_archive(self, job: Job, has_pair: bool) -> tuple[str, ...]:
        """Asked once for each revision, because it takes an association."""
        revision, missing = self._asked.get(job.job_id, (0, ()))
        if revision != job.revision:
            missing = self._missing_at(job, has_pair)
            self._asked[job.job_id] = (job.revision, missing)
        return missing

    def _readiness(self, job: Job) -> Readiness:
        """Assessed once for each revision, because it reads the headers of the study."""
        revision, readiness = self._assessed.get(job.job_id, (0, _NOT_ASSESSED))
        if revision != job.revision:
            readiness = self._assess_stored(job)
            self._assessed[job.job_id] = (job.revision, readiness)
        return readiness

    def _assess_stored(self, job: Job) -> Readiness:
        instances = received_instances(self._table.database, job.study_uid)
        try:
            return self._assess(instances)
        except NodeError as error:  # one faulty study must not block the others
            log.warning("study not assessed", job_id=job.job_id, reason=str(error))
            return _NOT_ASSESSED
