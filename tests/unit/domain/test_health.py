"""The node's health conditions and recommended actions."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sij_node.config.settings import HealthConfig
from sij_node.domain.health import (
    Component,
    Condition,
    FailingDestination,
    HealthFacts,
    HealthStatus,
    Process,
    ProcessHeartbeat,
    ProcessRole,
    QueueStatus,
    health,
    problems,
    worst,
)
from sij_node.domain.storage_check import StorageFault, StorageProblem, StorageStatus
from sij_node.domain.time_spans import in_words

LIMITS = HealthConfig(
    heartbeat_timeout_s=30, max_queue_minutes=30, destination_down_minutes=10, low_disk_mb=5000
)
NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


def process(
    role: ProcessRole, number: int = 1, silent_s: float = 1, weights: str = "aa"
) -> ProcessHeartbeat:
    me = Process(f"box:{number}", role, "box", number, "0.1.0", NOON, weights_sha256=weights)
    return ProcessHeartbeat(me, silent_s)


WELL = HealthFacts(
    min_free_mb=1000,
    destinations=("PACS",),
    free_mb=20_000,
    processes=(process(ProcessRole.LISTENER), process(ProcessRole.WORKER, 2)),
)

CHECKED = {
    Component.DATABASE,
    Component.SPOOL,
    Component.DISK,
    Component.STORED_FILES,
    Component.LISTENER,
    Component.WORKERS,
    Component.QUEUE,
    Component.DESTINATION,
}


def condition(facts: HealthFacts, component: Component) -> Condition:
    """The worst condition of a part."""
    found = [one for one in health(facts, LIMITS) if one.component is component]
    return next(iter(problems(found)), found[0])


def test_a_healthy_node_reports_every_component_as_ok():
    conditions = health(WELL, LIMITS)

    assert {one.component for one in conditions} == CHECKED
    assert worst(conditions) is HealthStatus.OK
    assert problems(conditions) == ()


def test_every_problem_states_what_to_do():
    ill = HealthFacts(
        min_free_mb=1000,
        destinations=("PACS", "OTHER"),
        free_mb=2000,
        processes=(process(ProcessRole.WORKER, 1, 100),),
        queue=QueueStatus(3, 7, 4000),
        stuck={"PACS": FailingDestination("PACS", 2, 900, False, "PACS cannot be reached.")},
    )

    found = problems(health(ill, LIMITS))

    assert {one.component for one in found} == {
        Component.DISK,
        Component.LISTENER,
        Component.WORKERS,
        Component.QUEUE,
        Component.DESTINATION,
    }
    assert all(one.action and one.message.endswith(".") for one in found)
    assert [one.status for one in found] == sorted(one.status for one in found)


@pytest.mark.parametrize(
    ("free_mb", "status"),
    [
        (20_000, HealthStatus.OK),
        (4999, HealthStatus.WARNING),
        (1000, HealthStatus.WARNING),
        (999, HealthStatus.FAILED),
    ],
)
def test_low_disk_space_is_reported_before_associations_are_rejected(free_mb, status):
    facts = replace(WELL, free_mb=free_mb)

    assert condition(facts, Component.DISK).status is status


def test_a_node_without_a_worker_is_not_well():
    facts = replace(WELL, processes=(process(ProcessRole.LISTENER),))

    assert condition(facts, Component.WORKERS).status is HealthStatus.FAILED


def test_a_silent_worker_is_named_while_others_work():
    facts = replace(WELL, processes=(*WELL.processes, process(ProcessRole.WORKER, 9, 40)))

    found = condition(facts, Component.WORKERS)

    assert (found.status, found.name) == (HealthStatus.WARNING, "box:9")
    assert "No heartbeat from worker box:9 for 40 s" in found.message


def test_workers_with_different_weights_are_reported():
    facts = replace(WELL, processes=(*WELL.processes, process(ProcessRole.WORKER, 9, 1, "bb")))

    assert "different weights" in condition(facts, Component.WORKERS).message


def test_a_worker_still_loading_its_networks_differs_from_none():
    facts = replace(WELL, processes=(*WELL.processes, process(ProcessRole.WORKER, 9, 1, "")))

    assert condition(facts, Component.WORKERS).status is HealthStatus.OK


@pytest.mark.parametrize("seen", [(), (process(ProcessRole.LISTENER, 1, 31),)])
def test_a_node_whose_listener_is_silent_is_not_well(seen):
    facts = replace(WELL, processes=(*seen, process(ProcessRole.WORKER, 2)))

    assert condition(facts, Component.LISTENER).status is HealthStatus.FAILED


@pytest.mark.parametrize(
    ("failing_s", "acknowledged_since", "status"),
    [
        (599, False, HealthStatus.WARNING),
        (600, False, HealthStatus.FAILED),
        (6000, True, HealthStatus.WARNING),
    ],
)
def test_a_destination_is_down_when_it_has_taken_nothing_for_long(
    failing_s, acknowledged_since, status
):
    stuck = FailingDestination("PACS", 1, failing_s, acknowledged_since, "PACS cannot be reached.")

    assert condition(replace(WELL, stuck={"PACS": stuck}), Component.DESTINATION).status is status


def test_a_destination_no_longer_configured_is_reported_too():
    stuck = {"GONE": FailingDestination("GONE", 1, 900, False, "GONE is not a [[peer]] any more.")}

    found = [one for one in health(replace(WELL, stuck=stuck), LIMITS) if one.name]

    assert [(one.name, one.status) for one in found] == [
        ("PACS", HealthStatus.OK),
        ("GONE", HealthStatus.FAILED),
    ]


@pytest.mark.parametrize(
    ("fault", "status"),
    [(StorageFault.DAMAGED, HealthStatus.WARNING), (StorageFault.DATABASE, HealthStatus.FAILED)],
)
def test_a_damaged_file_is_a_warning_and_a_damaged_database_a_failure(fault, status):
    problem = StorageProblem("instances", "ab.dcm", fault, "Damaged.", "Send it again.", "1.2.3")
    facts = replace(WELL, storage=StorageStatus(NOON, 20, problems=(problem,)))

    assert condition(facts, Component.STORED_FILES).status is status


def test_the_day_of_the_last_complete_check_is_shown():
    facts = replace(WELL, storage=StorageStatus(NOON, 20))

    found = condition(facts, Component.STORED_FILES).message
    assert found == "No problems; last verified on 2024-05-06."


def test_a_database_that_does_not_answer_leaves_the_rest_unsaid():
    facts = HealthFacts(min_free_mb=1000, free_mb=20_000, database_error="It does not answer.")

    conditions = health(facts, LIMITS)

    assert [one.component for one in conditions] == [
        Component.DATABASE,
        Component.SPOOL,
        Component.DISK,
    ]


def test_an_unavailable_spool_is_reported():
    facts = replace(WELL, free_mb=None, spool_error="The spool cannot be used: read-only.")

    assert condition(facts, Component.SPOOL).status is HealthStatus.FAILED


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (2e5, "2 days")],
)
def test_a_time_span_is_worded_as_people_say_it(seconds, words):
    assert in_words(seconds) == words
