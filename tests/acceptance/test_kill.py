"""The node's processes are killed at critical moments; results still arrive, exactly once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.archive import Archive
from deploy.trial import NODE
from sij_node.config.settings import DeliveryConfig
from sij_node.domain.job import DeliveryState, Job, State, Step
from sij_node.network.dicom_folder import contents_of
from sij_node.network.store_scu import StoreScu
from sij_node.store.deliveries import deliveries_of
from sij_node.store.job_queries import newest_jobs, steps_of
from sij_node.store.registration import received_instances
from tests.support.malformed_files import part10
from tests.support.phantom_studies import PhantomStudy, written
from tests.support.raw_peer import P_DATA, RawPeer, associate_request, fragment
from tests.support.running_node import (
    ANALYSIS,
    ARCHIVE,
    LISTENER,
    WORKER,
    RunningNode,
    running_node,
)
from tests.support.waiting import wait_for
from trainer.phantom.case import PhantomCase

pytestmark = pytest.mark.acceptance

HANDED_OVER_S = 2
"""A worker that has a study gives it to its child within this time."""

TRACKER = "multiprocessing.resource_tracker"
"""In the command line of what Python starts with a worker; it ends by itself, a moment later."""

ANALYSED_ONCE = [Step.CLAIMED, Step.RESULTS_STORED, Step.DELIVERY_CLAIMED, Step.ACKNOWLEDGED]
ANALYSED_AGAIN = [Step.CLAIMED, Step.TRY_AGAIN, Step.RELEASED, *ANALYSED_ONCE]


@dataclass
class ArchiveWithNode:
    """An archive, the node, and a study that the archive wants to have analysed."""

    archive: Archive
    node: RunningNode
    study: PhantomStudy

    def send(self) -> None:
        """Send the whole study; every image must be acknowledged."""
        objects = contents_of(self.study.files[0].parent).objects
        sent = list(StoreScu(ARCHIVE, DeliveryConfig()).send(self.node.peer, objects))
        assert [one.status for one in sent] == [0x0000] * len(self.study.files)

    def wait_for(self, state: State) -> Job:
        return self.node.wait_for_state(self.study.study_uid, state)

    def steps(self) -> list[Step]:
        """The history of the study's one job since it was queued."""
        jobs = newest_jobs(self.node.table.database)
        (job,) = (job for job in jobs if job.study_uid == self.study.study_uid)
        steps = [step.step for step in steps_of(self.node.table.database, job.job_id)]
        return steps[steps.index(Step.SETTLED) + 1 :]

    def check_delivered_once(self) -> None:
        """One report and two segmentations are at the archive, and the node knows it."""
        job = self.wait_for(State.DELIVERED)
        assert job.instances == len(self.study.files)
        held = [
            dataset
            for dataset in self.archive.objects()
            if dataset.StudyInstanceUID == self.study.study_uid
        ]
        assert sorted(dataset.Modality for dataset in held) == ["OT", "SEG", "SEG", "SR"]
        deliveries = deliveries_of(self.node.table.database, job.job_id)
        assert {one.result.sop_instance_uid for one in deliveries} == {
            dataset.SOPInstanceUID for dataset in held
        }
        assert {one.state for one in deliveries} == {DeliveryState.ACKNOWLEDGED}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("archive"), ARCHIVE) as archive:
        yield archive


@pytest.fixture(scope="module")
def node(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """One for all tests: it survives them."""
    with running_node(tmp_path_factory.mktemp("node"), archive.port, quiet_s=60) as node:
        yield node


@pytest.fixture
def archive_with_node(
    archive: Archive, node: RunningNode, case: PhantomCase, tmp_path: Path
) -> ArchiveWithNode:
    return ArchiveWithNode(archive, node, written(case, tmp_path / "study"))


def test_a_listener_killed_mid_image_has_all_it_acknowledged(archive_with_node):
    images = [part10(file.read_bytes()) for file in archive_with_node.study.files[:8]]
    *whole, last = images
    with RawPeer(archive_with_node.node.peer.port) as pacs:
        pacs.associate(associate_request(NODE.encode(), ARCHIVE.encode()))
        answers = [pacs.store(image.sop_instance_uid, image.dataset) for image in whole]
        pacs.begin_store(last.sop_instance_uid)
        pacs.send(P_DATA, fragment(1, 0, last.dataset[: len(last.dataset) // 2]))
        archive_with_node.node.kill(LISTENER)
        assert pacs.is_closed_within(10)

    archive_with_node.node.wait_until_it_listens()

    kept = {
        one.sop_instance_uid
        for one in received_instances(
            archive_with_node.node.table.database, archive_with_node.study.study_uid
        )
    }
    assert answers == [0x0000] * len(whole)
    assert kept == {image.sop_instance_uid for image in whole}
    archive_with_node.send()
    archive_with_node.check_delivered_once()
    assert archive_with_node.steps() == ANALYSED_ONCE


@pytest.mark.parametrize("role", [WORKER, ANALYSIS], ids=["worker", "analysing child"])
def test_a_study_is_analysed_again_when_its_process_is_killed(archive_with_node, role):
    with archive_with_node.node.held_still(ANALYSIS):
        archive_with_node.send()
        archive_with_node.wait_for(State.ANALYSING)
        time.sleep(HANDED_OVER_S)
        archive_with_node.node.kill(role)

    archive_with_node.check_delivered_once()
    assert archive_with_node.steps() == ANALYSED_AGAIN
    assert sum(ANALYSIS in command for command in archive_with_node.node.processes().values()) == 1


def test_a_worker_killed_while_delivering_duplicates_no_result(archive_with_node):
    before = archive_with_node.archive.stores
    archive_with_node.send()
    wait_for(lambda: archive_with_node.archive.stores > before, "result at the archive")

    archive_with_node.node.kill(WORKER)

    archive_with_node.check_delivered_once()
    assert archive_with_node.steps().count(Step.RESULTS_STORED) == 1


def test_a_stopped_node_exits_cleanly_and_resumes_later(archive_with_node):
    archive_with_node.send()
    archive_with_node.wait_for(State.ANALYSING)

    status = archive_with_node.node.stop()

    job = archive_with_node.node.job_of(archive_with_node.study.study_uid)
    assert status == 0
    assert [one for one in archive_with_node.node.processes().values() if TRACKER not in one] == []
    assert job.state in {State.QUEUED, State.DELIVERING, State.DELIVERED}
    assert job.leased_by == ""
    archive_with_node.node.start()
    archive_with_node.check_delivered_once()
