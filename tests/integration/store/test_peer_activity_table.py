"""Heartbeats of processes and activity of peers, on both databases."""

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import update

from sij_node.audit.peer_events import PeerEvents
from sij_node.config.settings import Config, NodeConfig, PeerConfig
from sij_node.domain.health import Component, HealthStatus, ProcessRole
from sij_node.domain.job import RetryPolicy
from sij_node.errors import DatabaseUnavailable, DestinationUnavailable
from sij_node.operate.health_check import check_health
from sij_node.store.destination_holds import hold
from sij_node.store.job_statistics import failing_destinations, queue_status
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity_table import PeerActivityLog, PeerActivityTable, PeerCounter
from sij_node.store.process_table import (
    ProcessTable,
    deregister,
    heartbeats,
    is_running,
    this_process,
)
from sij_node.store.spool import Spool
from sij_node.store.tables import processes
from tests.support.job_tables import NOON, delivering, made, queued
from tests.support.raw_peer import associate_request, encoded
from tests.support.running_listener import listening, mr_image
from tests.support.unrecorded_events import NO_TRAIL
from tests.support.waiting import wait_for

POLICY = RetryPolicy(max_attempts=5, first_wait_s=5, max_wait_s=300)
ME = this_process(ProcessRole.WORKER)
UNREACHABLE = DestinationUnavailable("PACS at pacs:104 cannot be reached.")


@pytest.fixture
def known(table: JobTable) -> ProcessTable:
    return ProcessTable(table.database)


def grow_old(table: JobTable, name: str) -> None:
    """Let a process have been silent since long ago."""
    with table.database.writing() as connection:
        connection.execute(update(processes).where(processes.c.name == name).values(beaten_at=NOON))


# ---- processes ---------------------------------------------------------------------------


def test_a_process_is_seen_as_it_described_itself(known):
    me = replace(ME, device="cuda:0 H200", gpu_used_mb=1.5, gpu_total_mb=9.0, weights="a 1, b 2")
    known.record_heartbeat(me)
    known.record_heartbeat(replace(me, job_id=41))

    (seen,) = known.seen()

    assert seen.process == replace(me, job_id=41)
    assert seen.silent_s < 60


def test_a_process_without_heartbeat_is_flagged_then_removed(table, known):
    known.record_heartbeat(replace(ME, name="elsewhere:1", host="elsewhere"))
    known.record_heartbeat(ME)
    grow_old(table, "elsewhere:1")
    assert known.seen()[0].silent_s > 1e6

    known.remove_dead(ME, lambda pid: True)

    assert [one.process for one in known.seen()] == [ME]


def test_a_process_replaces_dead_ones_of_its_machine_and_role(known):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    known.record_heartbeat(replace(ME, name="here:dead", pid=ended.pid))
    known.record_heartbeat(
        replace(ME, name="here:listener", pid=ended.pid, role=ProcessRole.LISTENER)
    )
    known.record_heartbeat(replace(ME, name="there:1", pid=ended.pid, host="there"))

    known.remove_dead(ME, is_running)

    assert {one.process.name for one in known.seen()} == {"here:listener", "there:1"}


def test_a_process_is_listed_while_it_sends_heartbeats(known):
    written = []
    with heartbeats(known, lambda: ME, lambda: written.append(1)):
        wait_for(known.seen, "process")
        assert len(written) <= 1

    assert known.seen() == ()
    assert written


def test_a_database_that_does_not_answer_stops_no_beating():
    class Dead:
        @contextmanager
        def writing(self):
            raise DatabaseUnavailable("away")
            yield

        reading = writing

    table = ProcessTable(Dead())
    with heartbeats(table, lambda: ME):
        pass
    deregister(table, ME)


# ---- contacts and counts -----------------------------------------------------------------


def test_contacts_and_counts_are_kept_and_added_to(table):
    kept = PeerActivityTable(table.database)
    book = PeerActivityLog(kept)
    for _ in range(2):
        book.accepted("PACS", "10.0.0.1")
        book.echo_received("PACS")
        book.count(PeerCounter.RECEIVED, "PACS", "0x0000")
        book.write()
    book.echo_sent("OTHER", "OTHER at other:104 cannot be reached.")
    book.refused("PACS", "10.0.0.2", "too little free disk space")
    book.write()

    other, pacs = kept.contacts()
    assert (other.peer, other.accepted_at) == ("OTHER", None)
    assert other.echo_out_at is not None
    assert "cannot be reached" in other.echo_out_error
    assert (pacs.address, pacs.refused_because) == ("10.0.0.2", "too little free disk space")
    assert None not in (pacs.accepted_at, pacs.refused_at, pacs.echo_in_at)
    assert kept.tallies() == {(PeerCounter.RECEIVED, "PACS", "0x0000"): 2}


def test_what_could_not_be_written_is_written_the_next_time(table):
    kept = PeerActivityTable(table.database)

    class UnreachableDatabase(PeerActivityTable):
        database_is_down = True

        def write(self, news, counts):
            if self.database_is_down:
                raise DatabaseUnavailable("away")
            super().write(news, counts)

    database_is_down = UnreachableDatabase(table.database)
    book = PeerActivityLog(database_is_down)
    book.count(PeerCounter.SENT, "PACS", "0x0000")
    book.accepted("PACS", "10.0.0.1")
    with pytest.raises(DatabaseUnavailable):
        book.write()
    book.count(PeerCounter.SENT, "PACS", "0x0000")
    database_is_down.database_is_down = False
    book.write()

    assert kept.tallies() == {(PeerCounter.SENT, "PACS", "0x0000"): 2}
    assert kept.contacts()[0].address == "10.0.0.1"


