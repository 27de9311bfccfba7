"""Query/Retrieve SCU: find and retrieve prior reports, and what is missing of a study.

Reports are found with C-FIND and retrieved with C-GET, or with C-MOVE to the node's own listener;
missing series are counted with C-FIND and retrieved with C-MOVE. One time limit covers all steps,
because a study waits for them.

Source: DICOM PS3.4 C.4.1, C.4.2, C.4.3, C.6.2 (Study Root); PS3.7 C (statuses).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from sij_node.config.settings import PeerConfig
from sij_node.dicom.dataset_scan import scan
from sij_node.dicom.headers import number, patient_of, text
from sij_node.domain.prior_comparison import StudyDate
from sij_node.domain.study import InstanceReference, PatientIdentity
from sij_node.errors import (
    ArchiveRefused,
    ArchiveTimedOut,
    ArchiveUnreachable,
    DatasetUnreadable,
    DestinationRefused,
    DestinationUnavailable,
)
from sij_node.network.association_summary import AssociationSummary, ReceivedStudy
from sij_node.network.scu import AssociationRequestor, Handler, named

REPORT_CLASSES = (Comprehensive3DSRStorage, ComprehensiveSRStorage)
MAX_REPORTS_OF_STUDY = 12
"""Maximum number of reports per study; each of the node's reports is a series of its own."""
MAX_FETCHED_BYTES = 16_000_000
"""Maximum per association, about 500 times the size of one report of the node."""
OWN_UIDS = "2.25."
"""Prefix of the UIDs of the node's results."""
_OWN_MANUFACTURER = "sij_node"
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_Answers = Iterator[tuple[Dataset, Dataset | None]]


