"""Every kind of result object reaches a real archive and is stored unchanged."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from sij_node.domain.job import DeliveryState, State
from sij_node.store.deliveries import deliveries_of
from tests.support.orthanc import running_orthanc, two_ports
from tests.support.phantom_studies import small_case, written
from tests.support.required_programs import said_by
from tests.support.running_node import running_node

pytestmark = pytest.mark.acceptance

SENT = {
    "seg t1": "1.2.840.10008.5.1.4.1.1.66.4",
    "seg stir": "1.2.840.10008.5.1.4.1.1.66.4",
    "findings t1": "1.2.840.10008.5.1.4.1.1.88.34",
    "findings stir": "1.2.840.10008.5.1.4.1.1.88.34",
    "scores": "1.2.840.10008.5.1.4.1.1.88.34",
    "presentation t1": "1.2.840.10008.5.1.4.1.1.11.1",
    "presentation stir": "1.2.840.10008.5.1.4.1.1.11.1",
    "summary": "1.2.840.10008.5.1.4.1.1.7.4",
    "pdf": "1.2.840.10008.5.1.4.1.1.104.1",
}


@dataclass(frozen=True)
class Archived:
    """What the node has kept of its results, and what the archive holds, by SOP Instance UID."""

    kinds: dict[str, str]
    kept: dict[str, Dataset]
    held: dict[str, Dataset]
    files: list[bytes]


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    study, ports = written(small_case(), tmp_path_factory.mktemp("study")), two_ports()
    folder = tmp_path_factory.mktemp("node")
    with (
        running_node(folder, ports[0], profile="everything") as node,
        running_orthanc(tmp_path_factory.mktemp("orthanc"), node.peer, ports) as orthanc,
    ):
        orthanc.receive(study.files)
        job = node.wait_for_state(study.study_uid, State.DELIVERED)
        deliveries = deliveries_of(node.table.database, job.job_id)
        assert {one.state for one in deliveries} == {DeliveryState.ACKNOWLEDGED}
        results = {one.result.sop_instance_uid: one.result for one in deliveries}
        spool = folder / "data" / "spool" / "results"
        files = orthanc.result_files_of(study.study_uid)
        yield Archived(
            {uid: one.kind for uid, one in results.items()},
            {uid: dcmread(spool / one.file_name) for uid, one in results.items()},
            {str(one.SOPInstanceUID): one for one in map(dcmread, map(BytesIO, files))},
            files,
        )


def test_the_archive_holds_one_of_each_kind(archived):
    assert {archived.kinds[uid]: str(one.SOPClassUID) for uid, one in archived.held.items()} == SENT


def test_nothing_was_changed_on_the_way(archived):
    assert archived.held == archived.kept


def test_dciodvfy_finds_no_error_in_what_the_archive_holds(archived, tmp_path: Path):
    said = []
    for number, content in enumerate(archived.files):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(content)
        said += said_by("dciodvfy", "dicom3tools", file)

    assert said
    assert [line for line in said if line.startswith("Error")] == []
