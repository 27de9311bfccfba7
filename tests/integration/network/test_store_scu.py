"""Storage SCU: stored bytes are sent unchanged, and every response status is handled."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pynetdicom import AE, evt

from deploy.demo.archive import Archive
from deploy.trial import free_port
from sij_node.config.settings import DeliveryConfig, PeerConfig
from sij_node.errors import DestinationUnavailable
from sij_node.network.dicom_folder import contents_of
from sij_node.network.store_scu import OutgoingObject, StoreScu
from tests.support.mr_series import EXPLICIT, MR, T1_TIMES, classic_series
from tests.support.waiting import wait_for

IMPLICIT = "1.2.840.10008.1.2"
SENDER = StoreScu("SIJNODE", DeliveryConfig())


def peer(port: int, ae_title: str = "ARCHIVE") -> PeerConfig:
    return PeerConfig(ae_title=ae_title, networks=("127.0.0.1",), host="127.0.0.1", port=port)


def stored(folder: Path, count: int = 2) -> tuple[OutgoingObject, ...]:
    folder.mkdir(exist_ok=True)
    values = np.arange(count * 20, dtype=np.uint16).reshape(count, 4, 5)
    for number, image in enumerate(classic_series(values, **T1_TIMES)):
        image.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return contents_of(folder).objects


def test_an_object_arrives_byte_for_byte_as_it_was_stored(tmp_path: Path):
    objects = stored(tmp_path / "out")

    with Archive(tmp_path / "in", "ARCHIVE") as archive:
        answers = list(SENDER.send(peer(archive.port), objects))

    assert [answer.status for answer in answers] == [0x0000, 0x0000]
    for item in objects:
        arrived = (tmp_path / "in" / f"{item.sop_instance_uid}.dcm").read_bytes()
        sent = item.file.read_bytes()
        assert arrived[_dataset_at(arrived) :] == sent[_dataset_at(sent) :]


def _dataset_at(part10: bytes) -> int:
    return 144 + int.from_bytes(part10[140:144], "little")


def test_a_peer_that_takes_implicit_only_gets_the_same_values(tmp_path: Path):
    (item,) = stored(tmp_path / "out", count=1)
    got = []

    def keep(event: evt.Event) -> int:
        got.append(event.dataset)
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(MR, IMPLICIT)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    try:
        (answer,) = SENDER.send(peer(server.server_address[1]), [item])
    finally:
        server.shutdown()

    assert answer.acknowledged
    assert got[0].PatientName == "Muster^Erika"
    assert item.transfer_syntax_uid == EXPLICIT


@pytest.mark.parametrize(
    ("status", "acknowledged"),
    [
        (0x0000, True),
        (0x0111, True),
        (0xB000, True),
        (0xB007, True),
        (0xA700, False),
        (0xC000, False),
    ],
)
def test_every_status_is_either_an_acknowledgement_or_not(
    tmp_path: Path, status: int, acknowledged: bool
):
    (item,) = stored(tmp_path / "out", count=1)

    with Archive(tmp_path / "in", "ARCHIVE", status=status) as archive:
        (answer,) = SENDER.send(peer(archive.port), [item])

    assert (answer.status, answer.acknowledged) == (status, acknowledged)


def test_an_object_the_peer_does_not_accept_is_reported(tmp_path: Path):
    (item,) = stored(tmp_path / "out", count=1)
    strange = OutgoingObject(
        "1.2.840.10008.5.1.4.1.1.2", item.sop_instance_uid, EXPLICIT, item.file
    )
    entity = AE("ARCHIVE")
    entity.add_supported_context(MR, EXPLICIT)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)]
    )
    try:
        answers = list(SENDER.send(peer(server.server_address[1]), [strange, item]))
    finally:
        server.shutdown()

    assert [answer.acknowledged for answer in answers] == [False, True]
    assert "does not accept" in answers[0].note


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_peer_that_is_down_is_unavailable_and_the_message_says_where(tmp_path: Path):
    port = free_port()

    with pytest.raises(DestinationUnavailable, match=f"127.0.0.1:{port} cannot be reached"):
        SENDER.echo(peer(port))


def test_a_peer_that_does_not_know_the_node_rejects_it(tmp_path: Path):
    entity = AE("ARCHIVE")
    entity.require_calling_aet = ["OTHERNODE"]
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        with pytest.raises(DestinationUnavailable, match="rejected"):
            SENDER.echo(peer(server.server_address[1]))
    finally:
        server.shutdown()


def test_a_peer_that_breaks_off_is_unavailable(tmp_path: Path):
    objects = stored(tmp_path / "out")
    entity = AE("ARCHIVE")
    entity.add_supported_context(MR, EXPLICIT)

    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0x0000

    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, abort)]
    )
    try:
        with pytest.raises(DestinationUnavailable, match="aborted"):
            list(SENDER.send(peer(server.server_address[1]), objects))
    finally:
        server.shutdown()


def test_a_folder_is_sorted_into_what_can_be_sent_and_what_cannot(tmp_path: Path):
    objects = stored(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("not DICOM")
    (tmp_path / "out" / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)

    contents = contents_of(tmp_path / "out")

    assert contents.objects == objects
    assert [file.name for file in contents.left_out] == ["broken.dcm", "notes.txt"]


def _no_sending_thread() -> bool:
    return all(thread.name != "limited in time" for thread in threading.enumerate())


def test_a_hanging_association_ends_at_the_limit_and_its_thread_too(tmp_path: Path):
    objects = stored(tmp_path / "out")
    answered, forever = threading.Event(), threading.Event()

    def first_only(event: evt.Event) -> int:
        if answered.is_set():
            forever.wait(20)
        answered.set()
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(MR, EXPLICIT)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, first_only)]
    )
    sender, sent, began = StoreScu("SIJNODE", DeliveryConfig(timeout_s=1)), [], time.monotonic()
    try:
        with pytest.raises(DestinationUnavailable, match="did not take all objects within 1 s"):
            sent.extend(sender.send(peer(server.server_address[1]), objects))
        took_s = time.monotonic() - began
        wait_for(_no_sending_thread, "end of the thread")
    finally:
        forever.set()
        server.shutdown()

    assert took_s < 30


@pytest.mark.parametrize("host", ["pacs..hospital.example", "x" * 64 + ".example"])
def test_an_impossible_host_name_is_a_failed_attempt(tmp_path: Path, host: str):
    impossible = peer(104).model_copy(update={"host": host})

    with pytest.raises(DestinationUnavailable, match="cannot be reached"):
        list(SENDER.send(impossible, stored(tmp_path / "out")))
