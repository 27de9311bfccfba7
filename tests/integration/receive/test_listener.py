"""Guarantees to senders of images, over real associations."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE, AllStoragePresentationContexts, build_context
from pynetdicom.sop_class import (
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)
from structlog.testing import capture_logs

from sij_node.config.settings import ListenerConfig
from sij_node.domain.study import CopyKind, Registration
from sij_node.errors import ConfigurationInvalid, DatabaseUnavailable, InternalFault
from sij_node.receive.association import STORAGE_CLASSES, is_in
from sij_node.receive.c_store import StorageService
from sij_node.receive.listener import Listener
from sij_node.store.spool import Spool, file_meta_of, instance_file_name
from tests.support.raw_peer import (
    DEFAULT_CONTEXTS,
    EXPLICIT,
    IMPLICIT,
    MR,
    P_DATA,
    VERIFICATION,
    associate_request,
    command_elements,
    context,
    encoded,
    fragment,
    item,
    store_command,
)
from tests.support.running_listener import PEERS, Node, listening, mr_image
from tests.support.unrecorded_events import no_events
from tests.support.waiting import wait_for

DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
UIDS = [f"1.2.826.9.{number}" for number in range(10)]


@pytest.fixture
def node(tmp_path):
    with listening(tmp_path) as node:
        yield node


def sent_by_pynetdicom(node: Node, *datasets, syntax: str = EXPLICIT) -> list[int]:
    ae = AE("MODALITY")
    ae.add_requested_context(MRImageStorage, syntax)
    association = ae.associate("127.0.0.1", node.listener.port, ae_title="SIJ")
    assert association.is_established
    statuses = []
    for dataset in datasets:
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = syntax
        statuses.append(association.send_c_store(dataset).Status)
    association.release()
    return statuses


# ---- promises ----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_an_image_is_kept_as_it_was_sent(node, syntax):
    image = mr_image("1.2.3")

    assert sent_by_pynetdicom(node, image, syntax=syntax) == [0x0000]

    (path,) = node.kept_files()
    kept = dcmread(path)
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.file_meta.SourceApplicationEntityTitle == "MODALITY"
    assert node.stored_dataset("1.2.3") == encoded(image, syntax == EXPLICIT)
    row = node.register.rows["1.2.3"]
    assert (row.source_ae, row.transfer_syntax_uid) == ("MODALITY", syntax)
    assert (row.patient_id, row.study_uid) == ("CANARY-1", "1.2.826.1")
    assert row.sha256 == node.spool.digest_of(row.file_name)
    assert row.size_bytes == len(node.stored_dataset("1.2.3"))


def test_storescu_and_echoscu_of_dcmtk_are_served(node, tmp_path):
    image = mr_image("1.2.3")
    image.ensure_file_meta()
    image.file_meta.TransferSyntaxUID = EXPLICIT
    image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    to_node = ["-aec", "SIJ", "-aet", "MODALITY", "127.0.0.1", str(node.listener.port)]

    echoed = subprocess.run(["echoscu", *to_node], capture_output=True, check=False)
    stored = subprocess.run(
        ["storescu", *to_node, tmp_path / "image.dcm"], capture_output=True, check=False
    )

    assert (echoed.returncode, stored.returncode) == (0, 0)
    assert list(node.register.rows) == ["1.2.3"]


def test_everything_is_on_disk_before_success_is_returned(tmp_path):
    steps = []

    class SpyingSpool(Spool):
        def stage(self):
            staged = super().stage()
            for name in ("write", "sync", "keep"):
                setattr(staged, name, spied(name, getattr(staged, name)))
            return staged

    def spied(name, method):
        def call(*arguments):
            result = method(*arguments)
            steps.append(name)
            return result

        return call

    def register(instance):
        assert spool.path_of(instance.file_name).exists()
        steps.append("register")
        return Registration.NEW

    spool = SpyingSpool(tmp_path / "spool")
    with listening(tmp_path, spool=spool, register=register) as node, node.associated() as peer:
        assert peer.store("1.2.3", encoded(mr_image("1.2.3"))) == 0x0000

    assert steps == ["write", "sync", "keep", "register"]


def test_a_large_instance_is_streamed_to_disk_bit_identical(node):
    image = mr_image("1.2.3", pixels=bytes(range(256)) * 20_000)
    raw = encoded(image)

    with node.associated() as peer:
        assert peer.store("1.2.3", raw) == 0x0000
        assert peer.store("1.2.4", encoded(mr_image("1.2.4"))) == 0x0000

    assert node.stored_dataset("1.2.3") == raw
    row = node.register.rows["1.2.3"]
    assert row.sha256 == node.spool.digest_of(row.file_name)
    assert node.other_files() == []


def test_an_image_that_is_sent_again_is_acknowledged_and_kept_once(node):
    raw = encoded(mr_image("1.2.3"))

    with node.associated() as peer:
        assert [peer.store("1.2.3", raw) for _ in range(3)] == [0x0000] * 3

    assert len(node.kept_files()) == 1
    assert node.other_files() == []
    assert node.refusals == []


def test_the_same_image_from_ten_senders_at_once_is_kept_once(node):
    raw = encoded(mr_image("1.2.3", pixels=bytes(100_000)))

    def send(_: int) -> list[int]:
        with node.associated() as peer:
            return [peer.store("1.2.3", raw) for _ in range(5)]

    with ThreadPoolExecutor(10) as senders:
        statuses = [status for sent in senders.map(send, range(10)) for status in sent]

    assert statuses == [0x0000] * 50
    assert node.stored_dataset("1.2.3") == raw
    assert len(node.kept_files()) == 1
    assert node.other_files() == []


@pytest.mark.parametrize("change", [{"EchoTime": 90}, {"pixels": b"\1" * 128}])
def test_other_content_under_a_known_uid_leaves_the_first_copy_untouched(node, change):
    first, second = encoded(mr_image("1.2.3")), encoded(mr_image("1.2.3", **change))

    with node.associated() as peer:
        assert peer.store("1.2.3", first) == 0x0000
        assert peer.store("1.2.3", second) == 0xC001
        assert peer.store("1.2.3", first) == 0x0000

    assert node.stored_dataset("1.2.3") == first
    (refusal,) = node.refusals
    assert (refusal.status, refusal.sop_instance_uid) == (0xC001, "1.2.3")
    assert (refusal.study_uid, refusal.source_ae) == ("1.2.826.1", "MODALITY")
    quarantined = node.spool.path_in_quarantine(refusal.quarantined_as)
    assert quarantined.read_bytes().endswith(second)
    assert node.other_files() == [quarantined]


def test_other_content_is_a_conflict_even_if_the_file_is_gone(node):
    with node.associated() as peer:
        peer.store("1.2.3", encoded(mr_image("1.2.3")))
        node.kept_files()[0].unlink()

        assert peer.store("1.2.3", encoded(mr_image("1.2.3", PatientID="other"))) == 0xC001

    assert node.kept_files() == []
    assert len(node.other_files()) == 1


def test_a_file_without_a_row_gets_its_row_when_it_is_sent_again(node):
    raw = encoded(mr_image("1.2.3"))
    with node.associated() as peer:
        peer.store("1.2.3", raw)
        node.register.rows.clear()

        assert peer.store("1.2.3", raw) == 0x0000

    assert list(node.register.rows) == ["1.2.3"]


def test_an_image_resent_in_another_encoding_is_kept_as_first_sent(node):
    image = mr_image("1.2.3")

    assert sent_by_pynetdicom(node, image) == [0x0000]
    assert sent_by_pynetdicom(node, image, syntax=IMPLICIT) == [0x0000]
    image.PixelData = b"\1" * 128
    assert sent_by_pynetdicom(node, image, syntax=IMPLICIT) == [0xC001]

    image.PixelData = bytes(128)
    assert node.stored_dataset("1.2.3") == encoded(image)
    assert node.register.rows["1.2.3"].transfer_syntax_uid == EXPLICIT


ARCHIVE_CHANGES = {
    "retrieval attributes": {"RetrieveAETitle": "ARCHIVE", "InstanceAvailability": "ONLINE"},
    "padding": {"pixels": bytes(130)},
    "another character set": {"SpecificCharacterSet": "ISO_IR 192"},
}


@pytest.mark.parametrize("change", ARCHIVE_CHANGES.values(), ids=ARCHIVE_CHANGES)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_what_an_archive_changes_leaves_the_same_object(node, change, syntax):
    first = mr_image("1.2.3")

    assert sent_by_pynetdicom(node, first) == [0x0000]
    assert sent_by_pynetdicom(node, mr_image("1.2.3", **change), syntax=syntax) == [0x0000]

    assert node.stored_dataset("1.2.3") == encoded(first)
    assert node.other_files() == node.refusals == []


OTHER_OBJECTS = {
    "pixels": {"pixels": b"\1" * 128},
    "pixels and name": {"pixels": b"\1" * 128, "PatientName": "Another^Name"},
    "position": {"ImagePositionPatient": [1, 2, 3]},
    "echo time": {"EchoTime": 90},
}


@pytest.mark.parametrize("change", OTHER_OBJECTS.values(), ids=OTHER_OBJECTS)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_another_object_is_quarantined_in_any_syntax(node, change, syntax):
    first = mr_image("1.2.3")

    assert sent_by_pynetdicom(node, first) == [0x0000]
    assert sent_by_pynetdicom(node, mr_image("1.2.3", **change), syntax=syntax) == [0xC001]

    assert node.stored_dataset("1.2.3") == encoded(first)
    assert len(node.other_files()) == len(node.refusals) == 1


CORRECTIONS = {
    "patient name": {"PatientName": "Another^Name"},
    "patient ID": {"PatientID": "CANARY-2", "IssuerOfPatientID": "HOSPITAL"},
    "study": {"StudyInstanceUID": "1.2.826.2", "SeriesInstanceUID": "1.2.826.2.1"},
    "accession number": {"AccessionNumber": "A-2"},
}


@pytest.mark.parametrize("change", CORRECTIONS.values(), ids=CORRECTIONS)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_copy_under_another_identity_is_kept_as_a_correction(node, change, syntax):
    first, second = mr_image("1.2.3"), mr_image("1.2.3", **change)

    assert sent_by_pynetdicom(node, first) == [0x0000]
    assert sent_by_pynetdicom(node, second, syntax=syntax) == [0x0000]

    assert node.stored_dataset("1.2.3") == encoded(first)
    (copy,) = node.copies
    assert (copy.kind, set(copy.differs)) == (CopyKind.CORRECTION, set(change))
    assert node.other_files() == [node.spool.path_in_quarantine(copy.quarantined_as)]
    assert copy.quarantined_as
    assert not node.refusals


def test_a_correction_that_cannot_be_recorded_is_sent_again(tmp_path):
    def no_database(_):
        raise DatabaseUnavailable("The database does not answer.")

    first, second = mr_image("1.2.3"), mr_image("1.2.3", PatientID="CANARY-2")
    with listening(tmp_path, keep_copy=no_database) as node:
        assert sent_by_pynetdicom(node, first) == [0x0000]
        assert sent_by_pynetdicom(node, second) == [0xA700]

        assert node.stored_dataset("1.2.3") == encoded(first)
        assert node.other_files() == []


def test_a_file_without_a_row_gives_way_to_another_encoding(node):
    image = mr_image("1.2.3")
    sent_by_pynetdicom(node, image)
    node.register.rows.clear()

    assert sent_by_pynetdicom(node, image, syntax=IMPLICIT) == [0x0000]

    row = node.register.rows["1.2.3"]
    assert row.sha256 == node.spool.digest_of(row.file_name)
    assert file_meta_of(node.spool.path_of(row.file_name)).transfer_syntax_uid == IMPLICIT
    assert node.other_files() == []


def test_a_file_without_a_row_gives_way_to_other_content(node):
    first, second = (encoded(mr_image("1.2.3", PatientID=name)) for name in ("A", "B"))
    with node.associated() as peer:
        peer.store("1.2.3", first)
        node.register.rows.clear()

        assert peer.store("1.2.3", second) == 0x0000

    assert node.stored_dataset("1.2.3") == second
    assert node.other_files() == []


def test_resending_repairs_a_file_that_a_crash_left_incomplete(node):
    first, second = (encoded(mr_image("1.2.3", PatientID=name)) for name in ("A", "B"))
    with node.associated() as peer:
        peer.store("1.2.3", second)
        row = node.register.rows.pop("1.2.3")
        node.kept_files()[0].unlink()
        peer.store("1.2.3", first)
        node.register.rows["1.2.3"] = row

        assert peer.store("1.2.3", second) == 0x0000

    assert node.stored_dataset("1.2.3") == second


def test_the_nodes_own_results_are_acknowledged_and_not_kept(tmp_path):
    with (
        listening(tmp_path, register=lambda _: Registration.OWN_RESULT) as node,
        node.associated() as peer,
    ):
        assert peer.store("1.2.3", encoded(mr_image("1.2.3"))) == 0x0000

        assert node.kept_files() == []
        assert node.other_files() == []


# ---- honest refusals ---------------------------------------------------------------------------


def test_without_a_database_c_store_fails_and_leaves_no_partial_file(tmp_path):
    def register(_):
        raise DatabaseUnavailable("The database does not answer.")

    raw = encoded(mr_image("1.2.3"))

    with listening(tmp_path, register=register) as node, node.associated() as peer:
        peer.begin_store("1.2.3")
        peer.send_dataset(raw)
        response = peer.read_response()

        assert int.from_bytes(response[0x0900], "little") == 0xA700
        assert response[0x0902].strip() == b"The database does not answer."
        assert node.stored_dataset("1.2.3") == raw
        assert node.other_files() == []
        assert [refusal.status for refusal in node.refusals] == [0xA700]


def test_an_acknowledged_file_survives_a_database_outage(tmp_path):
    answers = [Registration.NEW]

    def register(_):
        if answers:
            return answers.pop()
        raise DatabaseUnavailable("The database does not answer.")

    raw = encoded(mr_image("1.2.3"))
    with listening(tmp_path, register=register) as node, node.associated() as peer:
        assert [peer.store("1.2.3", raw) for _ in range(2)] == [0x0000, 0xA700]
        assert node.stored_dataset("1.2.3") == raw


def test_an_internal_fault_is_reported_as_one(tmp_path):
    def register(_):
        raise InternalFault("The job table is in an impossible state.")

    with listening(tmp_path, register=register) as node, node.associated() as peer:
        assert peer.store("1.2.3", encoded(mr_image("1.2.3"))) == 0xC211
        assert node.kept_files() == []
        assert peer.echo() == 0x0000


def test_a_truncated_image_is_refused_and_nothing_is_stored(node):
    raw = encoded(mr_image("1.2.3"))

    with node.associated() as peer:
        statuses = {peer.store("1.2.3", raw[:length]) for length in range(0, len(raw), 7)}
        assert statuses == {0xC000}
        assert node.kept_files() == []
        assert node.other_files() == []
        assert peer.store("1.2.3", raw) == 0x0000


@pytest.mark.parametrize(
    "uid", ["../../../tmp/x", "/etc/passwd", b"1.2\x003.4", "1" * 65, "", "1.2.3\n"]
)
def test_a_uid_that_is_none_is_refused_and_written_nowhere(node, tmp_path, uid):
    before = set(tmp_path.rglob("*"))

    with node.associated() as peer:
        assert peer.store(uid, encoded(mr_image("1.2.3"))) == 0xC000

    assert set(tmp_path.rglob("*")) == before
    assert node.refusals[0].sop_instance_uid == ""


def test_command_and_dataset_must_name_the_same_object(node):
    with node.associated() as peer:
        assert peer.store("1.2.4", encoded(mr_image("1.2.3"))) == 0xA900
        other_class = mr_image("1.2.3", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
        assert peer.store("1.2.3", encoded(other_class)) == 0xA900

    assert node.kept_files() == []


def test_a_class_that_is_not_the_contexts_is_not_supported(node):
    with node.associated() as peer:
        peer.begin_store("1.2.3", sop_class="1.2.840.10008.5.1.4.1.1.2")
        peer.send_dataset(encoded(mr_image("1.2.3")))

        assert peer.read_status() == 0x0122


def test_sequences_nested_too_deeply_are_refused(node):
    opened = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"

    with node.associated() as peer:
        assert peer.store("1.2.3", opened * 20_000 + encoded(mr_image("1.2.3"))) == 0xC000


def test_files_have_a_zero_preamble_and_belong_to_the_node_alone(node):
    with node.associated() as peer:
        peer.store("1.2.3", encoded(mr_image("1.2.3")))

    (path,) = node.kept_files()
    assert path.read_bytes()[:132] == bytes(128) + b"DICM"
    assert path.stat().st_mode & 0o777 == 0o600
    assert {p.stat().st_mode & 0o777 for p in node.folder.rglob("*") if p.is_dir()} == {0o700}


# ---- who may come in ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (associate_request(called=b"OTHER"), (1, 1, 7)),
        (associate_request(calling=b"STRANGER"), (1, 1, 3)),
        (associate_request(calling=b"ELSEWHERE"), (1, 1, 1)),
        (associate_request(application_context="1.2.3"), (1, 1, 2)),
        (associate_request(version=2), (1, 2, 2)),
    ],
)
def test_who_does_not_belong_here_is_rejected_and_written_down(node, request_body, expected):
    with node.peer() as peer:
        assert peer.associate(request_body) == (3, bytes((0, *expected)))
        assert peer.is_closed_within(10)

    (refusal,) = node.refusals
    assert (refusal.status, refusal.address) == (0, "127.0.0.1")
    assert refusal.reason.startswith("association rejected " + ",".join(map(str, expected)))


def test_a_right_title_from_a_wrong_address_is_rejected(node):
    with node.peer(source="127.0.1.1") as peer:
        assert peer.associate() == (3, bytes((0, 1, 1, 1)))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.1", False),
        ("2001:db8::1", True),
        ("fe80::1%eth0", False),
    ],
)
def test_an_address_is_looked_up_in_the_networks_of_a_peer(address, expected):
    assert is_in(address, ("10.1.0.0/16", "2001:db8::/32")) == expected


def test_a_full_disk_rejects_associations_before_it_is_full(tmp_path):
    free = [True]
    with listening(tmp_path, room=lambda: free[0]) as node, node.associated() as early:
        free[0] = False
        with node.peer() as late:
            assert late.associate() == (3, bytes((0, 2, 3, 2)))
        assert early.store("1.2.3", encoded(mr_image("1.2.3"))) == 0xA700
        free[0] = True
        assert early.store("1.2.3", encoded(mr_image("1.2.3"))) == 0x0000


@pytest.mark.parametrize(
    "limits",
    [
        ListenerConfig(max_associations=2),
        ListenerConfig(max_connections_per_address=2),
    ],
)
def test_excess_associations_are_rejected_as_transient(tmp_path, limits):
    with listening(tmp_path, limits=limits) as node, node.associated() as first, node.associated():
        with node.peer() as third:
            assert third.associate() == (3, bytes((0, 2, 3, 2)))
        assert first.release() == 6
        with node.associated() as fourth:
            assert fourth.echo() == 0x0000


def test_every_storage_class_is_taken_and_nothing_else():
    assert frozenset(c.abstract_syntax for c in AllStoragePresentationContexts) == STORAGE_CLASSES


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([IMPLICIT, EXPLICIT], EXPLICIT),
        ([IMPLICIT], IMPLICIT),
        (["1.2.840.10008.1.2.4.90", BIG_ENDIAN], "1.2.840.10008.1.2.4.90"),
        ([DEFLATED], None),
        ([BIG_ENDIAN], None),
        ([DEFLATED, "1.2.840.10008.1.2.4.51"], None),
    ],
)
def test_one_transfer_syntax_is_chosen_and_a_dangerous_one_never(node, proposed, chosen):
    ae = AE("MODALITY")
    ae.add_requested_context(Verification)
    ae.requested_contexts = [build_context(MRImageStorage, proposed), *ae.requested_contexts]

    association = ae.associate("127.0.0.1", node.listener.port, ae_title="SIJ")

    accepted = {c.abstract_syntax: c.transfer_syntax[0] for c in association.accepted_contexts}
    association.release()
    assert accepted.get(MRImageStorage) == chosen


def test_queries_are_refused(node):
    ae = AE("MODALITY")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_requested_context(Verification)

    association = ae.associate("127.0.0.1", node.listener.port, ae_title="SIJ")

    (rejected,) = association.rejected_contexts
    association.release()
    assert rejected.result == 3


def test_what_is_not_negotiated_does_no_harm(node):
    user_items = item(0x53, b"\0\5\0\5") + item(0x58, b"\1\1\0\4user\0\0") + item(0x5F, b"?")

    with node.peer() as peer:
        assert peer.associate(associate_request(user_items=user_items))[0] == 2
        assert peer.echo() == 0x0000


# ---- messages ----------------------------------------------------------------------------------


def test_a_command_in_many_pieces_is_put_together(node):
    raw, request = encoded(mr_image("1.2.3")), store_command("1.2.3")

    with node.associated() as peer:
        for byte in request[:-1]:
            peer.send(P_DATA, fragment(1, 1, bytes((byte,))))
        peer.send(P_DATA, fragment(1, 3, request[-1:]) + fragment(1, 0, raw[:50]))
        peer.send(P_DATA, fragment(1, 0, b"") + fragment(1, 0, raw[50:]))
        peer.send(P_DATA, fragment(1, 2, b""))

        assert peer.read_status() == 0x0000

    assert node.stored_dataset("1.2.3") == raw


def test_a_whole_message_and_the_next_may_come_in_one_pdu(node):
    raw = encoded(mr_image("1.2.3"))
    message = fragment(1, 3, store_command("1.2.3")) + fragment(1, 2, raw)

    with node.associated() as peer:
        peer.send(P_DATA, message + message)

        assert [peer.read_status(), peer.read_status()] == [0x0000, 0x0000]


def test_an_answer_names_what_it_answers(node):
    with node.associated() as peer:
        peer.begin_store("1.2.3")
        peer.send_dataset(encoded(mr_image("1.2.3")))
        kind, body = peer.read()

    answered = command_elements(body[6:])
    assert (kind, body[4], body[5]) == (P_DATA, 1, 3)
    assert answered[0x0120] == b"\7\0"
    assert answered[0x1000].rstrip(b"\0") == b"1.2.3"
    assert answered[0x0002].rstrip(b"\0") == MR.encode()


def test_a_store_without_a_dataset_cannot_be_understood(node):
    with node.associated() as peer:
        peer.send(P_DATA, fragment(1, 3, store_command("1.2.3", dataset_type=0x0101)))

        assert peer.read_status() == 0xC000


def test_a_release_is_answered(node):
    with node.associated() as peer:
        assert peer.release() == 6
        assert peer.is_closed_within(10)


# ---- starting and stopping ---------------------------------------------------------------------


def test_a_port_that_is_taken_is_named(node, tmp_path):
    config = ListenerConfig(port=node.listener.port)
    service = StorageService(
        spool=node.spool,
        file_name_of=instance_file_name,
        register=node.register,
        stored=node.register.rows.get,
        keep_copy=node.copies.append,
        refuse=node.refusals.append,
        room=lambda: True,
        events=no_events(),
    )

    with pytest.raises(ConfigurationInvalid, match=f"port {node.listener.port} of 127.0.0.1"):
        Listener(config, "SIJ", PEERS, service).start()


def test_stopping_lets_an_instance_finish_and_aborts_who_is_idle(tmp_path):
    raw = encoded(mr_image("1.2.3"))
    with ThreadPoolExecutor(1) as stopper, listening(tmp_path) as node:
        with node.associated() as busy, node.associated() as idle:
            busy.begin_store("1.2.3")
            busy.send(P_DATA, fragment(1, 0, raw[:40]))
            assert idle.echo() == 0x0000
            wait_for(lambda: amid_message(node), "association amid a message")
            stopped = stopper.submit(node.listener.stop, 60)
            assert idle.read()[0] == 7
            busy.send(P_DATA, fragment(1, 2, raw[40:]))
            assert busy.read_status() == 0x0000
            assert busy.read()[0] == 7
            stopped.result(timeout=60)
        assert node.stored_dataset("1.2.3") == raw


def amid_message(node: Node) -> int:
    """How many associations have begun a message that is not answered yet."""
    associations = [one.association for one in node.listener._open_connections()]
    return sum(one is not None and one.is_receiving for one in associations)


def test_stopping_waits_no_longer_than_its_limit(tmp_path):
    with listening(tmp_path) as node, node.associated() as busy:
        busy.begin_store("1.2.3")
        node.listener.stop(drain_s=0.3)
        assert busy.is_closed_within(10)
        assert node.other_files() == []


def test_one_association_is_one_line_in_the_log_without_the_patient(tmp_path):
    with capture_logs() as lines, listening(tmp_path) as node:
        with node.associated() as peer:
            for uid in UIDS:
                peer.store(uid, encoded(mr_image(uid)))
            peer.store("1.2.3", encoded(mr_image("1.2.4")))
            peer.release()
        with node.peer() as peer:
            peer.associate(associate_request(calling=b"FORGED\nLINE"))

    ended = {line["status"]: line for line in lines if line["event"] == "association ended"}
    assert ended.keys() == {"released", "rejected 1,1,3"}
    assert (ended["released"]["instances"], ended["released"]["refused"]) == (10, 1)
    assert ended["rejected 1,1,3"]["peer"] == "FORGED?LINE"
    assert "anary" not in str(lines).lower()


def test_names_of_stored_files_reveal_nothing(node):
    with node.associated() as peer:
        peer.store("1.2.3", encoded(mr_image("1.2.3")))

    (path,) = node.kept_files()
    assert path.name == instance_file_name("1.2.3")
    assert path == Path(node.spool.path_of(path.name))


def test_an_association_needs_no_context_that_the_node_takes(node):
    with node.peer() as peer:
        kind, _ = peer.associate(associate_request(contexts=context(1, "1.2.3.4", EXPLICIT)))
        assert kind == 2
        assert peer.release() == 6


def test_contexts_are_answered_one_by_one(node):
    with node.peer() as peer:
        _, body = peer.associate(
            associate_request(contexts=DEFAULT_CONTEXTS + context(5, MR, DEFLATED))
        )
    assert body.count(item(0x40, EXPLICIT.encode())) == 1
    assert VERIFICATION.encode() not in body
