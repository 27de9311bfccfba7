"""What is written about the project holds against what is there."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import typer

from sij_node.cli.commands import app

ROOT = Path(__file__).parents[3]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def commands(group: typer.core.TyperGroup, above: str = "") -> dict[str, list[str]]:
    """The help of each command and of its options, by its name with that of its group."""
    found = {}
    for name, command in group.commands.items():
        if command.hidden:
            continue
        options = (getattr(one, "help", None) or "" for one in command.params)
        found[f"{above}{name}"] = [command.help or "", *options]
        if isinstance(command, typer.core.TyperGroup):
            found |= commands(command, f"{name} ")
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda file: file.name)
def test_whatever_a_document_links_to_is_there(paper: Path):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", paper.read_text(encoding="utf-8"))

    near = [link for link in links if not link.startswith("http")]

    assert [link for link in near if not (paper.parent / link).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda file: file.name)
def test_every_command_that_a_document_names_is_one(paper: Path):
    text = paper.read_text(encoding="utf-8")

    named = re.findall(r"(?:^|[`/]|&& )sij-node ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?", text, re.M)

    assert [f"{one} {two}" for one, two in named if one not in COMMANDS] == []
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    within = [f"{one} {two}" for one, two in named if one in groups and two]
    assert [name for name in within if name not in COMMANDS] == []


def test_every_decision_stands_once_and_every_dependency_has_its_reason():
    text = (ROOT / "DECISIONS.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", text, re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.match(r"[a-z0-9-]+", one.lower()).group() for one in wanted} - {"sij-node"}

    reasons = text.partition("## Dependencies, and why")[2].lower()

    assert len(set(titles)) == len(titles)
    assert all(f"\n\n## {title}\n" in text for title in titles)
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", reasons)] == []


def test_no_word_of_a_commands_help_is_taken_for_markup_and_left_out():
    assert [name for name, words in COMMANDS.items() if "[" in " ".join(words)] == []