class Deadline:
    """One time limit for several steps.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end_s = clock() + limit_s

    def left_s(self) -> float:
        """Seconds left.

        Raises
        ------
        ArchiveTimedOut
            If the limit is exceeded.
        """
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise ArchiveTimedOut("The search for prior studies exceeded [priors] timeout_s.")
        return left_s


@dataclass(frozen=True)
class ArchiveSearch:
    """One search for prior reports of a patient.

    Parameters
    ----------
    most
        Of earlier studies, the newest first, so many are looked at.
    query_sent, studies_retrieved
        Called with each query, and with what the archive sent.
    """

    caller: AssociationRequestor
    peer: PeerConfig
    deadline: Deadline
    most: int
    query_sent: Callable[[PeerConfig, str, Dataset], None]
    studies_retrieved: Callable[[PeerConfig, Sequence[ReceivedStudy]], None]

    def reports(self, patient: PatientIdentity, studied: StudyDate) -> list[InstanceReference]:
        """Reports in the archive that may be the node's own, of studies before a given date.

        Raises
        ------
        PriorsUnavailable
            If a query failed.
        """
        with self._associated(StudyRootQueryRetrieveInformationModelFind) as association:
            studies = self._studies(association, patient, studied)
            return [
                report
                for study_uid in studies[: self.most]
                for report in self._reports_of(association, study_uid)
            ]

    def get(self, reports: Sequence[InstanceReference]) -> list[bytes]:
        """Retrieve reports with C-GET, as DICOM files.

        Raises
        ------
        PriorsUnavailable
            If a report is missing.
        """
        model = StudyRootQueryRetrieveInformationModelGet
        files: list[bytes] = []
        summary = AssociationSummary()

        def take(event: evt.Event) -> int:
            files.append(event.encoded_dataset())
            _note(summary, event.encoded_dataset(include_meta=False))
            return _SUCCESS

        handlers = [(evt.EVT_C_STORE, take), (evt.EVT_DATA_RECV, _Measure().count)]
        try:
            with self._associated(model, REPORT_CLASSES, handlers) as association:
                for report in reports:
                    ask = partial(association.send_c_get, _wanted(report), model)
                    self._answers(association, ask)
        finally:
            self.studies_retrieved(self.peer, summary.studies)
        if len(files) < len(reports):
            raise ArchiveRefused(
                f"{named(self.peer)} sent {len(files)} of {len(reports)} prior reports."
            )
        return files

    def move(self, reports: Sequence[InstanceReference]) -> None:
        """Retrieve reports to the node's listener with C-MOVE; returns after they have arrived.

        Raises
        ------
        PriorsUnavailable
            If the archive does not send a report.
        """
        model = StudyRootQueryRetrieveInformationModelMove
        with self._associated(model) as association:
            for report in reports:
                self._answers(
                    association,
                    partial(association.send_c_move, _wanted(report), self.caller.ae_title, model),
                )

    def mr_series(self, study_uid: str) -> dict[str, int]:
        """Number of images of each MR series that the archive has of a study; 0 if not stated.

        Raises
        ------
        PriorsUnavailable
            If the query failed.
        """
        question = _question("SERIES", StudyInstanceUID=study_uid, Modality="MR")
        question.SeriesInstanceUID = question.NumberOfSeriesRelatedInstances = ""
        with self._associated(StudyRootQueryRetrieveInformationModelFind) as association:
            found = self._found(association, question)
        return {
            text(answer, "SeriesInstanceUID"): int(
                number(answer, "NumberOfSeriesRelatedInstances") or 0
            )
            for answer in found
            if text(answer, "Modality") in ("", "MR")
        }

    def move_series(self, study_uid: str, series: Sequence[str]) -> None:
        """Have the archive send series to the node's listener with C-MOVE.

        Raises
        ------
        PriorsUnavailable
            If the archive cannot, or not in time.
        """
        model = StudyRootQueryRetrieveInformationModelMove
        with self._associated(model) as association:
            for uid in series:
                wanted = _question("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=uid)
                self.query_sent(self.peer, str(model), wanted)
                ask = partial(association.send_c_move, wanted, self.caller.ae_title, model)
                self._answers(association, ask)

    # ---- questions -----------------------------------------------------------------------

    def _studies(
        self, association: Association, patient: PatientIdentity, studied: StudyDate
    ) -> list[str]:
        """Study UIDs of exactly this patient, newest first; identifiers may contain wildcards."""
        question = _question("STUDY", PatientID=patient.identifier, StudyDate=f"-{studied.date}")
        for keyword in ("IssuerOfPatientID", "StudyInstanceUID", "StudyTime"):
            setattr(question, keyword, "")
        if not patient.identifier.isascii():
            question.SpecificCharacterSet = "ISO_IR 192"
        found = {}
        for answer in self._found(association, question):
            theirs = patient_of(answer)
            made = StudyDate.stated(text(answer, "StudyDate"), text(answer, "StudyTime"))
            is_theirs = theirs.identifier == patient.identifier
            if is_theirs and theirs.issuer in ("", patient.issuer) and made.is_before(studied):
                found[text(answer, "StudyInstanceUID")] = made
        return sorted(found, key=lambda uid: (found[uid], uid), reverse=True)

    def _reports_of(self, association: Association, study_uid: str) -> list[InstanceReference]:
        question = _question("SERIES", StudyInstanceUID=study_uid, Modality="SR")
        question.SeriesInstanceUID = question.Manufacturer = ""
        series = [
            text(answer, "SeriesInstanceUID")
            for answer in self._found(association, question)
            if text(answer, "Manufacturer") in ("", _OWN_MANUFACTURER)
        ]
        reports = []
        for uid in [each for each in series if each.startswith(OWN_UIDS)][:MAX_REPORTS_OF_STUDY]:
            question = _question("IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=uid)
            question.SOPInstanceUID = question.SOPClassUID = ""
            for answer in self._found(association, question):
                instance = text(answer, "SOPInstanceUID")
                sop_class = text(answer, "SOPClassUID") or REPORT_CLASSES[0]
                if instance.startswith(OWN_UIDS) and sop_class in REPORT_CLASSES:
                    reports.append((study_uid, uid, sop_class, instance))
        return reports[:MAX_REPORTS_OF_STUDY]

    def _found(self, association: Association, question: Dataset) -> list[Dataset]:
        model = StudyRootQueryRetrieveInformationModelFind
        self.query_sent(self.peer, str(model), question)
        return self._answers(association, partial(association.send_c_find, question, model))

    # ---- answers -------------------------------------------------------------------------

    def _answers(self, association: Association, ask: Callable[[], _Answers]) -> list[Dataset]:
        """All pending responses to one request, until the final response."""
        found: list[Dataset] = []
        association.dimse_timeout = self.deadline.left_s()
        try:
            for status, identifier in ask():
                code = status.get("Status")
                if code not in _PENDING:
                    return self._ended(code, found)
                if identifier is not None:
                    found.append(identifier)
                association.dimse_timeout = self.deadline.left_s()
        except RuntimeError as error:  # pynetdicom: the association has ended
            raise self._silence() from error
        raise self._silence()

    def _ended(self, code: int | None, found: list[Dataset]) -> list[Dataset]:
        if code is None:
            raise self._silence()
        if code != _SUCCESS:
            raise ArchiveRefused(
                f"{named(self.peer)} responded to a query or retrieval with status 0x{code:04X}."
            )
        return found

    def _silence(self) -> ArchiveUnreachable:
        self.deadline.left_s()
        return ArchiveUnreachable(f"{named(self.peer)} aborted or did not respond in time.")

    @contextmanager
    def _associated(
        self, model: str, taking: Sequence[str] = (), handlers: Sequence[Handler] = ()
    ) -> Iterator[Association]:
        left_s, contexts = self.deadline.left_s(), [(model, ImplicitVRLittleEndian)]
        try:
            with self.caller.associated(
                self.peer, contexts, taking, handlers, left_s
            ) as association:
                yield association
        except DestinationRefused as error:
            raise ArchiveRefused(str(error)) from error
        except DestinationUnavailable as error:
            self.deadline.left_s()
            raise ArchiveUnreachable(str(error)) from error
        except ValueError as error:  # pynetdicom: context not accepted
            raise ArchiveRefused(
                f"{named(self.peer)} does not support Study Root Query/Retrieve."
            ) from error


def _note(summary: AssociationSummary, dataset: bytes) -> None:
    """Count whatever the archive sends, requested or not."""
    try:
        summary.add(scan(dataset, explicit_vr=True))
    except DatasetUnreadable:
        return  # names no patient; reported as unreadable by the reader


class _Measure:
    """Ends an association that sends more than reports can amount to."""

    def __init__(self) -> None:
        self._bytes = 0

    def count(self, event: evt.Event) -> None:
        """Called for every received PDU."""
        self._bytes += len(event.data)
        connection = event.assoc.dul.socket
        if self._bytes > MAX_FETCHED_BYTES and connection is not None:
            connection.close()


def _question(level: str, **keys: str) -> Dataset:
    question = Dataset()
    question.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(question, keyword, value)
    return question


def _wanted(report: InstanceReference) -> Dataset:
    study_uid, series_uid, _, instance_uid = report
    return _question(
        "IMAGE",
        StudyInstanceUID=study_uid,
        SeriesInstanceUID=series_uid,
        SOPInstanceUID=instance_uid,
    )
