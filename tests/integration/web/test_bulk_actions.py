"""An action for all jobs of a list, by page, API and command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sij_node.cli import commands
from sij_node.config.user_roles import Role
from sij_node.domain.job import Job, State
from sij_node.errors import PairMissing
from tests.support.job_tables import analysing
from tests.support.running_web import RunningWeb, running_web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RunningWeb]:
    with running_web(tmp_path) as running:
        yield running


@pytest.fixture
def rejected(web: RunningWeb) -> list[Job]:
    """Two rejected studies."""
    return [
        web.table.reject(analysing(web.table, study), PairMissing("No T1."), [], "PACS", "w")
        for study in ("1.2.1", "1.2.2")
    ]


def states(web: RunningWeb, jobs: list[Job]) -> set[State]:
    return {web.table.get(job.job_id).state for job in jobs}


def test_the_page_offers_what_a_list_allows_and_does_it_once_confirmed(web, rejected):
    with web.browser(Role.OPERATOR) as browser:
        listed = browser.get("/?state=rejected").text
        wanted = {"action": "retry", "state": "rejected"}
        hasty = browser.post("/all-jobs", data=wanted)
        unchanged = states(web, rejected)
        done = browser.post("/all-jobs", data=wanted | {"confirmed": "true"})

    assert "Retry all" in listed
    assert "Cancel all" not in listed
    assert (hasty.status_code, unchanged) == (422, {State.REJECTED})
    assert "2 jobs done." in done.text
    assert states(web, rejected) == {State.QUEUED}


def test_the_api_names_the_jobs_it_acted_on(web, rejected):
    with web.browser(Role.OPERATOR) as client:
        asked = {"action": "retry", "state": ["rejected"]}
        answer = client.post("/api/v1/jobs/actions", json=asked).json()
        refused = client.post("/api/v1/jobs/actions", json={"action": "retry"})

    assert sorted(answer["done"]) == sorted(job.job_id for job in rejected)
    assert (answer["refused"], answer["left"]) == ({}, 0)
    assert refused.status_code == 422  # not all jobs of the node by a forgotten filter


def test_the_command_says_how_many_jobs_are_done(web, rejected):
    config = str(web.config.node.data_folder.parent / "config.toml")
    asked = ["jobs", "all", "retry", "--state", "rejected", "--config", config]

    done = CliRunner().invoke(commands.app, asked)

    assert done.output == "Retry: 2 jobs done.\n"
    assert states(web, rejected) == {State.QUEUED}
