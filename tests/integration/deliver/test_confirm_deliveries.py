"""Storage commitment both ways, with an archive that answers late, never, partly, twice."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from sij_node.config.settings import Config, ListenerConfig
from sij_node.deliver.confirm_deliveries import CommitmentAnswers, DeliveryConfirmation
from sij_node.dicom.commitment_dataset import request_dataset
from sij_node.domain.job import DeliveryState, Job, State, Step
from sij_node.domain.storage_commitment import CommitmentRequest
from sij_node.errors import PairMissing
from sij_node.network.scu import AssociationRequestor
from sij_node.network.storage_commitment import CommitmentScu
from sij_node.processes.assembly import Store, open_store, storage_service
from sij_node.processes.listener_process import commitment_tasks
from sij_node.receive.listener import Listener
from sij_node.store.clear_spool import clear_spool
from sij_node.store.commitments import MAX_REQUESTS, commitment_counts
from sij_node.store.deliveries import add_deliveries, deliveries_of, record
from sij_node.store.job_queries import steps_of
from sij_node.store.registration import received_instances
from tests.support.committing_archive import (
    PUSH_MODEL_INSTANCE,
    CommittingArchive,
    committing_archive,
)
from tests.support.job_tables import analysing, delivering, made
from tests.support.running_listener import mr_image
from tests.support.unrecorded_events import no_events
from tests.support.waiting import wait_for

SCORES, SEG, NOTICE = made("scores"), made("seg t1"), made("not analysed")
UIDS = {SCORES.sop_instance_uid, SEG.sop_instance_uid}
TIMEOUT_S = 100


class ConfirmingNode:
    """Listener, store and confirmation of a node; a test moves its time."""

    def __init__(self, config: Config, store: Store, archive: CommittingArchive) -> None:
        self.config, self.store, self.table = config, store, store.table
        bound = socket.create_server(("127.0.0.1", 0))
        service = storage_service(config, store, no_events())
        self.listener = Listener(config.listener, "SIJ", config.peer, service, bound=bound)
        self.listener.start()
        archive.node_port = bound.getsockname()[1]
        (peer,) = config.peer
        caller = AssociationRequestor("SIJ", config.delivery)
        scu = CommitmentScu(caller, peer, wait_s=0.5)
        by_request = peer.storage_commitment == "request"
        self._confirmation = DeliveryConfirmation(
            store.table.database, scu, by_request, TIMEOUT_S, 5, 20, {"ARCHIVE"}
        )
        self._answers = CommitmentAnswers(
            store.table.database, store.spool, scu, timedelta(days=14), 5, 20
        )
        self._now = 0.0

    def wait(self, seconds: float = 0.0) -> None:
        """Let time pass for both, in steps that are no pause of the machine."""
        until = self._now + seconds
        while True:
            self._confirmation.run(self._now)
            self._answers.run(self._now)
            if self._now >= until:
                return
            self._now += 4

    def deliver(self) -> Job:
        """Deliver whatever is pending."""
        job = self.table.claim_delivery("worker 1")
        assert job is not None
        for one in deliveries_of(self.table.database, job.job_id):
            if one.state is DeliveryState.PENDING:
                uid = one.result.sop_instance_uid
                self.table.record_delivery(job, uid, "ARCHIVE", 0, True)
        return self.table.delivered(job, "worker 1")

    def delivered(self) -> Job:
        """A job with two results that the archive has acknowledged."""
        delivering(self.table, SCORES, SEG, source_ae="ARCHIVE")
        return self.deliver()

    def state(self, job: Job) -> State:
        return self.table.get(job.job_id).state

    def wait_until(self, job: Job, state: State) -> None:
        wait_for(lambda: self.state(job) is state, f"job that is {state}")

    def steps(self, job: Job) -> list[Step]:
        return [one.step for one in steps_of(self.table.database, job.job_id)]


@contextmanager
def confirming_node(
    folder: Path, archive: CommittingArchive, database_url: str = "", asks: str = "request"
) -> Iterator[ConfirmingNode]:
    config = Config.model_validate(
        {
            "node": {"ae_title": "SIJ", "data_folder": str(folder / "data")},
            "database": {"url": database_url},
            "listener": {"storage_commitment": True},
            "delivery": {"response_timeout_s": 5, "connect_timeout_s": 2},
            "spool": {"min_free_mb": 1},
            "peer": [
                {
                    "ae_title": "ARCHIVE",
                    "networks": ["127.0.0.1"],
                    "host": "127.0.0.1",
                    "port": archive.port,
                    "storage_commitment": asks,
                }
            ],
        }
    )
    with open_store(config) as store:
        node = ConfirmingNode(config, store, archive)
        try:
            yield node
        finally:
            node.listener.stop(drain_s=5)


@pytest.fixture
def archive() -> Iterator[CommittingArchive]:
    with committing_archive() as running:
        running.stored += UIDS
        yield running


@pytest.fixture
def node(tmp_path: Path, archive: CommittingArchive) -> Iterator[ConfirmingNode]:
    with confirming_node(tmp_path, archive) as running:
        yield running


# ---- the node asks -------------------------------------------------------------------------------


@pytest.mark.parametrize("on_same_association", [True, False])
def test_a_delivered_job_is_confirmed_by_the_report(
    tmp_path, archive, database_url, on_same_association
):
    archive.on_same_association = on_same_association
    with confirming_node(tmp_path, archive, database_url) as node:
        job = node.delivered()

        node.wait()
        node.wait_until(job, State.CONFIRMED)
        wait_for(lambda: archive.statuses == [0], "response to the report")

        (request,) = archive.requests
        assert {one.ReferencedSOPInstanceUID for one in request.ReferencedSOPSequence} == UIDS
        assert node.steps(job)[-1] is Step.COMMITTED
        assert all(one.committed_at for one in deliveries_of(node.table.database, job.job_id))
        node.wait(4 * TIMEOUT_S)
        assert len(archive.requests) == 1


def test_a_report_that_comes_twice_changes_nothing(node, archive):
    job = node.delivered()
    node.wait()
    node.wait_until(job, State.CONFIRMED)
    revision = node.table.get(job.job_id).revision

    archive.report(archive.requests[0])

    assert archive.statuses[-1] == 0
    assert node.table.get(job.job_id).revision == revision


def test_a_late_report_counts_even_after_c_find_failed(tmp_path):
    with (
        committing_archive(finds=False) as archive,
        confirming_node(tmp_path, archive) as node,
    ):
        archive.reports = False
        job = node.delivered()
        node.wait(TIMEOUT_S + 8)
        assert node.state(job) is State.DELIVERED

        archive.report(archive.requests[0])

        assert node.state(job) is State.CONFIRMED


def test_without_a_report_c_find_shows_what_is_stored(node, archive):
    archive.reports = False
    job = node.delivered()

    node.wait(TIMEOUT_S - 8)
    assert node.state(job) is State.DELIVERED
    node.wait(16)

    assert node.state(job) is State.CONFIRMED


@pytest.mark.parametrize("reports", [True, False], ids=["by report", "by C-FIND"])
def test_results_that_are_not_there_are_sent_again(node, archive, reports):
    archive.reports = reports
    archive.has_lost = {SEG.sop_instance_uid}
    job = node.delivered()

    node.wait(TIMEOUT_S + 8)
    node.wait_until(job, State.DELIVERING)

    by_uid = {
        one.result.sop_instance_uid: one for one in deliveries_of(node.table.database, job.job_id)
    }
    assert by_uid[SEG.sop_instance_uid].state is DeliveryState.PENDING
    assert "0x0112 no such object instance" in by_uid[SEG.sop_instance_uid].note
    assert by_uid[SCORES.sop_instance_uid].state is DeliveryState.ACKNOWLEDGED
    failed = steps_of(node.table.database, job.job_id)[-1]
    assert failed.note == "ARCHIVE has not stored seg t1: 0x0112 no such object instance"

    archive.has_lost = set()
    node.deliver()
    node.wait(TIMEOUT_S + 16)
    node.wait_until(job, State.CONFIRMED)


def test_a_destination_that_never_has_the_results_fails_the_job(node, archive):
    archive.on_same_association = True
    archive.has_lost = {SEG.sop_instance_uid}
    job = node.delivered()

    for _ in range(MAX_REQUESTS - 1):
        node.wait(24)
        node.deliver()
    node.wait(24)

    after = node.table.get(job.job_id)
    assert after.state is State.FAILED
    assert after.reason.startswith("ARCHIVE has not stored seg t1")
    assert len(archive.requests) == MAX_REQUESTS


def test_instances_missing_in_a_report_are_requested_again(node, archive):
    archive.on_same_association = True
    archive.omits = {SEG.sop_instance_uid}
    job = node.delivered()
    node.wait()
    assert node.state(job) is State.DELIVERED

    archive.omits = set()
    node.wait(8)

    assert node.state(job) is State.CONFIRMED
    assert [
        {one.ReferencedSOPInstanceUID for one in request.ReferencedSOPSequence}
        for request in archive.requests
    ] == [UIDS, {SEG.sop_instance_uid}]


def test_an_archive_without_storage_commitment_is_asked_by_c_find(tmp_path):
    with (
        committing_archive(commits=False) as archive,
        confirming_node(tmp_path, archive) as node,
    ):
        archive.stored += UIDS
        job = node.delivered()

        node.wait()

        assert node.state(job) is State.CONFIRMED


def test_a_peer_may_be_asked_by_c_find_alone(tmp_path, archive):
    with confirming_node(tmp_path, archive, asks="find") as node:
        job = node.delivered()
        node.wait()

        assert node.state(job) is State.CONFIRMED
        assert archive.requests == []


def test_an_archive_that_supports_neither_is_not_asked_forever(tmp_path):
    with (
        committing_archive(commits=False, finds=False) as archive,
        confirming_node(tmp_path, archive) as node,
    ):
        job = node.delivered()
        node.wait(200)

        assert node.state(job) is State.DELIVERED
        counts = commitment_counts(node.table.database)
        assert counts == {("ARCHIVE", "unanswered"): MAX_REQUESTS}


def test_an_archive_that_is_away_is_asked_when_it_is_back(tmp_path):
    with ExitStack() as running:
        with committing_archive() as archive:
            node = running.enter_context(confirming_node(tmp_path, archive))
        job = node.delivered()
        node.wait(400)
        assert node.state(job) is State.DELIVERED

        with committing_archive(port=archive.port) as back:
            back.node_port = archive.node_port
            node.wait(24)
            node.wait_until(job, State.CONFIRMED)


def test_the_notice_of_a_rejected_study_is_confirmed_and_stays_rejected(node, archive):
    archive.on_same_association = True
    node.table.reject(
        analysing(node.table, source_ae="ARCHIVE"), PairMissing("no STIR"), [NOTICE], "ARCHIVE", "w"
    )
    job = node.deliver()

    node.wait()

    assert node.state(job) is State.REJECTED
    assert node.steps(job)[-1] is Step.COMMITTED


def test_results_sent_again_by_a_user_are_confirmed_anew(node, archive):
    archive.on_same_association = True
    job = node.delivered()
    node.wait()

    node.table.redeliver(node.table.get(job.job_id), "mia")
    assert not any(one.committed_at for one in deliveries_of(node.table.database, job.job_id))
    node.deliver()
    node.wait()

    assert node.state(job) is State.CONFIRMED
    assert len(archive.requests) == 2


def test_a_destination_that_confirms_nothing_is_not_waited_for(node, archive):
    archive.on_same_association = True
    job = node.delivered()
    with node.table.database.writing() as connection:
        add_deliveries(connection, job.job_id, [SCORES], "STOW")
        record(
            connection,
            job.job_id,
            SCORES.sop_instance_uid,
            "STOW",
            status=0,
            acknowledged=True,
            note="",
        )

    node.wait()

    assert node.state(job) is State.CONFIRMED


def test_a_report_of_an_unknown_transaction_is_refused(node, archive):
    node.delivered()
    invented = request_dataset(CommitmentRequest("1.2.3.4", ((SEG.sop_class_uid, "1.2"),)))

    archive.report(invented)

    assert archive.statuses == [0x0115]


# ---- the node is asked ---------------------------------------------------------------------------


def asked(
    node: ConfirmingNode, *objects: tuple[str, str], waits_s: float = 0
) -> tuple[int, list[Dataset]]:
    """Ask the node to commit; returns the status of its N-ACTION-RSP and its reports."""
    reports: list[Dataset] = []

    def take(event: evt.Event) -> tuple[int, None]:
        reports.append(event.event_information)
        return 0, None

    port = node.config.peer[0].port
    entity = AE("ARCHIVE")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)]
    )
    entity.add_requested_context(StorageCommitmentPushModel)
    try:
        association = entity.associate("127.0.0.1", node.listener.port, ae_title="SIJ")
        status, _ = association.send_n_action(
            request_dataset(CommitmentRequest("1.2.3.4.5", objects)),
            1,
            StorageCommitmentPushModel,
            PUSH_MODEL_INSTANCE,
        )
        association.release()
        node.wait(waits_s)
    finally:
        server.shutdown()
    return status.Status, reports


@pytest.fixture
def asked_node(tmp_path: Path) -> Iterator[ConfirmingNode]:
    """A node that holds one image, and whose archive listens when it asks."""
    with committing_archive() as archive:
        pass
    with confirming_node(tmp_path, archive) as node:
        entity = AE("ARCHIVE")
        image = mr_image("1.2.3")
        entity.add_requested_context(image.SOPClassUID, "1.2.840.10008.1.2.1")
        image.ensure_file_meta()
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        association = entity.associate("127.0.0.1", node.listener.port, ae_title="SIJ")
        assert association.send_c_store(image).Status == 0
        association.release()
        yield node


MR = "1.2.840.10008.5.1.4.1.1.4"


def test_a_peer_learns_which_instances_the_node_holds(asked_node):
    status, (report,) = asked(
        asked_node, (MR, "1.2.3"), (MR, "9.9.9"), (SEG.sop_class_uid, "1.2.3")
    )

    assert status == 0
    assert report.TransactionUID == "1.2.3.4.5"
    assert "ReferencedSOPSequence" not in report
    assert {
        (one.ReferencedSOPInstanceUID, one.FailureReason) for one in report.FailedSOPSequence
    } == {("9.9.9", 0x0112), ("1.2.3", 0x0119)}


def test_what_is_committed_stays_as_long_as_was_said(asked_node):
    _, (report,) = asked(asked_node, (MR, "1.2.3"))
    assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == ["1.2.3"]
    table, spool = asked_node.table, asked_node.store.spool
    (image,) = received_instances(table.database, "1.2.826.1")
    with table.database.writing() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'cancelled'")

    clear_spool(table.database, spool, 0.001, datetime.now(UTC) + timedelta(days=13))
    assert spool.path_of(image.file_name).exists()

    with table.database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE committed_studies SET kept_until = '2020-01-01 00:00:00'"
        )
    clear_spool(table.database, spool, 0.001, datetime.now(UTC) + timedelta(days=13))
    assert not spool.path_of(image.file_name).exists()


def test_an_image_whose_file_is_gone_is_not_committed(asked_node):
    (image,) = received_instances(asked_node.table.database, "1.2.826.1")
    asked_node.store.spool.remove(image.file_name)

    _, (report,) = asked(asked_node, (MR, "1.2.3"))

    assert [one.FailureReason for one in report.FailedSOPSequence] == [0x0112]


def test_an_answer_that_cannot_be_delivered_is_delivered_later(asked_node):
    association = requesting(asked_node)
    request = request_dataset(CommitmentRequest("1.2.3.4.6", ((MR, "1.2.3"),)))
    association.send_n_action(request, 1, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE)
    association.release()
    asked_node.wait()  # nobody listens

    _, reports = asked(asked_node, (MR, "1.2.3"), waits_s=24)

    assert {one.TransactionUID for one in reports} == {"1.2.3.4.5", "1.2.3.4.6"}


def requesting(node: ConfirmingNode):
    entity = AE("ARCHIVE")
    entity.add_requested_context(StorageCommitmentPushModel)
    return entity.associate("127.0.0.1", node.listener.port, ae_title="SIJ")


@pytest.mark.parametrize(
    ("action", "instance", "transaction", "status"),
    [
        (2, PUSH_MODEL_INSTANCE, "1.2.3", 0x0123),
        (1, "1.2.3", "1.2.3", 0x0112),
        (1, PUSH_MODEL_INSTANCE, "", 0x0115),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    asked_node, action, instance, transaction, status
):
    request = request_dataset(CommitmentRequest(transaction, ((MR, "1.2.3"),)))
    association = requesting(asked_node)

    answer, _ = association.send_n_action(request, action, StorageCommitmentPushModel, instance)
    association.release()

    assert answer.Status == status


def test_each_peer_has_its_own_tasks(tmp_path, archive):
    with confirming_node(tmp_path, archive) as node:
        tasks = commitment_tasks(node.config, node.store)

    assert [one.name for one in tasks] == ["confirm deliveries to ARCHIVE", "answer ARCHIVE"]


def test_a_node_that_is_not_set_up_for_it_does_not_accept_the_class(tmp_path):
    with committing_archive() as archive, confirming_node(tmp_path, archive, "", "off") as node:
        assert [one.name for one in commitment_tasks(node.config, node.store)] == ["answer ARCHIVE"]
        service = storage_service(without_answers(node.config), node.store, no_events())

    assert service.commitment.classes_for("ARCHIVE") == frozenset()


def without_answers(config: Config) -> Config:
    return config.model_copy(update={"listener": ListenerConfig()})
