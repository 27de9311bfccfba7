"""The alert monitor reports each problem once, across restarts and outages."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from deploy.trial import set_up
from sij_node.config.settings import (
    AlertsConfig,
    Config,
    HealthConfig,
    NodeConfig,
    PeerConfig,
    SpoolConfig,
    load_config,
)
from sij_node.domain.alerts import AlertKind, AlertLine
from sij_node.domain.health import ProcessRole
from sij_node.domain.job import RetryPolicy
from sij_node.errors import AlertNotSent, DatabaseUnavailable, InternalFault
from sij_node.operate.alert_monitor import CHECK_ALERTS_S, AlertMonitor
from sij_node.processes import listener_process
from sij_node.store.database import open_database
from sij_node.store.job_table import JobTable
from sij_node.store.process_table import ProcessTable, this_process
from sij_node.store.spool import Spool
from tests.support.job_tables import analysing, queued
from tests.support.waiting import wait_for
from tests.support.webhook_receiver import hook_receiver

POLICY = RetryPolicy(max_attempts=1, first_wait_s=1, max_wait_s=1)
PACS = PeerConfig(ae_title="PACS", networks=("10.0.0.0/8",), host="pacs", port=104)


class Paper:
    """An alert channel that records what it sends, or is unreachable."""

    def __init__(self, name: str = "paper") -> None:
        self.name = name
        self.sent: list[tuple[AlertKind, str]] = []
        self.fails = False

    def send(self, lines: Sequence[AlertLine]) -> None:
        if self.fails:
            raise AlertNotSent("No paper.")
        self.sent += [(line.kind, line.message) for line in lines]

    def take(self) -> list[tuple[AlertKind, str]]:
        sent, self.sent = self.sent, []
        return sent


class MonitoredNode:
    """A node with an alert monitor, and its time."""

    def __init__(self, folder: Path, table: JobTable, *papers: Paper, **alerts: object) -> None:
        self.config = Config(
            node=NodeConfig(ae_title="SIJ", data_folder=folder),
            peer=(PACS,),
            spool=SpoolConfig(min_free_mb=0),
            health=HealthConfig(low_disk_mb=0),
            alerts=AlertsConfig(**alerts),
        )
        self.table = table
        self.processes = ProcessTable(table.database)
        self.worker = this_process(ProcessRole.WORKER)
        self.papers = papers or (Paper(),)
        self.folder = folder
        self.elapsed_s = 0.0
        self.start()

    def start(self) -> None:
        """Begin anew, as after a restart."""
        self.monitor = AlertMonitor(
            self.config,
            self.table.database,
            Spool(self.folder / "spool"),
            self.papers,
            wall=lambda: datetime.now(UTC) + timedelta(seconds=self.elapsed_s),
            clock=lambda: self.elapsed_s,
        )

    def pass_time(self, minutes: float = 5, is_working: bool = True) -> list[tuple[AlertKind, str]]:
        """Check every half minute for a while; returns the alerts sent by the first channel."""
        for _ in range(round(minutes * 60 / CHECK_ALERTS_S)):
            if is_working:
                self.processes.record_heartbeat(self.worker)
            else:
                self.processes.end(self.worker.name)
            self.monitor.check_and_send()
            self.elapsed_s += CHECK_ALERTS_S
        return self.papers[0].take()


@pytest.fixture
def monitored(tmp_path: Path, table: JobTable) -> MonitoredNode:
    return MonitoredNode(tmp_path, table)


def fail(table: JobTable, study_uid: str = "1.2.3") -> None:
    table.fail(analysing(table, study_uid), InternalFault("It crashed."), POLICY, "w")


def test_a_healthy_node_sends_no_alert(monitored):
    assert monitored.pass_time() == []


def test_a_missing_worker_is_alerted_after_debounce_and_on_recovery(monitored):
    assert monitored.pass_time(1, is_working=False) == []
    ((kind, words),) = monitored.pass_time(4, is_working=False)
    assert (kind, words) == (
        AlertKind.NEW,
        "No worker is running. Studies are received but not analysed.",
    )

    assert monitored.pass_time(1) == []
    ((kind, words),) = monitored.pass_time(4)
    assert kind is AlertKind.RESOLVED
    assert words.startswith("No worker is running.")


def test_a_flapping_condition_sends_no_alert(monitored):
    sent = []
    for _ in range(5):
        sent += monitored.pass_time(1, is_working=False)
        sent += monitored.pass_time(1)

    assert sent == []


def test_a_restart_repeats_no_alert(monitored):
    monitored.pass_time(5, is_working=False)
    monitored.start()

    assert monitored.pass_time(5, is_working=False) == []
    monitored.start()
    assert [kind for kind, _ in monitored.pass_time(5)] == [AlertKind.RESOLVED]


def test_an_unresolved_alert_is_repeated_the_next_day(monitored):
    monitored.pass_time(5, is_working=False)
    monitored.elapsed_s += 24 * 3600

    assert [kind for kind, _ in monitored.pass_time(5, is_working=False)] == [AlertKind.UNRESOLVED]


def test_a_failed_job_is_reported_once_and_old_ones_never(tmp_path, table):
    fail(table)
    monitored = MonitoredNode(tmp_path, table)
    assert monitored.pass_time() == []

    fail(table, "1.2.4")
    sent = monitored.pass_time()
    monitored.start()

    assert sent == [(AlertKind.NEW, "Job 2 from PACS failed: It crashed.")]
    assert monitored.pass_time() == []


def test_failed_jobs_name_the_patient_where_that_is_switched_on(tmp_path, table):
    monitored = MonitoredNode(tmp_path, table, patient_data=True)
    monitored.pass_time(1)
    fail(table)

    ((_, words),) = monitored.pass_time()

    assert "patient P1, study 1.2.3" in words


def test_a_failed_alert_is_retried_and_other_channels_still_work(tmp_path, table):
    broken, good = Paper("broken"), Paper("good")
    broken.fails = True
    monitored = MonitoredNode(tmp_path, table, broken, good)
    monitored.pass_time(1)
    fail(table)

    with capture_logs() as logs:
        monitored.pass_time(10, is_working=False)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["alert failed"]
    assert [words.split()[0] for _, words in good.take()] == ["Job", "No"]

    broken.fails = False
    assert {words.split()[0] for _, words in monitored.pass_time(20, is_working=False)} == {
        "Job",
        "No",
    }
    assert good.take() == []


def test_a_silent_sender_is_reported_until_it_sends_again(tmp_path, table):
    always = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    monitored = MonitoredNode(
        tmp_path, table, silent_sender_hours=4, working_days=always, working_hours=(0, 24)
    )
    assert monitored.pass_time() == []
    queued(table)
    table.cancel(table.get(1), "test")
    monitored.elapsed_s += 5 * 3600

    ((kind, words),) = monitored.pass_time()

    assert kind is AlertKind.NEW
    assert words == "No study from PACS for 5 h of working time."


class Outage:
    """A database that can be taken away."""

    def __init__(self, database):
        self._database = database
        self.is_away = False

    def reading(self):
        return self._there().reading()

    def row(self, statement):
        return self._there().row(statement)

    def rows(self, statement):
        return self._there().rows(statement)

    def writing(self):
        return self._there().writing()

    def _there(self):
        if self.is_away:
            raise DatabaseUnavailable("The job table does not answer.")
        return self._database


class Mute(ProcessTable):
    """Processes that cannot report themselves."""

    def end(self, name: str) -> None:
        """Nothing can be written."""


def test_a_database_outage_is_reported_and_resolves_no_other_alert(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    table = JobTable(engine)
    table._database = outage = Outage(table.database)
    monitored = MonitoredNode(tmp_path, table)
    monitored.pass_time(5, is_working=False)

    outage.is_away = True
    monitored.processes = Mute(table.database)
    sent = monitored.pass_time(10, is_working=False)
    outage.is_away = False
    after = monitored.pass_time(10, is_working=False)
    engine.dispose()

    assert sent == [(AlertKind.NEW, "The job table does not answer.")]
    assert [kind for kind, _ in after] == [AlertKind.RESOLVED]
    assert "does not answer" in after[0][1]


def test_the_running_listener_sends_alerts_to_the_webhook(tmp_path):
    (tmp_path / "secret").write_text("shared")
    stop = threading.Event()
    with hook_receiver() as receiver:
        trial = set_up(
            tmp_path,
            "PACS",
            104,
            alerts={"debounce_minutes": 0},
            **{"alerts.webhook": {"url": receiver.url, "secret_file": "secret"}},
        )
        listening = threading.Thread(
            target=listener_process.run, args=(load_config(trial.config), stop)
        )
        listening.start()
        try:
            wait_for(lambda: receiver.posts, "post")
        finally:
            stop.set()
            listening.join()

    ((_, body),) = receiver.posts
    assert "No worker is running." in body.decode()
