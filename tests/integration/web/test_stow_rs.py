"""STOW-RS into the node: the same reception as C-STORE, and nothing kept of a bad request."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from sij_node.config.settings import PeerConfig
from sij_node.config.user_roles import Role
from sij_node.domain.job import State
from sij_node.store.job_queries import jobs_of_study
from sij_node.store.refusals import newest_refusals
from sij_node.store.registration import received_instances
from tests.integration.queue.test_incomplete_studies import STUDY, stir, t1
from tests.support.mr_series import T1_TIMES, classic_series
from tests.support.orthanc import running_orthanc, two_ports
from tests.support.running_web import RunningWeb, running_web

NUMBERS = np.arange(6 * 12, dtype=np.uint16).reshape(6, 3, 4)
DICOM = 'multipart/related; type="application/dicom"; boundary=b'
MODALITY = PeerConfig(ae_title="ORTHANC", networks=("127.0.0.1",), host="127.0.0.1", port=104)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    folder = tmp_path_factory.mktemp("web")
    peer = {"stow_user": "viewer0", "networks": ["127.0.0.0/8"]}
    with running_web(folder, peer=peer, spool={"min_free_mb": 1}) as web:
        yield web


@pytest.fixture(scope="module")
def gateway(web: RunningWeb) -> Iterator[httpx.Client]:
    """The program that stores studies for the peer PACS."""
    with web.program() as client:
        yield client


def file(dataset: Dataset) -> bytes:
    written = BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def body(*files: bytes, end: bytes = b"--b--\r\n") -> bytes:
    parts = (b"--b\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in files)
    return b"".join(parts) + end


def store(client: httpx.Client, content: bytes, kind: str = DICOM) -> httpx.Response:
    return client.post("/dicom-web/studies", content=content, headers={"Content-Type": kind})


def image(study_uid: str, number: int = 0, **changes: object) -> Dataset:
    made = classic_series(NUMBERS, f"{study_uid}.1", **T1_TIMES, StudyInstanceUID=study_uid)[number]
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def reasons(answer: httpx.Response) -> dict[str, int]:
    failed = answer.json().get("00081198", {"Value": []})["Value"]
    return {one["00081155"]["Value"][0]: one["00081197"]["Value"][0] for one in failed}


def stored(answer: httpx.Response) -> list[str]:
    listed = answer.json().get("00081199", {"Value": []})["Value"]
    return [one["00081155"]["Value"][0] for one in listed]


def instances(web: RunningWeb, study_uid: str) -> list[str]:
    found = received_instances(web.table.database, study_uid)
    return [one.sop_instance_uid for one in found]


def incoming(web: RunningWeb) -> list[Path]:
    return list((web.config.node.data_folder / "spool" / "incoming").iterdir())


def test_a_stored_study_opens_a_job_of_the_peer(web: RunningWeb, gateway: httpx.Client):
    sent = [*t1(), *stir()]

    answer = store(gateway, body(*map(file, sent)))

    (job,) = jobs_of_study(web.table.database, STUDY)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/dicom+json")
    assert stored(answer) == [one.SOPInstanceUID for one in sent]
    assert (job.source_ae, job.state, job.instances) == ("PACS", State.RECEIVING, len(sent))
    for one in received_instances(web.table.database, STUDY):
        assert web.store.spool.digest_of(one.file_name) == one.sha256
    assert incoming(web) == []
    assert reasons(store(gateway, body(*map(file, sent)))) == {}


def test_each_instance_has_the_status_that_c_store_would_give(web, gateway):
    study = "1.2.70"
    good, other, deflated, strange = (image(study, number) for number in range(4))
    store(gateway, body(file(image(study, 4))))
    conflict = image(study, 4, PixelData=bytes(len(good.PixelData)))
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    strange.file_meta.MediaStorageSOPClassUID = strange.SOPClassUID = "1.2.3.4"
    cut_off = file(image(study, 5))[:-100]

    mixed_up = file(other).replace(b"1.2.70.1.2", b"1.2.70.1.9", 1)

    accepted = map(file, (good, deflated, strange, conflict))
    answer = store(gateway, body(*accepted, mixed_up, cut_off))

    assert answer.status_code == 202
    assert stored(answer) == [good.SOPInstanceUID]
    assert reasons(answer) == {
        "1.2.70.1.9": 0xA900,
        deflated.SOPInstanceUID: 0xC122,
        strange.SOPInstanceUID: 0x0122,
        conflict.SOPInstanceUID: 0xC001,
        f"{study}.1.6": 0xC000,
    }
    assert instances(web, study) == [good.SOPInstanceUID, f"{study}.1.5"]
    refused = {one.sop_instance_uid for one in newest_refusals(web.table.database, 5)}
    assert {deflated.SOPInstanceUID, strange.SOPInstanceUID} <= refused


def test_a_request_of_which_nothing_is_stored_is_a_conflict(gateway: httpx.Client):
    strange = image("1.2.71")
    strange.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    assert store(gateway, body(file(strange))).status_code == 409


GOOD = file(image("1.2.72"))
MALFORMED = {
    "no last boundary": (body(GOOD, GOOD, end=b""), DICOM, "probably not sent completely"),
    "cut off in a part": (body(GOOD, GOOD)[:-60], DICOM, "probably not sent completely"),
    "no DICOM file": (body(GOOD, b"hello"), DICOM, "Part 2: This is not a DICOM file"),
    "metadata": (
        body(GOOD) + b"",
        DICOM.replace("boundary=b", "boundary=other"),
        "begins without its boundary",
    ),
    "another media type in a part": (
        body(GOOD).replace(b"application/dicom", b"application/dicom+json", 1),
        DICOM,
        "Part 1 is not application/dicom",
    ),
    "no multipart": (GOOD, "application/dicom", "multipart/related"),
    "no boundary": (body(GOOD), "multipart/related", "boundary"),
    "no part": (b"--b--", DICOM, "no parts"),
    "empty": (b"", DICOM, "empty"),
}


@pytest.mark.parametrize(("content", "kind", "words"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_gets_400_and_nothing_is_kept(web, gateway, content, kind, words):
    answer = store(gateway, content, kind)

    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert instances(web, "1.2.72") == []
    assert incoming(web) == []
    assert words in newest_refusals(web.table.database, 1)[0].reason


def test_only_the_user_of_a_peer_may_store_and_only_with_a_token(web: RunningWeb, gateway):
    content = body(GOOD)
    with (
        web.program(Role.ADMINISTRATOR) as other,
        web.visitor() as nobody,
        web.browser(Role.ADMINISTRATOR) as signed_in,
    ):
        answers = [store(client, content) for client in (other, nobody, signed_in)]

    assert [one.status_code for one in answers] == [403, 401, 401]
    assert "stow_user" in answers[0].json()["detail"]
    assert instances(web, "1.2.72") == []


@contextmanager
def limited_web(folder: Path, **sections: Any) -> Iterator[tuple[RunningWeb, httpx.Client]]:
    peer = {"stow_user": "viewer0", **sections.pop("peer", {})}
    with running_web(folder, peer=peer, **sections) as web, web.program() as client:
        yield web, client


def test_requests_and_instances_have_limits(tmp_path: Path):
    large = image("1.2.73", PixelData=bytes(1_100_000))
    limits = {"listener": {"max_instance_mb": 1}, "web": {"max_stow_mb": 2}}
    with limited_web(tmp_path, spool={"min_free_mb": 1}, **limits) as (web, client):
        instance = store(client, body(file(large)))
        request = store(client, body(file(large), file(large)))

        assert (instance.status_code, request.status_code) == (400, 413)
        assert "longer than 1 MB" in instance.json()["detail"]
        assert instances(web, "1.2.73") == incoming(web) == []


@pytest.mark.parametrize(
    ("sections", "status"),
    [({"spool": {"min_free_mb": 10**9}}, 503), ({"peer": {"networks": ["10.0.0.0/8"]}}, 403)],
)
def test_a_full_disk_or_a_wrong_address_is_reported(tmp_path: Path, sections, status: int):
    with limited_web(tmp_path, **sections) as (web, client):
        assert store(client, body(GOOD)).status_code == status
        assert instances(web, "1.2.72") == incoming(web) == []


def test_an_archive_stores_a_study_in_the_node(web: RunningWeb, gateway, tmp_path: Path):
    ports, study = two_ports(), "1.2.74"
    sent = [image(study, number) for number in range(3)]
    servers = {
        "node": {
            "Url": f"{web.url}/dicom-web/",
            "HttpHeaders": {"Authorization": gateway.headers["authorization"]},
        }
    }
    with running_orthanc(tmp_path, MODALITY, ports, dicomweb={"Servers": servers}) as orthanc:
        found = [orthanc.add(file(one))["ID"] for one in sent]
        orthanc.ask("/dicom-web/servers/node/stow", {"Resources": found, "Synchronous": True})

    assert instances(web, study) == [one.SOPInstanceUID for one in sent]
    (job,) = jobs_of_study(web.table.database, study)
    assert job.source_ae == "PACS"
    assert job.instances == 3
