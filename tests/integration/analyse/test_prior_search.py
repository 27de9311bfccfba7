"""Results of prior studies are found, whatever an archive does, within the time limit."""

import hashlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from deploy.trial import free_port
from sij_node.analyse.prior_search import PriorSearch
from sij_node.audit.peer_events import PeerEvents
from sij_node.config.settings import Config, PeerConfig
from sij_node.domain.job import Job, Result, State
from sij_node.domain.prior_comparison import NO_PRIORS, Priors
from sij_node.domain.study import PatientIdentity, ReceivedInstance
from sij_node.network.association_summary import ReceivedStudy
from sij_node.network.scu import AssociationRequestor
from sij_node.processes import listener_process
from sij_node.processes.assembly import Store, open_store
from sij_node.results.provenance import to_part10
from sij_node.store.clear_spool import clear_study
from sij_node.store.deliveries import prior_scores
from sij_node.store.job_queries import newest_jobs
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity_table import PeerActivityLog
from sij_node.store.spool import instance_file_name
from tests.support.job_tables import NOON, analysing, delivering, latest_job, made, received
from tests.support.mr_series import T1_TIMES, classic_series
from tests.support.prior_reports import (
    VALUES,
    earlier_findings,
    earlier_findings_report,
    earlier_report,
)
from tests.support.query_archive import QueryArchive
from tests.support.result_inputs import context
from tests.support.unrecorded_events import NO_TRAIL, no_events
from tests.support.waiting import wait_for

NOW = "1.2.3"
BEFORE = "1.2.9.20230301"
ANSWER_S = 30
"""How long an archive may take for an answer, where nothing else limits it."""


@dataclass
class NodeWithPriors:
    """A node that analyses a study, and its configuration of prior studies."""

    config: Config
    store: Store
    job: Job
    images: tuple[ReceivedInstance, ...]

    def search(self, events: PeerEvents | None = None) -> PriorSearch:
        settings = self.config
        caller = AssociationRequestor("SIJNODE", settings.delivery, None)
        return PriorSearch(
            self.store.table,
            self.store.spool,
            caller,
            settings.peer_titled,
            settings.priors,
            events or no_events(),
        )

    def priors(self, events: PeerEvents | None = None) -> Priors:
        return self.search(events).priors_for(self.job, self.images)


class RecordingPeerEvents(PeerEvents):
    """Keeps what was fetched."""

    def __init__(self) -> None:
        super().__init__(PeerActivityLog(None), NO_TRAIL, str)
        self.studies: list[ReceivedStudy] = []

    def studies_retrieved(self, peer: PeerConfig, studies: Sequence[ReceivedStudy]) -> None:
        self.studies += studies


def configured(folder: Path, way: str, port: int = 9, limit_s: float = 20) -> Config:
    return Config.model_validate(
        {
            "node": {"ae_title": "SIJNODE", "data_folder": folder},
            "listener": {"port": free_port()},
            "peer": [
                {
                    "ae_title": "PACS",
                    "networks": ["127.0.0.1"],
                    "host": "127.0.0.1",
                    "port": port,
                    "priors": way,
                }
            ],
            "priors": {"timeout_s": limit_s},
            "delivery": {"connect_timeout_s": 2, "response_timeout_s": ANSWER_S},
            "worker": {"lease_s": 600},  # no heartbeat is sent for the current job
            "spool": {"min_free_mb": 1},
        }
    )


@contextmanager
def node_with_priors(
    folder: Path, way: str, port: int = 9, limit_s: float = 20, **attributes: str
) -> Iterator[NodeWithPriors]:
    config = configured(folder, way, port, limit_s)
    with open_store(config) as store:
        images = tuple(
            received_image(store, image)
            for image in classic_series(VALUES, **T1_TIMES, **attributes)
        )
        store.table.settle(latest_job(store.table, NOW, "PACS"), "quiet")
        yield NodeWithPriors(config, store, store.table.claim("worker 1"), images)


