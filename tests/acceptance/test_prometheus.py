"""A real Prometheus scrapes the node, loads its alert rules and raises alerts."""

import json
from pathlib import Path

import pytest

from sij_node.domain.health import ProcessRole
from sij_node.store.peer_activity_table import PeerActivityLog, PeerCounter
from sij_node.store.process_table import heartbeats, this_process
from tests.support.job_tables import analysing
from tests.support.measured_node import everything_happens
from tests.support.prometheus import SHIPPED, running_prometheus
from tests.support.required_programs import said_by
from tests.support.running_web import running_web
from tests.support.waiting import wait_for

pytestmark = pytest.mark.acceptance
DASHBOARD = SHIPPED.parent / "grafana" / "sij-node.json"


def test_the_rules_call_when_they_should_and_only_then():
    said = said_by("promtool", "prometheus", "test", "rules", SHIPPED / "rules_test.yml")

    assert any("SUCCESS" in line for line in said), said


def test_prometheus_accepts_the_configuration_and_rules():
    rules = (SHIPPED / "rules.yml").read_text(encoding="utf-8").count("- alert:")
    said = said_by("promtool", "prometheus", "check", "config", SHIPPED / "prometheus.yml")

    assert any(f" {rules} rules found" in line for line in said), said
    assert not any("FAILED" in line for line in said), said


def test_prometheus_reads_the_node_and_sees_what_is_wrong(tmp_path: Path):
    worker = this_process(ProcessRole.WORKER)
    with (
        running_web(tmp_path / "node", metrics={"cache_s": 0.1}) as web,
        heartbeats(web.store.processes, lambda: worker),
    ):
        wait_for(web.store.processes.seen, "worker")
        analysing(web.table)
        book = PeerActivityLog(web.store.contacts)
        book.count(PeerCounter.RECEIVED, "PACS", "0x0000")
        book.write()
        address = web.url.removeprefix("http://")
        with running_prometheus(tmp_path / "prometheus", address) as prometheus:
            wait_for(lambda: prometheus.values('up{job="sij-node"} == 1'), "scrape")

            jobs = prometheus.values("sij_jobs")
            assert jobs[(("state", "analysing"),)] == 1
            received = prometheus.values("sij_cstore_received_total")
            assert received == {(("peer", "PACS"), ("status", "0x0000")): 1}
            assert prometheus.values('sij_condition{component="workers"}') == {
                (("component", "workers"),): 0
            }

            def pending() -> list[str]:
                alerts = prometheus.ask("alerts")["alerts"]
                return [alert["labels"]["alertname"] for alert in alerts]

            wait_for(lambda: "SijListenerDown" in pending(), "alert about the listener")
            assert "SijNoWorker" not in pending()


def test_prometheus_answers_every_question_of_the_dashboard(tmp_path: Path):
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    questions = [target["expr"] for panel in panels for target in panel.get("targets", ())]

    with running_web(tmp_path / "node", metrics={"cache_s": 0.1}) as web:
        everything_happens(web)
        address = web.url.removeprefix("http://")
        with running_prometheus(tmp_path / "prometheus", address) as prometheus:
            # Two scrapes: what changes in a time is known from the second on.
            wait_for(lambda: prometheus.values("rate(sij_jobs[1m])"), "second scrape")
            unanswered = [one for one in questions if not prometheus.values(one)]

    assert len(questions) > 20
    assert unanswered == []
