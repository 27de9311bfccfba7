"""The conformance statement matches the node's behaviour, and docs/conformance.md is current."""

from pathlib import Path

import pytest

from sij_node.config.profiles import preset
from sij_node.config.settings import Config, load_config
from sij_node.conformance import statement
from sij_node.conformance.example import example_results

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(ROOT / "config.toml")


@pytest.fixture(scope="module")
def written(config: Config) -> str:
    return statement(config)


def test_the_statement_in_the_documentation_is_what_the_command_writes(written):
    kept = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")

    assert kept == written, "write it again: sij-node conformance --out docs/conformance.md"


def test_every_class_that_is_sent_and_every_attribute_of_it_is_stated(written):
    for one in example_results(preset("everything")):
        assert f"| {one.dataset.SOPClassUID.name} | {one.dataset.SOPClassUID} |" in written
        stated = section(written, f"#### {one.dataset.SOPClassUID.name}: {one.kind}")
        if not one.kind.endswith(" stir"):
            own = {
                each.keyword for each in one.dataset if each.keyword.startswith(("Series", "SOP"))
            }
            assert {line.split(" ")[1] for line in stated} >= own


def section(written: str, heading: str) -> list[str]:
    """The rows of a table below a heading."""
    after = written.partition(f"{heading}\n")[2].lstrip("\n")
    return [line for line in after.partition("\n\n")[0].splitlines() if line.startswith("|")]


def test_it_follows_the_configuration(config):
    (peer,) = config.peer
    changed = config.model_copy(
        update={
            "node": config.node.model_copy(update={"ae_title": "OTHERNODE"}),
            "listener": config.listener.model_copy(update={"port": 11999}),
            "peer": (peer.model_copy(update={"ae_title": "PACS2", "tls": True, "priors": "move"}),),
        }
    )

    written = statement(changed)

    assert "| AE title | OTHERNODE |" in written
    assert "| Port | 11999 |" in written
    assert "| PACS2 | 127.0.0.1 | 4242 | yes | minimal | move | no |" in written


def test_every_item_of_a_report_is_stated_with_its_code_and_its_template(written):
    rows = section(written, "#### Items of the report: scores")

    assert any("(122157, DCM, Probability)" in row and "(%, UCUM, Percent)" in row for row in rows)
    assert any("TID 1501" in row for row in rows)
    assert any("(change, 99SIJNODE, Change since the prior study)" in row for row in rows)
    assert any("(114011, DCM, Value indeterminate)" in row for row in rows)
