"""`verify`: disk, rows and digests are compared, repaired or listed with what to do (T45, T46)."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from pydicom import Dataset
from typer.testing import CliRunner

from sij_node.audit.messages import AuditMessage, HumanUser
from sij_node.cli.commands import app
from sij_node.domain.health import Component, HealthStatus
from sij_node.domain.job import State
from sij_node.domain.storage_check import PARTS, CheckedFiles, StorageFault
from sij_node.operate.storage_check import StorageCheck, StorageCheckInBackground
from sij_node.processes.assembly import open_store, storage_service
from sij_node.store.change_log import newest_changes
from sij_node.store.deliveries import deliveries_of
from sij_node.store.received_copies import copies_of
from sij_node.store.registration import received_instances
from sij_node.store.storage_check_table import (
    next_part,
    record_progress,
    record_round,
    storage_status,
)
from sij_node.store.stored_files import database_damage
from tests.support.mr_series import STIR_TIMES, T1_TIMES, classic_series
from tests.support.node_in_process import ARCHIVE, NETWORKS, NodeInProcess, node_in_process
from tests.support.unrecorded_events import no_events

STUDY = "1.2.3"
VALUES = np.random.default_rng(1).integers(0, 4000, (8, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}
IN_USE = frozenset({", ".join(f"{one.name} {one.version}" for one in NETWORKS)})
LATER = timedelta(hours=30)
"""After this time, no file is too young to be judged."""


def study() -> list[Dataset]:
    """T1 and STIR of the study, 16 images."""
    t1 = classic_series(VALUES, "1.2.3.1", **GRID, **T1_TIMES, SeriesNumber=1)
    return [*t1, *classic_series(VALUES, "1.2.3.2", **GRID, **STIR_TIMES, SeriesNumber=2)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeInProcess]:
    with node_in_process(tmp_path / "node") as running:
        yield running


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a node that has delivered the results of the study."""
    folder = tmp_path_factory.mktemp("delivered") / "node"
    with node_in_process(folder) as node:
        node.take(*study())
        node.inference.draw_key_images()
    return folder


@pytest.fixture
def analysed(tmp_path: Path, delivered: Path) -> Iterator[NodeInProcess]:
    """That node, started again on a copy of its data folder."""
    copytree(delivered, tmp_path / "node")
    with node_in_process(tmp_path / "node") as running:
        yield running


class Checked:
    """A check of a node's files by Ada."""

    def __init__(
        self,
        node: NodeInProcess,
        weights: frozenset[str] = IN_USE,
        senders: frozenset[str] = frozenset({ARCHIVE}),
    ) -> None:
        self.audited: list[AuditMessage] = []
        self.check = StorageCheck(
            node.table,
            node.spool,
            storage_service(node.config, node.store, no_events()),
            senders,
            lambda: weights,
            self.audited.append,
            timedelta(days=14),
            HumanUser("ada"),
        )

    def run(self, *, repairs: bool = True) -> CheckedFiles:
        """Check everything as one part."""
        return self.check.check_part("", datetime.now(UTC) + LATER, repairs=repairs)


def files(node: NodeInProcess, folder: str, pattern: str = "**/*.dcm") -> list[Path]:
    found = (node.config.node.data_folder / "spool" / folder).glob(pattern)
    return sorted(path for path in found if path.is_file())


def flip_a_bit(path: Path, at: int = -5) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def execute(node: NodeInProcess, statement: str) -> None:
    with node.table.database.writing() as connection:
        connection.exec_driver_sql(statement)


def test_a_node_in_order_is_left_as_it_is(analysed: NodeInProcess):
    before = {path: path.read_bytes() for path in files(analysed, "", "**/*")}

    checked = Checked(analysed).run()

    assert (checked.repairs, checked.problems) == ((), ())
    assert checked.files == len(before)
    assert checked.size_bytes == sum(map(len, before.values()))
    assert {path: path.read_bytes() for path in files(analysed, "", "**/*")} == before


# ---- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [130, 200, 2000, -1], ids=["prefix", "meta", "header", "pixel"])
def test_a_flipped_bit_in_an_image_is_found(analysed: NodeInProcess, at: int):
    damaged = files(analysed, "instances")[3]
    flip_a_bit(damaged, at)

    (problem,) = Checked(analysed).run().problems

    assert (problem.file_name, problem.fault) == (damaged.name, StorageFault.DAMAGED)
    assert problem.study_uid == STUDY
    assert f"send the study again from {ARCHIVE}" in problem.action


def test_a_changed_digest_in_the_database_is_found(analysed: NodeInProcess):
    uid = received_instances(analysed.table.database, STUDY)[0].sop_instance_uid
    execute(analysed, f"UPDATE instances SET sha256 = 'f' WHERE sop_instance_uid = '{uid}'")

    (problem,) = Checked(analysed).run().problems

    assert uid in problem.message


