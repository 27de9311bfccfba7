"""Retention holds for every file with patient data, with and without a row."""

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from sij_node.config.settings import Config
from sij_node.domain.study import CopyKind, ReceivedCopy, Registration
from sij_node.processes.assembly import open_store
from sij_node.store import referenced_files
from sij_node.store.clear_spool import clear_spool
from sij_node.store.job_table import JobTable
from sij_node.store.received_copies import add_copy, discard_copies
from sij_node.store.registration import received_instance
from sij_node.store.spool import Spool
from tests.support.job_tables import NOON, delivering, made, queued, received
from tests.support.raw_peer import encoded
from tests.support.running_listener import listening, mr_image

NOW = datetime.now(UTC)
FIFTEEN_DAYS_AGO = (NOW - timedelta(days=15)).timestamp()


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(tmp_path / "spool")


def written(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"a patient")
    os.utime(path, (FIFTEEN_DAYS_AGO, FIFTEEN_DAYS_AGO))
    return path


def everywhere(spool: Spool) -> list[Path]:
    """A file without a row in every folder."""
    digest = "ab" * 32
    result = spool.path_of_result(f"{digest}.dcm")
    places = (
        spool.path_of(f"{digest}.dcm"),
        spool.path_in_quarantine(f"{digest}-00.dcm"),
        result,
        result.parent.parent / "incoming" / "left.part",
    )
    return [written(path) for path in places]


def test_files_without_a_row_are_cleared_after_the_retention_time(table: JobTable, spool):
    files = everywhere(spool)

    clear_spool(table.database, spool, 16, NOW)
    assert [path.exists() for path in files] == [True, True, True, False]

    clear_spool(table.database, spool, 14, NOW)
    assert not any(path.exists() for path in files)


def test_files_that_a_row_names_stay_however_old(table: JobTable, spool):
    delivering(table)
    image = written(spool.path_of(received(1).file_name))
    result = written(spool.path_of_result(made().file_name))

    clear_spool(table.database, spool, 14, NOW)

    assert image.exists()
    assert result.exists()


def test_a_file_registered_at_the_last_moment_stays(table: JobTable, spool, monkeypatch):
    image = written(spool.path_of(received(1).file_name))
    listed = referenced_files.unreferenced

    def then_registered(*place):
        found = listed(*place)
        if found:
            table.register(received(1), 5, opens_job=True)
        return found

    monkeypatch.setattr(referenced_files, "unreferenced", then_registered)

    clear_spool(table.database, spool, 14, NOW)

    assert image.exists()


def test_an_image_sent_again_while_its_old_file_is_cleared_is_kept(table: JobTable, tmp_path):
    """The old file is removed after the listener has found it, before the row is committed."""
    content = encoded(mr_image("1.2.3"))

    def cleared_before(instance):
        node.spool.path_of(instance.file_name).unlink()
        return table.register(instance, 5, opens_job=True)

    with listening(tmp_path, register=cleared_before) as node:
        with listening(tmp_path) as earlier, earlier.associated() as peer:
            assert peer.store("1.2.3", content) == 0
        assert len(earlier.kept_files()) == 1
        with node.associated() as peer:
            assert peer.store("1.2.3", content) == 0

    assert node.stored_dataset("1.2.3") == content


def copy_of(spool: Spool, study_uid: str) -> ReceivedCopy:
    """A correction of the image `received(1)`, in quarantine; its patient is NEW-ID."""
    stored = received(1)
    offered = received(
        1,
        sop_instance_uid=stored.sop_instance_uid,
        study_uid=study_uid,
        patient_id="NEW-ID",
        sha256="1" * 64,
        file_name=stored.file_name,
    )
    name = f"{stored.file_name[:64]}-{'1' * 16}.dcm"
    written(spool.path_in_quarantine(name))
    return ReceivedCopy(CopyKind.CORRECTION, offered, stored, ("PatientID",), "new", "old", name)


def test_discarded_copies_of_a_study_that_was_moved_are_cleared(table: JobTable, spool):
    queued(table)
    written(spool.path_of(received(1).file_name))
    add_copy(table.database, copy_of(spool, "7.7.7"))
    discard_copies(table.database, "1.2.3", "mia")
    copy = spool.path_in_quarantine(copy_of(spool, "7.7.7").quarantined_as)
    with table.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM instances")

    clear_spool(table.database, spool, 14, NOW)

    assert not copy.exists()
    with table.database.reading() as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM received_copies").scalar()
    assert left == 0


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [129, 160, -1, -60], ids=["prefix", "meta", "pixel", "rows"])
def test_a_damaged_stored_image_is_replaced_when_it_is_sent_again(table: JobTable, tmp_path, place):
    content = encoded(mr_image("1.2.3"))

    def register(instance) -> Registration:
        return table.register(instance, 5, opens_job=True)

    stored = partial(received_instance, table.database)
    with listening(tmp_path, register=register, stored=stored) as node, node.associated() as peer:
        assert peer.store("1.2.3", content) == 0
        damage(node.kept_files()[0], place)
        assert peer.store("1.2.3", content) == 0

        assert node.stored_dataset("1.2.3") == content


def test_a_cleared_patient_is_not_left_in_the_database_file(tmp_path):
    config = Config.model_validate(
        {
            "node": {"ae_title": "SIJ", "data_folder": str(tmp_path)},
            "peer": [{"ae_title": "PACS", "networks": ["127.0.0.1"], "host": "a", "port": 1}],
        }
    )
    with open_store(config) as store:
        for number in range(20):
            row = received(number, patient_id="CANARY-1234567890")
            store.table.register(row, 5, opens_job=False)
        clear_spool(store.table.database, store.spool, 14, NOON + timedelta(days=4000))

    content = b"".join(path.read_bytes() for path in tmp_path.glob("jobs.sqlite*"))
    assert b"CANARY-1234567890" not in content
