"""Files of scanners of many vendors, and deliberately corrupted files.

They do not come with the repository: REAL_DICOM names the folder that holds them.
"""

import os
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from pydicom import Dataset

from models.analyser import Analysis, NoJointSeen
from models.volume import Volume
from sij_node.analyse.pipeline import Ports, analyse_study
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.dicom.pixels import stored_values
from sij_node.dicom.volumes import volume_from
from sij_node.domain.study import ReceivedInstance, Registration
from sij_node.errors import InputRejected
from sij_node.queue.completeness import image_series
from sij_node.results.provenance import to_part10
from sij_node.store.database import open_database
from sij_node.store.job_queries import newest_jobs
from sij_node.store.job_table import JobTable
from sij_node.store.refusals import conflicts_of
from sij_node.store.registration import received_instances
from sij_node.store.stored_instances import read_checked, read_header
from tests.support.malformed_files import part10
from tests.support.raw_peer import ASSOCIATE_AC, associate_request, context
from tests.support.running_listener import Node, listening

FOLDER = os.environ.get("REAL_DICOM", "")
LIMIT_S = 5.0
SUCCESS = 0x0000
CONTEXT_REFUSED = {3: "abstract syntax not supported", 4: "transfer syntaxes not supported"}

if not FOLDER:
    pytest.skip(
        "REAL_DICOM names no folder of real DICOM files; they are not ours to ship",
        allow_module_level=True,
    )
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@dataclass(frozen=True)
class Answered:
    """What the node said to a file."""

    file: Path
    status: int | None
    reason: str
    seconds: float


@dataclass(frozen=True)
class ReceivedFiles:
    """The node after all files have been sent to it."""

    node: Node
    table: JobTable
    answers: tuple[Answered, ...]

    @property
    def studies(self) -> dict[str, tuple[ReceivedInstance, ...]]:
        """What was accepted, by study."""
        jobs = newest_jobs(self.table.database, limit=10_000)
        return {
            job.study_uid: received_instances(self.table.database, job.study_uid) for job in jobs
        }

    @property
    def accepted(self) -> list[ReceivedInstance]:
        """Every accepted image."""
        return [one for received in self.studies.values() for one in received]

    def read(self, received: ReceivedInstance) -> Dataset:
        """An accepted image as the analysis reads it."""
        return read_checked(self.node.spool, received)


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceivedFiles]:
    folder = tmp_path_factory.mktemp("real")
    engine = open_database(f"sqlite:///{folder / 'jobs.sqlite'}")
    table = JobTable(engine)

    def register(instance: ReceivedInstance) -> Registration:
        return table.register(instance, 5, instance.sop_class_uid in IMAGE_CLASSES)

    files = sorted(Path(FOLDER).rglob("*.dcm")) + unpacked(folder / "malformed")
    with listening(folder, register=register) as node:
        yield ReceivedFiles(node, table, tuple(sent(file, node) for file in files))
    engine.dispose()


def unpacked(folder: Path) -> list[Path]:
    """The broken files; an archive of them lies beside the real ones."""
    for archive in Path(FOLDER).rglob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    return sorted(folder.rglob("*.dcm"))


def sent(file: Path, node: Node) -> Answered:
    """Send a file's bytes as they are, on an association of its own."""
    image = part10(file.read_bytes())
    request = associate_request(contexts=context(1, image.sop_class_uid, image.transfer_syntax_uid))
    refusals, began = len(node.refusals), time.monotonic()
    with node.peer() as peer:
        peer.socket.settimeout(LIMIT_S)
        kind, body = peer.associate(request)
        assert kind == ASSOCIATE_AC, file
        result = context_result(body)
        if result:
            return Answered(file, None, CONTEXT_REFUSED[result], time.monotonic() - began)
        peer.begin_store(image.sop_instance_uid, image.sop_class_uid)
        peer.send_dataset(image.dataset)
        status = peer.read_status()
        seconds = time.monotonic() - began
        peer.release()
    reason = "; ".join(refusal.reason for refusal in node.refusals[refusals:])
    return Answered(file, status, reason, seconds)


def context_result(accepted: bytes) -> int:
    """Result of the first presentation context of an A-ASSOCIATE-AC (PS3.8 Table 9-18)."""
    at = 68
    while accepted[at] != 0x21:
        at += 4 + int.from_bytes(accepted[at + 2 : at + 4], "big")
    return accepted[at + 6]


def no_joint(t1: Volume, stir: Volume) -> Analysis:
    raise NoJointSeen


def test_every_file_is_stored_or_refused_with_a_reason_in_time(visit):
    slow = [answer for answer in visit.answers if answer.seconds > LIMIT_S]
    silent = [a for a in visit.answers if a.status != SUCCESS and not a.reason]

    assert visit.answers
    assert (slow, silent) == ([], [])


def test_the_listener_answers_after_all_of_them(visit):
    with visit.node.associated() as peer:
        assert peer.echo() == SUCCESS


def test_every_accepted_study_is_answered_with_a_named_reason(visit):
    for received in visit.studies.values():
        check_answered_with_a_reason(received, visit)


def test_only_studies_with_conflicting_images_are_marked_doubtful(visit):
    """Among the broken files are changed copies of real ones."""
    changed = {one.sop_instance_uid for one in visit.node.refusals if one.quarantined_as}

    assert {uid for uid in visit.studies if conflicts_of(visit.table.database, uid)} == {
        one.study_uid for one in visit.accepted if one.sop_instance_uid in changed
    }


def test_each_accepted_instance_sent_alone_gets_a_named_reason(visit):
    for received in visit.accepted:
        check_answered_with_a_reason([received], visit)


def check_answered_with_a_reason(
    received: Sequence[ReceivedInstance], visit: ReceivedFiles
) -> None:
    """None of these files shows a sacroiliac joint; each study gets a notice that can be sent."""
    spool = visit.node.spool
    ports = Ports(partial(read_header, spool), partial(read_checked, spool), no_joint)
    results = analyse_study(received, (), ports)
    assert isinstance(results.rejected, InputRejected)
    assert all(to_part10(made.dataset, "NODE") for made in results.objects)


def test_every_accepted_series_is_a_volume_or_rejected_by_name(visit):
    for received in visit.studies.values():
        for images in image_series(received).values():
            check_read_or_rejected(
                lambda images=images: volume_from([visit.read(one) for one in images])
            )


def test_the_pixels_of_every_accepted_instance_are_read_or_rejected_by_name(visit):
    read = [
        check_read_or_rejected(lambda received=received: stored_values(visit.read(received)))
        for received in visit.accepted
    ]

    assert any(read)
    assert not all(read)


def check_read_or_rejected(read: Callable[[], object]) -> bool:
    """Read something, in time; False where it is rejected, any other error goes on."""
    began, is_read = time.monotonic(), False
    with suppress(InputRejected):
        read()
        is_read = True
    assert time.monotonic() - began < LIMIT_S
    return is_read
