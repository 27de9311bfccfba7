"""The campaign's own checker sees every kind of broken promise, and its proxy cuts."""

import hashlib
import random
import socket
import sqlite3
import threading
from pathlib import Path

import pytest

from deploy.campaign.fault_proxy import FaultProxy
from deploy.campaign.invariants import violations
from deploy.campaign.reliability_page import replace_figures
from deploy.campaign.senders import small_study
from sij_node.dicom.part10 import part10_header
from sij_node.store.database import open_database
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool
from tests.support.job_tables import delivering, made, received
from tests.support.raw_peer import EXPLICIT, MR

DATASET = b"a dataset"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A node that has received one image and delivered one report."""
    data = tmp_path / "data"
    engine = open_database(f"sqlite:///{data / 'jobs.sqlite'}")
    table, spool = JobTable(engine), Spool(data / "spool")
    job = delivering(table, made("not analysed"))
    claimed = table.claim_delivery("w")
    table.record_delivery(claimed, made("not analysed").sop_instance_uid, "PACS", 0, True)
    table.delivered(claimed, "w")
    with spool.stage() as staged:
        staged.write(part10_header(MR, received(1).sop_instance_uid, EXPLICIT, "PACS"), DATASET)
        staged.keep(received(1).file_name)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / f"{made('not analysed').sop_instance_uid}.dcm").touch()
    engine.dispose()
    assert job
    return data


def judged(data: Path, **changes: str) -> list[str]:
    line = {
        "uid": received(1).sop_instance_uid,
        "study": "1.2.3",
        "sha256": hashlib.sha256(DATASET).hexdigest(),
        **changes,
    }
    return violations(data, [line], data.parent / "archive")


def execute(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "jobs.sqlite") as connection:
        connection.execute(statement)


def test_a_node_that_kept_its_promises_is_not_blamed(data):
    assert judged(data) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uid": "1.2.3.404"}, "is not stored"),
        ({"sha256": "0"}, "with other content"),
        ({"study": "9.9"}, "has 0 reports"),
    ],
)
def test_what_was_acknowledged_and_is_not_there_is_found(data, changes, said):
    assert any(said in one for one in judged(data, **changes))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM instances", "has 0 rows"),
        ("UPDATE jobs SET state = 'analysing'", "is still analysing"),
        ("UPDATE jobs SET state = 'failed'", "failed"),
        ("UPDATE jobs SET leased_by = 'w'", "is still"),
        ("UPDATE deliveries SET state = 'pending'", "is pending or not at the archive"),
        ("DELETE FROM deliveries", "no delivery of it is known"),
    ],
)
def test_what_a_node_left_undone_is_found(data, statement, said):
    execute(data, statement)

    assert any(said in one for one in judged(data))


def test_a_report_that_the_archive_lost_and_a_leftover_file_are_found(data):
    for file in (data.parent / "archive").iterdir():
        file.unlink()
    (data / "spool" / "incoming" / "left.part").touch()

    found = " ".join(judged(data))

    assert "not at the archive" in found
    assert "left.part was left" in found


@pytest.mark.parametrize(("share", "whole"), [(0.0, True), (1.0, False)])
def test_the_proxy_forwards_or_cuts(share, whole):
    with socket.create_server(("127.0.0.1", 0)) as target:

        def echo() -> None:
            connection, _ = target.accept()
            with connection:
                while data := connection.recv(65536):
                    try:
                        connection.sendall(data)
                    except OSError:
                        return

        threading.Thread(target=echo, daemon=True).start()
        port = target.getsockname()[1]
        with (
            FaultProxy(port, share, random.Random(1)) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), 10) as client,
        ):
            got = 0
            try:
                for _ in range(20):
                    client.sendall(bytes(8192))
                    while got % 8192 or not got or got < 8192:
                        piece = client.recv(8192)
                        if not piece:
                            raise ConnectionResetError
                        got += len(piece)
                    got = 0
                is_whole = True
            except OSError:
                is_whole = False

    assert (is_whole, proxy.cut) == (whole, 0 if whole else 1)


def test_studies_are_new_each_time_and_lack_a_stir():
    first, second = (list(small_study(random.Random(seed))) for seed in (1, 2))

    uids = [one.SOPInstanceUID for one in (*first, *second)]
    assert len(set(uids)) == 8
    assert len({one.StudyInstanceUID for one in (*first, *second)}) == 2
    assert {one.SeriesDescription for one in first} == {"t1_tse_cor_obl"}


def test_only_the_figures_of_the_page_are_replaced():
    page = "before\n<!-- figures of make campaign -->\nold\n<!-- end of figures -->\nafter\n"

    once = replace_figures(page, "new")

    assert once.startswith("before\n<!-- figures of make campaign -->\n\nnew\n")
    assert once.endswith("<!-- end of figures -->\nafter\n")
    assert replace_figures(once, "new") == once