def test_sending_the_study_again_mends_damaged_and_missing_images(analysed: NodeInProcess):
    damaged, missing = files(analysed, "instances")[3:5]
    flip_a_bit(damaged)
    missing.unlink()
    assert {one.fault for one in Checked(analysed).run().problems} == {
        StorageFault.DAMAGED,
        StorageFault.MISSING,
    }

    assert analysed.take(*study()) == []

    assert Checked(analysed).run().problems == ()
    assert len(analysed.jobs(STUDY)) == 1
    assert storage_status(analysed.table.database).problems == ()


def test_images_that_an_older_database_does_not_know_are_registered(
    tmp_path: Path, database_url: str
):
    """As after a restored backup: files are there, rows are not."""
    with node_in_process(tmp_path / "node", database_url) as node:
        assert set(node.send(*study())) == {0}
        acknowledged = received_instances(node.table.database, STUDY)
        for table in ("job_steps", "jobs", "instances"):
            execute(node, f"DELETE FROM {table}")
        check = Checked(node)

        checked = check.run()

        again = received_instances(node.table.database, STUDY)
        assert [(one.sop_instance_uid, one.sha256) for one in again] == [
            (one.sop_instance_uid, one.sha256) for one in acknowledged
        ]
        assert (len(checked.repairs), checked.problems) == (16, ())
        assert {one.Modality for one in node.finish()} >= {"SEG", "SR"}
        assert len(check.audited) == 16
        assert newest_changes(node.table.database)[0].action == "repair stored file"


def test_a_correction_that_an_older_database_does_not_know_is_recorded(analysed: NodeInProcess):
    corrected = study()[0]
    corrected.PatientID = "NEW-ID"
    assert analysed.send(corrected) == [0]
    execute(analysed, "DELETE FROM received_copies")

    checked = Checked(analysed).run()

    assert (len(checked.repairs), checked.problems) == (1, ())
    (copy,) = copies_of(analysed.table.database, STUDY)
    assert copy.differs == ("PatientID",)
    assert [copy.quarantined_as] == [path.name for path in files(analysed, "quarantine")]


def test_a_file_that_cannot_be_registered_is_listed_with_the_day_of_its_removal(
    node: NodeInProcess,
):
    node.send(study()[0])
    for table in ("job_steps", "jobs", "instances"):
        execute(node, f"DELETE FROM {table}")
    (kept,) = files(node, "instances")
    removal = datetime.fromtimestamp(kept.stat().st_mtime, UTC) + timedelta(days=14)

    (problem,) = Checked(node, senders=frozenset({"ANOTHER"})).run().problems

    assert problem.fault is StorageFault.UNREGISTERED
    assert f"removed on {removal:%Y-%m-%d}" in problem.action
    assert kept.exists()


def test_a_file_that_has_just_been_written_is_left_alone(node: NodeInProcess):
    node.send(study()[0])
    execute(node, "DELETE FROM job_steps")
    execute(node, "DELETE FROM jobs")
    execute(node, "DELETE FROM instances")

    found = [Checked(node).check.check_part(part, datetime.now(UTC)) for part in PARTS]

    assert sum(found, CheckedFiles()) == CheckedFiles()


# ---- results -------------------------------------------------------------------------------------


def test_damaged_results_are_made_again_byte_for_byte(analysed: NodeInProcess):
    results, pictures = (files(analysed, "results", f"*.{kind}") for kind in ("dcm", "png"))
    contents = {path: path.read_bytes() for path in [*results, *pictures]}
    for damaged in (results[0], pictures[0]):
        flip_a_bit(damaged, 70)
    for missing in (results[1], pictures[1]):
        missing.unlink()

    checked = Checked(analysed).run()

    assert (len(checked.repairs), checked.problems) == (4, ())
    assert analysed.finish() == []  # the archive has them already
    analysed.inference.draw_key_images()
    assert {path: path.read_bytes() for path in files(analysed, "results", "*")} == contents
    assert [job.state for job in analysed.jobs(STUDY)] == [State.DELIVERED] * 2
    assert Checked(analysed).run().repairs == ()


def test_results_that_are_still_to_be_sent_are_made_again_by_their_job(
    analysed: NodeInProcess,
):
    analysed.admin.redeliver(1)
    flip_a_bit(files(analysed, "results")[0])

    (repair,) = Checked(analysed).run().repairs

    assert "it is made again" in repair.message
    assert [job.state for job in analysed.jobs(STUDY)] == [State.QUEUED]


def test_results_of_other_weights_are_not_made_again_unasked(analysed: NodeInProcess):
    flip_a_bit(files(analysed, "results")[0])

    (problem,) = Checked(analysed, weights=frozenset({"contour 2.0, lesion 2.0"})).run().problems

    assert "sij-node jobs reanalyse 1" in problem.action
    assert len(analysed.jobs(STUDY)) == 1