def received_image(store: Store, image: Dataset, source: str = "PACS") -> ReceivedInstance:
    instance = received(
        1,
        str(image.StudyInstanceUID),
        sop_instance_uid=str(image.SOPInstanceUID),
        series_uid=str(image.SeriesInstanceUID),
        patient_id=str(image.PatientID),
        issuer_of_patient_id=str(image.IssuerOfPatientID),
        file_name=instance_file_name(str(image.SOPInstanceUID)),
        source_ae=source,
    )
    with store.spool.stage() as staged:
        staged.write(to_part10(image, "PACS"))
        staged.sync()
        staged.keep(instance.file_name)
    store.table.register(instance, 5, opens_job=True)
    return instance


def analysed_before(
    store: Store, report: bytes, source: str = "PACS", *, findings: bytes | None = None
) -> None:
    """Leave the reports of another study of the patient in the node's own store."""
    told = dcmread(BytesIO(report))
    study_uid = str(told.StudyInstanceUID)
    image = received(
        1,
        study_uid,
        patient_id=str(told.PatientID),
        issuer_of_patient_id=str(told.get("IssuerOfPatientID", "")),
        source_ae=source,
    )
    store.table.register(image, 9, opens_job=True)
    store.table.settle(latest_job(store.table, study_uid, source), "quiet")
    job = store.table.claim("worker 1")
    results = [stored_result(store, report, "scores")]
    if findings is not None:
        results.append(stored_result(store, findings, "findings t1"))
    store.table.store_results(job, results, source, "worker 1")


def stored_result(store: Store, report: bytes, kind: str) -> Result:
    digest = hashlib.sha256(report).hexdigest()
    return replace(
        made(),
        kind=kind,
        sop_instance_uid=str(dcmread(BytesIO(report)).SOPInstanceUID),
        file_name=store.spool.keep_result(report, f"{digest}.dcm"),
        sha256=digest,
    )


def dates(priors: Priors) -> list[str]:
    return sorted(str(one.studied) for one in priors.found)


# ---- the node's own store ------------------------------------------------------------------------


def test_priors_in_the_own_store_are_found_without_a_query(tmp_path):
    with node_with_priors(tmp_path, "get", port=1) as here:
        analysed_before(here.store, earlier_report())
        analysed_before(here.store, earlier_report("20190101"))

        priors = here.priors()

    assert dates(priors) == ["2019-01-01", "2023-03-01"]
    assert priors.problems == ()
    assert list(priors.found[0].findings) == earlier_findings()


@pytest.mark.parametrize(
    "other", [{"PatientID": "4712"}, {"IssuerOfPatientID": "ELSEWHERE"}, {"IssuerOfPatientID": ""}]
)
def test_results_of_another_patient_or_issuer_are_not_found(tmp_path, other):
    with node_with_priors(tmp_path, "store") as here:
        analysed_before(here.store, earlier_report(**other))

        assert here.priors() == NO_PRIORS


def test_later_studies_are_no_priors(tmp_path):
    with node_with_priors(tmp_path, "store") as here:
        analysed_before(here.store, earlier_report("20250101"))

        assert here.priors() == NO_PRIORS


def test_a_result_changed_on_disk_is_reported(tmp_path):
    with node_with_priors(tmp_path, "store") as here:
        analysed_before(here.store, earlier_report())
        (file,) = (tmp_path / "spool" / "results").iterdir()
        file.write_bytes(file.read_bytes()[:-20] + bytes(20))

        assert here.priors() == Priors((), ("unreadable",))


def test_nothing_is_looked_for_where_the_peer_says_so(tmp_path):
    with node_with_priors(tmp_path, "off") as here:
        analysed_before(here.store, earlier_report())

        assert here.priors() == NO_PRIORS


def test_without_an_issuer_an_identifier_counts_only_where_it_came_from(table: JobTable):
    elsewhere = received(1, BEFORE, source_ae="CLINIC", patient_id="P1")
    table.register(elsewhere, 5, opens_job=True)
    table.settle(latest_job(table, BEFORE, "CLINIC"), "quiet")
    table.store_results(table.claim("w"), [made("scores", BEFORE)], "CLINIC", "w")
    job = analysing(table)

    assert prior_scores(table.database, job, PatientIdentity("P1")) == ()
    assert prior_scores(
        table.database, replace(job, source_ae="CLINIC"), PatientIdentity("P1")
    ) == (made("scores", BEFORE),)


