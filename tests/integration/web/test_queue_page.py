"""The queue as its page shows it: the study, why it was rejected, its order, by role."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sij_node.config.user_roles import Role
from sij_node.domain.study import StudyAttributes
from sij_node.errors import PairMissing
from sij_node.store.study_attributes_table import put_attributes
from tests.support.job_tables import analysing
from tests.support.running_web import RunningWeb, running_web

STUDIES = {
    "1.2.1": StudyAttributes("2026-11-28", "MR <b>SIJ</b>", "A-4711"),
    "1.2.2": StudyAttributes("2026-11-02", "Sacroiliac follow-up", "A-4712"),
}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RunningWeb]:
    """Two rejected studies; the second to arrive is the older one."""
    with running_web(tmp_path) as running:
        for study_uid, attributes in STUDIES.items():
            job = analysing(running.table, study_uid)
            running.table.reject(job, PairMissing("No usable STIR."), [], "PACS", "w")
            with running.table.database.writing() as connection:
                put_attributes(connection, study_uid, attributes)
        yield running


def listed(page: str) -> list[str]:
    """Job numbers in the order of the list."""
    return re.findall(r'id="job-(\d+)"', page)


def test_a_rejected_study_shows_its_date_description_and_why(web: RunningWeb):
    with web.browser(Role.VIEWER) as browser:
        page = browser.get("/").text

    for words in ("2026-11-28", "MR &lt;b&gt;SIJ&lt;/b&gt;", "No usable STIR."):
        assert words in page


def test_accession_numbers_are_for_operators_only(web: RunningWeb):
    with web.browser(Role.VIEWER) as viewer, web.browser(Role.OPERATOR) as operator:
        seen, shown = viewer.get("/").text, operator.get("/").text
        found = operator.post("/patient", data={"patient_id": "A-4712"}).text

    assert "A-471" not in seen
    assert "A-4711" in shown
    assert listed(found) == ["2"]


def test_the_queue_is_sorted_and_searched_by_study_date(web: RunningWeb):
    with web.browser(Role.VIEWER) as browser:
        newest, by_date = browser.get("/").text, browser.get("/?order=study+date").text
        found = browser.get("/?find=2.11.2026").text

    assert (listed(newest), listed(by_date), listed(found)) == (["2", "1"], ["1", "2"], ["2"])
    assert 'aria-sort="descending"' in by_date
