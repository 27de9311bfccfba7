"""The charts page lists which weights analysed how many studies."""

from pathlib import Path

from tests.support.job_tables import analysing, made
from tests.support.running_web import running_web


def test_weights_are_listed_those_in_use_first(tmp_path: Path):
    with running_web(tmp_path) as web:
        for number, weights in enumerate(("lesion 0.6.0", "lesion 0.6.0", "own-lesion 1.0.0")):
            job = analysing(web.table, f"1.2.{number}")
            web.table.store_results(job, [made()], "PACS", "worker 1", weights)

        with web.browser() as browser:
            text = browser.get("/charts").text

    section = text.partition('<h2 id="h-weights">')[2]
    assert section.index("own-lesion 1.0.0") < section.index("lesion 0.6.0</th>")
    assert [f'"Jobs analysed">{count}<' in section for count in (1, 2)] == [True, True]


def test_a_node_without_results_lists_no_weights(tmp_path: Path):
    with running_web(tmp_path) as web, web.browser() as browser:
        assert "h-weights" not in browser.get("/charts").text
