"""Guarantees of the spool, including disk failures."""

import errno
import os
import shutil
import time

import pytest

from sij_node.config.settings import ListenerConfig
from sij_node.dicom.part10 import part10_header
from sij_node.errors import DatasetUnreadable, InternalFault, SpoolUnavailable
from sij_node.store import spool as spool_module
from sij_node.store.spool import Spool, instance_file_name
from tests.support.raw_peer import EXPLICIT, MR, encoded
from tests.support.running_listener import listening, mr_image

NAME = instance_file_name("1.2.3")


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def keep(spool: Spool, content: bytes, name: str = NAME) -> bool:
    with spool.stage() as staged:
        staged.write(content)
        staged.sync()
        return staged.keep(name)


def files_of(spool: Spool, tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "spool").rglob("*") if path.is_file())


def test_an_instance_is_kept_under_a_hash_and_read_again(spool, tmp_path):
    assert keep(spool, b"content")

    with spool.open(NAME) as file:
        assert file.read() == b"content"
    assert files_of(spool, tmp_path) == [NAME]


def test_a_kept_file_is_never_replaced(spool, tmp_path):
    keep(spool, b"first")

    assert not keep(spool, b"second")

    assert spool.path_of(NAME).read_bytes() == b"first"
    assert files_of(spool, tmp_path) == [NAME]


def test_a_staged_file_that_is_not_kept_is_deleted(spool, tmp_path):
    with spool.stage() as staged:
        staged.write(b"half of it")

    assert files_of(spool, tmp_path) == []


def test_a_write_that_is_done_in_pieces_is_whole(spool, monkeypatch):
    def short_writev(descriptor, pieces):
        return os.write(descriptor, pieces[0][:3])

    monkeypatch.setattr(spool_module.os, "writev", short_writev)

    keep(spool, b"a content of some length")

    assert spool.path_of(NAME).read_bytes() == b"a content of some length"


def test_the_digest_is_that_of_the_dataset_alone(spool):
    keep(spool, part10_header(MR, "1.2.3", EXPLICIT, "MODALITY") + b"abc")

    assert spool.digest_of(NAME) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_file_damaged_at_its_beginning_is_named(spool):
    keep(spool, bytes(300))

    with pytest.raises(DatasetUnreadable):
        spool.digest_of(NAME)


def test_a_result_replaces_a_former_one_as_a_whole(spool, tmp_path):
    name = "ab" * 32 + ".dcm"
    for content in (b"first", b"second"):
        assert spool.keep_result(content, name) == name

    assert spool.path_of_result(name).read_bytes() == b"second"
    assert files_of(spool, tmp_path) == [name]
    spool.remove_result(name)
    assert files_of(spool, tmp_path) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "1.2.3.dcm", "", NAME + "\n"])
def test_a_name_that_is_no_hash_reaches_no_path(spool, name):
    for path_of in (spool.path_of, spool.path_of_result, spool.path_in_quarantine):
        with pytest.raises(InternalFault):
            path_of(name)


def test_removing_what_is_gone_is_no_error(spool, tmp_path):
    keep(spool, b"content")
    spool.remove(NAME)
    spool.remove(NAME)

    assert files_of(spool, tmp_path) == []


def test_a_copy_in_quarantine_is_removed_and_the_instance_stays(spool, tmp_path):
    keep(spool, b"content")
    copy = f"{NAME.removesuffix('.dcm')}-{'0' * 16}.dcm"
    with spool.stage() as staged:
        staged.quarantine(copy)
    assert files_of(spool, tmp_path) == sorted([NAME, copy])

    spool.remove_from_quarantine(copy)
    spool.remove_from_quarantine(copy)

    assert files_of(spool, tmp_path) == [NAME]


def test_a_start_clears_what_a_crash_left_but_not_what_a_worker_writes(spool, tmp_path):
    incoming = tmp_path / "spool" / "incoming"
    for name in ("a.part", "b.part", "new.result", "old.result"):
        (incoming / name).write_bytes(b"x")
    two_days_ago = time.time() - 2 * 86400
    os.utime(incoming / "old.result", (two_days_ago, two_days_ago))

    assert spool.clear_incoming() == 3
    assert files_of(spool, tmp_path) == ["new.result"]


def test_free_room_is_that_of_the_disk(spool, tmp_path):
    assert spool.free_mb() == pytest.approx(shutil.disk_usage(tmp_path).free / 1e6, rel=0.05)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SpoolUnavailable, match="spool cannot be used"):
        Spool(tmp_path / "file" / "spool")


# ---- a disk that fails, below a listener -------------------------------------------------------


class FailingDisk:
    """Lets the n-th call to the disk fail, counted over all kinds of calls."""

    CALLS = ("open", "writev", "fdatasync", "link", "fsync")

    def __init__(self, monkeypatch, error_number: int) -> None:
        self.fails_at = -1
        self.calls = 0
        self._error = OSError(error_number, os.strerror(error_number))
        for name in self.CALLS:
            monkeypatch.setattr(spool_module.os, name, self._failing(getattr(os, name)))

    def fail_at(self, number: int) -> None:
        self.calls, self.fails_at = 0, number

    def _failing(self, call):
        def counted(*arguments, **options):
            self.calls += 1
            if self.calls == self.fails_at:
                raise self._error
            return call(*arguments, **options)

        return counted


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("size", [128, 3_000_000])
def test_a_disk_that_fails_at_any_call_leaves_nothing(tmp_path, monkeypatch, error_number, size):
    first, second = encoded(mr_image("1.2.3")), encoded(mr_image("1.2.4", pixels=bytes(size)))
    with listening(tmp_path) as node, node.associated() as peer:
        assert peer.store("1.2.3", first) == 0x0000
        with monkeypatch.context() as patches:
            disk = FailingDisk(patches, error_number)
            number, statuses = 0, []
            while 0x0000 not in statuses:
                number += 1
                disk.fail_at(number)
                statuses.append(peer.store("1.2.4", second))
                if statuses[-1]:
                    assert [p.name for p in node.kept_files()] == [NAME]
                    assert node.other_files() == []
        assert statuses == [0xA700] * (number - 1) + [0x0000]
        assert number >= 7
        assert node.stored_dataset("1.2.3") == first
        assert node.stored_dataset("1.2.4") == second


def test_a_missing_spool_is_reported_and_used_again_later(tmp_path):
    raw = encoded(mr_image("1.2.3"))
    with listening(tmp_path) as node, node.associated() as peer:
        (tmp_path / "spool").rename(tmp_path / "away")
        assert peer.store("1.2.3", raw) == 0xA700
        (tmp_path / "away").rename(tmp_path / "spool")
        assert peer.store("1.2.3", raw) == 0x0000


def test_a_watermark_that_cannot_be_read_rejects(tmp_path):
    with listening(tmp_path, room=lambda: node.spool.free_mb() > 0) as node:
        (tmp_path / "spool").rename(tmp_path / "away")
        with node.peer() as peer:
            assert peer.associate() == (3, bytes((0, 2, 3, 2)))


def test_a_copy_that_cannot_be_quarantined_is_still_refused(tmp_path):
    limits = ListenerConfig()
    with listening(tmp_path, limits=limits) as node, node.associated() as peer:
        peer.store("1.2.3", encoded(mr_image("1.2.3")))
        (tmp_path / "spool" / "quarantine").rmdir()

        assert peer.store("1.2.3", encoded(mr_image("1.2.3", PatientID="2"))) == 0xA700
        assert node.stored_dataset("1.2.3") == encoded(mr_image("1.2.3"))