def test_only_scores_of_other_studies_that_are_still_there_are_found(table: JobTable):
    delivering(table, made("scores", BEFORE), made("seg t1", BEFORE), study_uid=BEFORE)
    gone = replace(made("scores", "1.2.8"), file_name="")
    delivering(table, gone, study_uid="1.2.8")
    job = analysing(table)

    assert prior_scores(table.database, job, PatientIdentity("P1")) == (made("scores", BEFORE),)
    assert prior_scores(table.database, job, PatientIdentity("P1", "ISSUER")) == ()
    assert prior_scores(table.database, job, PatientIdentity("P2")) == ()


def test_scores_that_were_never_sent_are_no_prior(table: JobTable):
    before = analysing(table, BEFORE)
    table.store_results(before, [made("scores", BEFORE)], "PACS", "worker 1")
    table.cancel(table.get(before.job_id), "a person")

    assert prior_scores(table.database, analysing(table), PatientIdentity("P1")) == ()


# ---- an archive ----------------------------------------------------------------------------------


@pytest.mark.parametrize("report_class", ["comprehensive 3d", "comprehensive"])
def test_earlier_reports_are_found_in_the_archive_and_fetched_with_c_get(tmp_path, report_class):
    made_by = replace(
        context(), profile=context().profile.model_copy(update={"report_class": report_class})
    )
    reports = [earlier_report(made_by=made_by), earlier_report("20190101")]
    with (
        QueryArchive(reports) as archive,
        node_with_priors(tmp_path, "get", archive.port) as here,
    ):
        priors = here.priors()

    assert dates(priors) == ["2019-01-01", "2023-03-01"]
    assert priors.problems == ()
    assert archive.asked.count("get") == 2


def test_earlier_reports_come_to_the_listener_with_c_move_and_open_no_job(tmp_path):
    config = configured(tmp_path, "move")
    stop = threading.Event()
    listening = threading.Thread(target=listener_process.run, args=(config, stop))
    at = ("127.0.0.1", config.listener.port)
    listening.start()
    try:
        wait_until_it_answers(config)
        with (
            QueryArchive([earlier_report()], move_to=at) as archive,
            node_with_priors(tmp_path, "move", archive.port) as here,
        ):
            priors, again = here.priors(), here.priors()
            jobs = newest_jobs(here.store.table.database)
    finally:
        stop.set()
        listening.join()

    assert dates(priors) == ["2023-03-01"]
    assert again == priors
    assert archive.asked.count("move") == 1
    assert [job.study_uid for job in jobs] == [NOW]


def test_scores_that_the_node_has_cleared_away_come_back_with_c_move(tmp_path):
    findings, scores = earlier_findings_report(), earlier_report()
    config = configured(tmp_path, "move")
    stop = threading.Event()
    listening = threading.Thread(target=listener_process.run, args=(config, stop))
    listening.start()
    try:
        wait_until_it_answers(config)
        with (
            QueryArchive(
                [findings, scores], move_to=("127.0.0.1", config.listener.port)
            ) as archive,
            node_with_priors(tmp_path, "move", archive.port) as here,
        ):
            analysed_before(here.store, scores, findings=findings)
            forget(here.store)
            priors = here.priors()
            states = {job.study_uid: job.state for job in newest_jobs(here.store.table.database)}
    finally:
        stop.set()
        listening.join()

    assert dates(priors) == ["2023-03-01"]
    assert priors.problems == ()
    assert archive.asked.count("move") == 1
    assert states == {NOW: State.ANALYSING, BEFORE: State.CANCELLED}


def test_scores_that_the_node_has_for_another_source_need_not_come(tmp_path):
    scores = earlier_report(IssuerOfPatientID="")
    with (
        QueryArchive([scores]) as archive,
        node_with_priors(tmp_path, "move", archive.port, IssuerOfPatientID="") as here,
    ):
        analysed_before(here.store, scores, source="CLINIC")

        priors = here.priors()

    assert dates(priors) == ["2023-03-01"]
    assert archive.asked.count("move") == 0


