"""The metrics cover the whole node and contain no patient data."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.findings import POSITIONS, Finding
from sij_node.domain.analysis_record import AnalysisRecord
from sij_node.errors import ConfigurationInvalid
from sij_node.store.drift_figures import histories
from sij_node.store.peer_activity_table import PeerActivityLog, PeerCounter
from sij_node.store.tables import jobs
from tests.support.job_tables import analysing, made
from tests.support.measured_node import add_studies, everything_happens
from tests.support.running_web import RunningWeb, running_web
from tests.support.waiting import wait_for

DEPLOY = Path(__file__).parents[3] / "deploy"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RunningWeb]:
    with running_web(tmp_path, metrics={"cache_s": 0.01}) as web:
        yield web


def samples_in(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(web: RunningWeb) -> Samples:
    with web.visitor() as prometheus:
        answer = prometheus.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples_in(answer.text)


def test_one_scrape_shows_the_whole_node(web):
    everything_happens(web)

    seen = scraped(web)

    def value(name: str, **labels: str) -> float:
        return seen[name, tuple(sorted(labels.items()))]

    assert value("sij_database_up") == 1
    assert value("sij_jobs", state="delivering") == 1
    assert value("sij_cstore_received_total", peer="PACS", status="0x0000") == 1
    assert value("sij_cstore_sent_total", peer="PACS", status="0xA700") == 1
    assert value("sij_delivery_failures_total", destination="PACS") == 1
    assert value("sij_destination_pending_jobs", destination="PACS") == 1
    verdicts = {"sender": "PACS", "lesion": "oedema"}
    assert value("sij_verdicts", outcome="accepted", **verdicts) == 1
    assert value("sij_agreement_fallen", **verdicts) == 0
    assert value("sij_state_seconds_count", state="analysing") == 1
    assert value("sij_condition", component="listener", destination="") == 2
    assert value("sij_positive_share_recent", sender="PACS", lesion="oedema") == 0.9
    assert value("sij_positive_share_reference", sender="PACS", lesion="oedema") == 0.2
    changed = value("sij_drift_distance", sender="PACS", figure="T1 pixel mm")
    unchanged = value("sij_drift_distance", sender="PACS", figure="T1 slices")
    limit = value("sij_drift_limit", sender="PACS", figure="T1 slices")
    assert unchanged < limit < changed
    (used,) = (v for (name, labels), v in seen.items() if ("kind", "used") in labels)
    assert used == 9e6


def test_every_metric_that_dashboard_and_rules_name_is_there(web):
    everything_happens(web)
    shown = {name for name, _ in scraped(web)}

    for file in ("grafana/sij-node.json", "prometheus/rules.yml"):
        named = set(re.findall(r"\bsij_[a-z_]+", (DEPLOY / file).read_text(encoding="utf-8")))
        assert named - shown == set(), file


def panels() -> list[dict[str, Any]]:
    return json.loads((DEPLOY / "grafana" / "sij-node.json").read_text("utf-8"))["panels"]


def test_every_label_that_dashboard_and_rules_ask_for_has_that_value(web):
    everything_happens(web)
    known = {(name, *label) for name, labels in scraped(web) for label in labels}
    targets = [target for panel in panels() for target in panel.get("targets", ())]
    rules = (DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    asked = " ".join([*(target["expr"] for target in targets), rules])

    wanted = {
        (name, label, value)
        for name, matchers in re.findall(r"\b(sij_[a-z_]+)\{([^}]*)\}", asked)
        for label, values in re.findall(r'(\w+)!?=~?"([^"]*)"', matchers)
        for value in values.split("|")
    }

    assert len(wanted) > 15
    assert wanted - known == set()


def test_dashboard_legends_use_only_labels_of_their_metric(web):
    everything_happens(web)
    known = {(name, label) for name, labels in scraped(web) for label, _ in labels}

    for target in [target for panel in panels() for target in panel.get("targets", ())]:
        names = re.findall(r"\bsij_[a-z_]+", target["expr"])
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert legend <= {label for name, label in known if name in names}, target["expr"]


def test_the_dashboard_can_be_laid_out():
    places = [
        (place["x"] + column, place["y"] + row)
        for place in (panel["gridPos"] for panel in panels())
        for column in range(place["w"])
        for row in range(place["h"])
    ]

    assert len(set(places)) == len(places), "two panels lie on top of each other"
    assert max(column for column, _ in places) < 24
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert all(panel["title"] for panel in panels())


def test_nothing_of_a_patient_or_a_study_is_shown(web):
    everything_happens(web)
    with web.visitor() as prometheus:
        text = prometheus.get("/metrics").text

    assert "1.2.3" not in text
    assert "P1" not in text
    labels = {name for _, pairs in samples_in(text) for name, _ in pairs}
    assert labels <= {
        *("state", "step", "le", "component", "destination", "peer", "status", "outcome", "reason"),
        *("destination", "process", "role", "device", "kind", "sender", "lesion", "figure"),
        *("version", "fault"),
    }


def test_strangers_are_one_label_however_many_they_are(web):
    book = PeerActivityLog(web.store.contacts)
    for _ in range(50):
        book.count(PeerCounter.REFUSALS, "unknown", "calling AE title is not a configured peer")
    book.write()

    refusals = [labels for name, labels in scraped(web) if name == "sij_association_refusals_total"]

    assert len(refusals) == 1


def test_counters_go_on_while_jobs_do(web):
    first = scraped(web)
    analysing(web.table)

    def claimed() -> bool:
        step = ("sij_job_steps_total", (("step", "claimed"),))
        return scraped(web)[step] == first[step] + 1

    wait_for(claimed, "claimed job")


def test_other_networks_need_the_token(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    settings = {"networks": ["192.0.2.0/24"], "token_file": "token"}
    with running_web(tmp_path, metrics=settings) as web, web.visitor() as prometheus:
        bare = prometheus.get("/metrics")
        wrong = prometheus.get("/metrics", headers={"authorization": "Bearer s3cre"})
        right = prometheus.get("/metrics", headers={"authorization": "Bearer s3cret"})

    assert [bare.status_code, wrong.status_code, right.status_code] == [403, 403, 200]
    assert "sij_jobs" not in bare.text + wrong.text


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_token_file_without_a_token_is_refused_at_the_start(tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_text(content)

    with (
        pytest.raises(ConfigurationInvalid, match="token_file"),
        running_web(tmp_path, metrics={"token_file": "token"}),
    ):
        pass


def test_a_database_that_is_away_is_shown_and_not_an_error(web):
    web.table.database._engine.dispose()
    database = web.config.node.data_folder / "jobs.sqlite"
    database.rename(database.with_suffix(".away"))
    database.mkdir()

    seen = scraped(web)

    assert seen["sij_database_up", ()] == 0
    assert seen["sij_condition", (("component", "database"), ("destination", ""))] == 2
    assert ("sij_disk_free_bytes", ()) in seen


# ---- what drift is measured on -----------------------------------------------------------


def test_answers_are_compared_with_answers_of_the_same_weights_only(table):
    add_studies(table, 40, 1, 0.5, 1.0)
    with table.database.writing() as connection:
        connection.execute(jobs.update().values(weights="contour 1, lesion 0"))
    add_studies(table, 40, 101, 0.5, 0.0)

    known = histories(table.database, ["PACS", "NOBODY"])

    reference = known["PACS"].reference
    assert {one["oedema present"] for one in reference if "oedema present" in one} == {0.0}
    assert sum("T1 pixel mm" in one for one in reference) == 80
    assert len(known["PACS"].recent) == 50
    assert known["NOBODY"].recent == []


def test_figures_are_kept_with_the_results(table):
    job = analysing(table)
    findings = tuple(Finding(position, 0.5, 0.4) for position in POSITIONS)
    record = AnalysisRecord(findings=findings, figures={"T1 slices": 20.0})

    table.store_results(job, [made()], "PACS", "w", weights="lesion 1", record=record)

    (study,) = histories(table.database, ["PACS"])["PACS"].recent
    assert study["T1 slices"] == 20.0
    assert study["ankylosis present"] == 1.0
    assert study["ankylosis probability"] == 0.5