def test_a_damaged_result_that_a_later_one_replaced_is_removed(analysed: NodeInProcess):
    first = {path.name for path in files(analysed, "results")}
    analysed.take(*classic_series(VALUES, "1.2.3.3", **GRID, **T1_TIMES, SeriesNumber=3))
    analysed.inference.draw_key_images()
    replaced = [path for path in files(analysed, "results") if path.name in first]
    kept = {one.result.file_name for one in deliveries_of(analysed.table.database, 2)}
    damaged = next(path for path in replaced if path.name not in kept)
    flip_a_bit(damaged)

    (repair,) = Checked(analysed).run().repairs

    assert "has replaced it" in repair.message
    assert not damaged.exists()
    assert len(analysed.jobs(STUDY)) == 2


def test_results_of_no_job_are_removed(analysed: NodeInProcess):
    left = files(analysed, "results")[0].with_name("ab" * 32 + ".dcm")
    left.write_bytes(b"a result")

    (repair,) = Checked(analysed).run().repairs

    assert repair.file_name == left.name
    assert not left.exists()


# ---- the database --------------------------------------------------------------------------------


def test_a_damaged_database_file_is_named(tmp_path: Path):
    with node_in_process(tmp_path / "node") as node:
        node.send(*study())
    path = tmp_path / "node" / "jobs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_instances_study_uid'"
        ).fetchone()
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    content[page * size - 40 : page * size] = bytes(40)
    path.write_bytes(content)

    with open_store(node.config) as store:
        assert "ix_instances_study_uid" in database_damage(store.table.database)


# ---- in the background ---------------------------------------------------------------------------


def test_a_check_without_repairs_changes_nothing(analysed: NodeInProcess):
    flip_a_bit(files(analysed, "results")[0])

    checked = Checked(analysed).run(repairs=False)

    assert len(checked.problems) == 1
    assert len(analysed.jobs(STUDY)) == 1
    assert storage_status(analysed.table.database).problems == ()


class Waited(threading.Event):
    """Counts how long it was waited for, and waits for nothing."""

    seconds = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds += timeout or 0
        return self.is_set()


def test_the_background_check_goes_round_no_faster_than_it_may(analysed: NodeInProcess):
    flip_a_bit(files(analysed, "instances")[3])
    waited = Waited()
    slow = StorageCheckInBackground(Checked(analysed).check, timedelta(days=7), 1000, waited)

    for _ in range(len(PARTS) + 3):
        slow.check_next()

    status = storage_status(analysed.table.database)
    checked = files(analysed, "")  # without key images: their job has only just ended
    assert next_part(analysed.table.database)[0] == 0
    assert status.files == len(checked)
    assert waited.seconds == pytest.approx(sum(path.stat().st_size for path in checked) / 1000)
    assert [one.fault for one in status.problems] == [StorageFault.DAMAGED]
    condition = condition_of(analysed)
    assert condition.status is HealthStatus.WARNING
    assert condition.message == "1 file of 1 study damaged, missing or unregistered."


def condition_of(node: NodeInProcess):
    found = node.admin.health().conditions
    return next(one for one in found if one.component is Component.STORED_FILES)


def test_a_part_that_was_interrupted_is_checked_again(analysed: NodeInProcess):
    part = PARTS.index(files(analysed, "instances")[0].name[:2])
    stop = Waited()
    slow = StorageCheckInBackground(Checked(analysed).check, timedelta(days=7), 1e9, stop)
    record_progress(analysed.table.database, part - 1, len(PARTS), CheckedFiles())

    stop.set()
    slow.check_next()

    assert next_part(analysed.table.database)[0] == part


def test_problems_keep_the_time_when_they_were_first_found(analysed: NodeInProcess):
    flip_a_bit(files(analysed, "instances")[3])
    check = Checked(analysed)
    check.run()
    (first,) = storage_status(analysed.table.database).problems

    record_round(analysed.table.database, check.run())

    assert storage_status(analysed.table.database).problems == (first,)


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_lists_faults_and_sets_its_exit_status(tmp_path: Path, delivered: Path):
    copytree(delivered, tmp_path / "node")
    with node_in_process(tmp_path / "node") as node:
        (node.config.node.data_folder / "config.toml").write_text(
            f"""
[node]
ae_title = "SIJ"
data_folder = "{node.config.node.data_folder}"
[[peer]]
ae_title = "{ARCHIVE}"
networks = ["127.0.0.1"]
host = "127.0.0.1"
port = 4242
[spool]
min_free_mb = 1
"""
        )
        command = ["verify", "--config", str(node.config.node.data_folder / "config.toml")]
        well = CliRunner().invoke(app, command)
        flip_a_bit(files(node, "instances")[3])
        damaged = CliRunner().invoke(app, command)
        as_json = CliRunner().invoke(app, [*command, "--json", "--check-only"])

    assert (well.exit_code, damaged.exit_code, as_json.exit_code) == (0, 1, 1)
    assert "0 need attention" in well.output
    assert "send the study again from ARCHIVE" in damaged.output
    assert json.loads(as_json.stdout)["problems"][0]["fault"] == "damaged"
