"""Storage commitment between the node and Orthanc, both ways."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from time import monotonic

import pytest
from pydicom import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from deploy.trial import free_port
from sij_node.config.settings import Config, PeerConfig
from sij_node.deliver.confirm_deliveries import CommitmentAnswers, DeliveryConfirmation
from sij_node.domain.job import DeliveryState, Job, Result, State
from sij_node.network.scu import AssociationRequestor
from sij_node.network.storage_commitment import CommitmentScu
from sij_node.network.store_scu import OutgoingObject, StoreScu
from sij_node.processes.assembly import Store, open_store, storage_service
from sij_node.receive.listener import Listener
from sij_node.store.deliveries import deliveries_of
from tests.support.job_tables import delivering, made
from tests.support.orthanc import ORTHANC, Orthanc, running_orthanc, two_ports
from tests.support.running_listener import mr_image
from tests.support.unrecorded_events import no_events
from tests.support.waiting import wait_for

pytestmark = pytest.mark.acceptance

MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class NodeBesideOrthanc:
    """Listener and confirmation of a node, and an Orthanc with storage commitment."""

    config: Config
    store: Store
    orthanc: Orthanc
    confirmation: DeliveryConfirmation
    answers: CommitmentAnswers

    def deliver(self, *results: Result) -> Job:
        """Send what is pending of a job, as the delivery worker does."""
        table = self.store.table
        job = table.claim_delivery("w")
        (peer,) = self.config.peer
        for one in deliveries_of(table.database, job.job_id):
            if one.state is DeliveryState.PENDING:
                path = self.store.spool.path_of_result(one.result.file_name)
                item = OutgoingObject(MR, one.result.sop_instance_uid, ExplicitVRLittleEndian, path)
                (sent,) = StoreScu("SIJ", self.config.delivery).send(peer, [item])
                table.record_delivery(job, sent.sop_instance_uid, ORTHANC, sent.status, True)
        return table.delivered(job, "w")

    def wait_for(self, job: Job, state: State) -> None:
        def is_reached() -> bool:
            self.confirmation.run(monotonic())
            return self.store.table.get(job.job_id).state is state

        wait_for(is_reached, f"job that is {state}")


def stored_result(store: Store, kind: str) -> Result:
    """A small MR image in the place of a result, for Orthanc takes any object."""
    result = made(kind)
    image = mr_image(result.sop_instance_uid, SeriesInstanceUID=result.series_uid)
    image.ensure_file_meta()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, image, enforce_file_format=True)
    store.spool.keep_result(file.getvalue(), result.file_name)
    return Result(**{**vars(result), "sop_class_uid": MR})


@contextmanager
def node_beside_orthanc(folder: Path) -> Iterator[NodeBesideOrthanc]:
    ports, port = two_ports(), free_port()
    config = Config.model_validate(
        {
            "node": {"ae_title": "SIJ", "data_folder": str(folder / "data")},
            "listener": {"storage_commitment": True, "port": port},
            "spool": {"min_free_mb": 1},
            "peer": [
                {
                    "ae_title": ORTHANC,
                    "networks": ["127.0.0.1"],
                    "host": "127.0.0.1",
                    "port": ports[0],
                    "storage_commitment": "request",
                }
            ],
        }
    )
    (peer,) = config.peer
    seen = PeerConfig(ae_title="SIJ", networks=("127.0.0.1",), host="127.0.0.1", port=port)
    (folder / "orthanc").mkdir()
    with open_store(config) as store, running_orthanc(folder / "orthanc", seen, ports) as orthanc:
        service = storage_service(config, store, no_events())
        listener = Listener(config.listener, "SIJ", config.peer, service)
        listener.start()
        scu = CommitmentScu(AssociationRequestor("SIJ", config.delivery), peer, wait_s=0.5)
        database = store.table.database
        try:
            yield NodeBesideOrthanc(
                config,
                store,
                orthanc,
                DeliveryConfirmation(database, scu, True, 60, 1, 2, {ORTHANC}),
                CommitmentAnswers(database, store.spool, scu, timedelta(days=14), 1, 2),
            )
        finally:
            listener.stop(drain_s=5)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeBesideOrthanc]:
    with node_beside_orthanc(tmp_path_factory.mktemp("beside")) as running:
        yield running


def test_orthanc_confirms_what_it_has_and_gets_again_what_it_lost(beside: NodeBesideOrthanc):
    results = [stored_result(beside.store, kind) for kind in ("scores", "seg t1")]
    delivering(beside.store.table, *results, source_ae=ORTHANC)
    job = beside.deliver()
    lost = beside.orthanc.ask("/tools/lookup", results[1].sop_instance_uid)[0]["Path"]
    beside.orthanc.delete(lost)

    beside.wait_for(job, State.DELIVERING)
    by_uid = {
        one.result.sop_instance_uid: one
        for one in deliveries_of(beside.store.table.database, job.job_id)
    }
    assert by_uid[results[0].sop_instance_uid].committed_at
    assert "no such object instance" in by_uid[results[1].sop_instance_uid].note

    beside.deliver()
    beside.wait_for(job, State.CONFIRMED)


def test_orthanc_learns_which_instances_the_node_holds(beside: NodeBesideOrthanc):
    image = mr_image("1.2.826.9.1", StudyInstanceUID="1.2.826.9")
    beside.orthanc.upload(image)
    beside.orthanc.send_study("1.2.826.9")

    held = asked_by_orthanc(beside, [MR, "1.2.826.9.1"])
    missing = asked_by_orthanc(beside, [MR, "1.2.826.9.2"])

    assert (held["Status"], missing["Status"]) == ("Success", "Failure")
    assert missing["Failures"][0]["FailureReason"] == 0x0112


def asked_by_orthanc(beside: NodeBesideOrthanc, *objects: list[str]) -> dict:
    """What Orthanc knows of its request once the node has reported."""
    asked = beside.orthanc.ask(
        "/modalities/node/storage-commitment", {"DicomInstances": list(objects)}
    )

    def report() -> dict | None:
        beside.answers.run(monotonic())
        answer = beside.orthanc.ask(f"/storage-commitment/{asked['ID']}")
        return None if answer["Status"] == "Pending" else answer

    return wait_for(report, "report of the node")
