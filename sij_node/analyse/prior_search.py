"""Search for prior results of a patient before a study is analysed.

The node's own results come first. If there are none, the archive that sent the study is queried
as its [[peer]] configures. Failures are stated in the report and never delay the study beyond a
time limit.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
from pydicom.dataset import Dataset

from sij_node.audit.peer_events import PeerEvents
from sij_node.config.settings import PeerConfig, PriorsConfig
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.dicom.headers import patient_of, text
from sij_node.domain.job import Job, Result
from sij_node.domain.prior_comparison import NO_PRIORS, Priors, PriorScores, StudyDate
from sij_node.domain.study import InstanceReference, PatientIdentity, ReceivedInstance
from sij_node.errors import (
    ArchiveRefused,
    InputRejected,
    PriorOfAnotherPatient,
    PriorsUnavailable,
    PriorUnreadable,
    SpoolUnavailable,
)
from sij_node.network.query_retrieve import ArchiveSearch, Deadline
from sij_node.network.scu import AssociationRequestor
from sij_node.results.prior_report import read_prior_scores
from sij_node.store.deliveries import prior_scores, stored_result
from sij_node.store.job_table import JobTable
from sij_node.store.registration import received_instance
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_header

log = structlog.get_logger()


@dataclass
class _Collected:
    """Prior reports found, and the problems with others."""

    patient: PatientIdentity
    studied: StudyDate
    found: dict[str, PriorScores] = field(default_factory=dict)
    problems: set[str] = field(default_factory=set)

    def add(self, file: bytes) -> None:
        """Read a report; an unusable one is recorded as a problem."""
        with _problems_noted(self):
            scores = read_prior_scores(file)
            if scores is None:
                return
            if scores.patient != self.patient:
                raise PriorOfAnotherPatient(
                    f"The prior report {scores.sop_instance_uid} belongs to a different patient."
                )
            if scores.studied.is_before(self.studied):
                self.found[scores.sop_instance_uid] = scores

    @property
    def priors(self) -> Priors:
        """The prior scores found and the problems."""
        found = (self.found[uid] for uid in sorted(self.found))
        return Priors(tuple(found), tuple(sorted(self.problems)))


class PriorSearch:
    """Finds prior results for the patient of a study.

    Parameters
    ----------
    peer_titled
        Returns the peer with an AE title.
    events
        Records each query to an archive, and what it sent.
    """

    def __init__(
        self,
        table: JobTable,
        spool: Spool,
        caller: AssociationRequestor,
        peer_titled: Callable[[str], PeerConfig | None],
        limits: PriorsConfig,
        events: PeerEvents,
    ) -> None:
        self._events = events
        self._table = table
        self._spool = spool
        self._caller = caller
        self._peer_titled = peer_titled
        self._limits = limits

    def priors_for(self, job: Job, received: Sequence[ReceivedInstance]) -> Priors:
        """Prior results of the patient of a job's study.

        Raises
        ------
        DatabaseUnavailable
        """
        peer = self._peer_titled(job.source_ae)
        images = [one for one in received if one.sop_class_uid in IMAGE_CLASSES]
        if peer is None or peer.priors == "off" or not images:
            return NO_PRIORS
        image = min(images, key=lambda one: one.sop_instance_uid)
        header = self._header_of(image)
        if header is None or not image.patient.is_named:
            return NO_PRIORS
        began = time.monotonic()
        studied = StudyDate.stated(text(header, "StudyDate"), text(header, "StudyTime"))
        collected = _Collected(patient_of(header), studied)
        self._collect_own(prior_scores(self._table.database, job, image.patient), collected)
        if not collected.found and peer.priors != "store" and studied.date:
            self._collect_from(peer, collected)
        log.info(
            "prior search finished",
            job_id=job.job_id,
            peer=peer.ae_title,
            objects=len(collected.found),
            reason=", ".join(sorted(collected.problems)),
            seconds=round(time.monotonic() - began, 2),
        )
        return collected.priors

    def _header_of(self, image: ReceivedInstance) -> Dataset | None:
        try:
            return read_header(self._spool, image)
        except (InputRejected, SpoolUnavailable):
            return None  # the analysis reports it

    def _collect_own(self, results: Iterable[Result], collected: _Collected) -> None:
        """From the node's own results."""
        for result in results:
            with _problems_noted(collected):
                collected.add(self._content_of(result))

    def _collect_from(self, peer: PeerConfig, collected: _Collected) -> None:
        """From an archive."""
        deadline = Deadline(self._limits.timeout_s)
        search = ArchiveSearch(
            self._caller,
            peer,
            deadline,
            self._limits.max_studies,
            self._events.query_sent,
            self._events.studies_retrieved,
        )
        with _problems_noted(collected):
            reports = search.reports(collected.patient, collected.studied)
            fetch = search.get if peer.priors == "get" else partial(self._moved, search)
            for file in fetch(reports) if reports else ():
                collected.add(file)

    def _moved(
        self, search: ArchiveSearch, reports: Sequence[InstanceReference]
    ) -> Iterator[bytes]:
        """Reports moved to the listener, except those already stored.

        Of the node's own reports only score reports contain scores.
        """
        wanted = [report for report in reports if self._may_be_scores(report[3])]
        missing = [report for report in wanted if self._here(report[3]) is None]
        if missing:
            search.move(missing)
        for report in wanted:
            content = self._here(report[3])
            if content is None:
                raise ArchiveRefused(
                    f"The prior report {report[3]} did not arrive at the listener."
                )
            yield content

    def _may_be_scores(self, sop_instance_uid: str) -> bool:
        result = stored_result(self._table.database, sop_instance_uid)
        return result is None or result.kind == "scores"

    def _here(self, sop_instance_uid: str) -> bytes | None:
        """A report that the node created and still stores, or received."""
        result = stored_result(self._table.database, sop_instance_uid)
        if result is not None and result.file_name:
            return self._content_of(result)
        instance = received_instance(self._table.database, sop_instance_uid)
        return None if instance is None else _content(self._spool.path_of(instance.file_name))

    def _content_of(self, result: Result) -> bytes:
        content = _content(self._spool.path_of_result(result.file_name))
        if hashlib.sha256(content).hexdigest() != result.sha256:
            raise PriorUnreadable(
                f"The stored result {result.sop_instance_uid} was altered on disk."
            )
        return content


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PriorUnreadable(f"A stored prior report cannot be read: {error.strerror}.") from error


@contextmanager
def _problems_noted(collected: _Collected) -> Iterator[None]:
    """Record what is unavailable, and continue."""
    try:
        yield
    except PriorsUnavailable as error:
        log.warning("prior studies unavailable", reason=str(error))
        collected.problems.add(error.problem)