def forget(store: Store) -> None:
    table = store.table
    table.cancel(latest_job(table, BEFORE, "PACS"), "a test")
    later = NOON.replace(year=2100)
    assert clear_study(table.database, BEFORE, later, store.spool)


def wait_until_it_answers(config: Config) -> None:
    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", config.listener.port)) == 0

    wait_for(answers, "listener")


def asked(tmp_path: Path, *reports: bytes, way: str = "get", limit_s: float = 20, **how) -> Priors:
    with (
        QueryArchive(reports or [earlier_report()], **how) as archive,
        node_with_priors(tmp_path, way, archive.port, limit_s) as here,
    ):
        return here.priors()


def test_an_archive_without_earlier_studies_is_no_problem(tmp_path):
    assert asked(tmp_path, earlier_report(PatientID="4712")) == NO_PRIORS


def test_an_archive_that_answers_with_other_patients_gives_no_prior(tmp_path):
    others = [
        earlier_report("20220101", PatientID="47110"),
        earlier_report("20220102", IssuerOfPatientID="ELSEWHERE"),
    ]

    assert asked(tmp_path, *others, finds_all=True) == NO_PRIORS


def test_a_wildcard_in_an_identifier_matches_no_other_patient(tmp_path):
    with (
        QueryArchive([earlier_report()], finds_all=True) as archive,
        node_with_priors(tmp_path, "get", archive.port, PatientID="47*") as here,
    ):
        assert here.priors() == NO_PRIORS


def test_a_report_of_another_patient_is_reported_and_ignored(tmp_path):
    wrong = earlier_report(PatientID="4712")

    assert asked(tmp_path, instead=wrong) == Priors((), ("another patient",))


def without_a_group(file: bytes) -> bytes:
    report = dcmread(BytesIO(file))
    (measured,) = (
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    del measured.ContentSequence[-1]
    return to_part10(report, "PACS")


def test_retrieved_objects_are_recorded_by_their_own_identifiers(tmp_path):
    wrong, recording = earlier_report(PatientID="4712"), RecordingPeerEvents()
    with (
        QueryArchive([earlier_report(), earlier_report("20190101")], instead=wrong) as archive,
        node_with_priors(tmp_path, "get", archive.port) as here,
    ):
        here.priors(recording)

    report_class = str(dcmread(BytesIO(wrong)).SOPClassUID)
    assert recording.studies == [ReceivedStudy(BEFORE, "4712", Counter({report_class: 2}))]


def test_only_received_objects_are_recorded_as_retrieved(tmp_path):
    recording = RecordingPeerEvents()
    with (
        QueryArchive([earlier_report()], status=0xA702) as archive,
        node_with_priors(tmp_path, "get", archive.port) as here,
    ):
        here.priors(recording)

    assert recording.studies == []


def test_a_damaged_report_is_reported_and_others_are_compared(tmp_path):
    damaged = without_a_group(earlier_report())

    priors = asked(tmp_path, damaged, earlier_report("20190101"))

    assert dates(priors) == ["2019-01-01"]
    assert priors.problems == ("unreadable",)


@pytest.mark.parametrize(
    "how",
    [
        {"offers": ("get",)},
        {"offers": ("find",)},
        {"offers": ("find",), "way": "move"},
        {"status": 0xA702},
        {"way": "move", "move_to": None},
        {"knows": "OTHERNODE"},
    ],
    ids=str,
)
def test_an_archive_that_rejects_is_reported(tmp_path, how):
    assert asked(tmp_path, **how) == Priors((), ("refused",))


def test_an_unreachable_archive_is_reported(tmp_path):
    with node_with_priors(tmp_path, "get", free_port()) as here:
        assert here.priors() == Priors((), ("unreachable",))


@pytest.mark.parametrize(("silent_on", "way"), [("find", "get"), ("get", "get"), ("move", "move")])
def test_an_archive_that_does_not_respond_delays_nothing(tmp_path, silent_on, way):
    began = time.monotonic()

    assert asked(tmp_path, silent_on=silent_on, way=way, limit_s=1.5) == Priors((), ("late",))

    assert time.monotonic() - began < ANSWER_S