def test_the_door_notes_who_came_and_counts_what_was_answered(table, tmp_path):
    kept = PeerActivityTable(table.database)
    book = PeerActivityLog(kept)
    events = PeerEvents(book, NO_TRAIL, str, ("MODALITY", "ELSEWHERE"))
    with listening(tmp_path, events=events) as node:
        with node.associated() as peer:
            assert peer.echo() == 0
            assert peer.store("1.2.3", encoded(mr_image("1.2.3"))) == 0
            assert peer.store("1.2.4", encoded(mr_image("1.2.4"))[:-9]) == 0xC000
            peer.release()
        with node.peer() as stranger:
            assert stranger.associate(associate_request(b"SIJ", b"NOBODY"))[0] == 3
        with node.peer() as elsewhere:
            assert elsewhere.associate(associate_request(b"SIJ", b"ELSEWHERE"))[0] == 3
    book.write()

    elsewhere, modality = kept.contacts()
    assert (elsewhere.peer, elsewhere.accepted_at) == ("ELSEWHERE", None)
    assert elsewhere.refused_because.startswith('"ELSEWHERE" called from 127.0.0.1, but networks')
    assert None not in (modality.accepted_at, modality.echo_in_at)
    assert kept.tallies() == {
        (PeerCounter.RECEIVED, "MODALITY", "0x0000"): 1,
        (PeerCounter.RECEIVED, "MODALITY", "0xC000"): 1,
        (PeerCounter.REFUSALS, "unknown", "calling AE title is not a configured peer"): 1,
        (PeerCounter.REFUSALS, "ELSEWHERE", "address not allowed for this peer"): 1,
        (PeerCounter.ASSOCIATIONS, "MODALITY", "released"): 1,
        (PeerCounter.ASSOCIATIONS, "unknown", "rejected"): 1,
        (PeerCounter.ASSOCIATIONS, "ELSEWHERE", "rejected"): 1,
    }


# ---- queue and destinations --------------------------------------------------------------


def test_the_queue_names_the_job_that_has_waited_longest(table):
    assert queue_status(table.database).waiting == 0
    first = queued(table, "1.2.3", priority=1)
    queued(table, "1.2.4", priority=9)

    now = queue_status(table.database)

    assert (now.waiting, now.oldest_job_id) == (2, first.job_id)
    assert 0 <= now.oldest_s < 60


def test_a_destination_is_stuck_until_a_delivery_succeeds(table):
    job = delivering(table)
    assert failing_destinations(table.database) == {}

    failed = table.fail(table.claim_delivery("courier"), UNREACHABLE, POLICY, "courier")
    stuck = failing_destinations(table.database)["PACS"]
    assert (stuck.jobs, stuck.acknowledged_since, stuck.reason) == (1, False, str(UNREACHABLE))

    table.release(failed)
    claimed = table.claim_delivery("courier")
    table.record_delivery(claimed, made().sop_instance_uid, "PACS", 0, True)
    table.delivered(table.get(job.job_id), "courier")
    assert failing_destinations(table.database) == {}


def test_a_destination_that_takes_others_but_refuses_one_is_not_down(table):
    delivering(table)
    table.fail(table.claim_delivery("courier"), UNREACHABLE, POLICY, "courier")
    other = delivering(table, study_uid="1.2.4")
    table.record_delivery(
        table.claim_delivery("courier"), made(study_uid="1.2.4").sop_instance_uid, "PACS", 0, True
    )
    table.delivered(table.get(other.job_id), "courier")

    assert failing_destinations(table.database)["PACS"].acknowledged_since


def test_a_destination_that_a_person_holds_is_not_stuck(table):
    delivering(table)
    table.fail(table.claim_delivery("courier"), UNREACHABLE, POLICY, "courier")
    hold(table.database, "PACS", "migration tonight", "anna")

    assert failing_destinations(table.database) == {}


def test_a_checkup_says_what_is_wrong_here_and_now(table, known, tmp_path):
    config = Config(
        node=NodeConfig(ae_title="SIJ", data_folder=tmp_path),
        peer=(PeerConfig(ae_title="PACS", networks=("10.0.0.0/8",), host="pacs", port=104),),
    )
    spool = Spool(tmp_path / "spool")
    known.record_heartbeat(ME)

    found = check_health(config, table.database, spool)

    statuses = {one.component: one.status for one in found.conditions}
    assert statuses[Component.WORKERS] is HealthStatus.OK
    assert statuses[Component.LISTENER] is HealthStatus.FAILED
    assert statuses[Component.DATABASE] is HealthStatus.OK
    assert found.facts.destinations == ("PACS",)


def test_a_checkup_without_a_spool_says_so(table, tmp_path):
    config = Config(
        node=NodeConfig(ae_title="SIJ", data_folder=tmp_path),
        peer=(PeerConfig(ae_title="PACS", networks=("10.0.0.0/8",), host="pacs", port=104),),
    )
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool" / "results").rmdir()

    conditions = check_health(config, table.database, spool).conditions

    assert [one.status for one in conditions if one.component is Component.SPOOL] == [
        HealthStatus.FAILED
    ]
