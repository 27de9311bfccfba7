"""The documents agree with the project."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import typer

from sij_node.cli.commands import app

ROOT = Path(__file__).parents[3]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


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


def decisions() -> dict[Path, list[str]]:
    """Titles of each part's decisions, by its file."""
    parts = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    return {
        part: re.findall(r"^## (.*)$", part.read_text(encoding="utf-8"), re.M) for part in parts
    }


def test_every_decision_is_written_once_and_dated():
    titles = list(chain(*decisions().values()))

    assert titles
    assert len(set(titles)) == len(titles)
    assert [title for title in titles if not re.match(r"\d{4}-\d\d-\d\d \S", title)] == []
    for part, own in decisions().items():
        text = part.read_text(encoding="utf-8")
        assert all(f"\n\n## {title}\n" in text for title in own)


def test_decisions_md_links_to_every_part():
    text = (ROOT / "DECISIONS.md").read_text(encoding="utf-8")

    assert [part.name for part in decisions() if f"](docs/decisions/{part.name})" not in text] == []


def test_every_dependency_has_its_reason():
    text = (ROOT / "DECISIONS.md").read_text(encoding="utf-8")
    wanted = chain(
        PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()
    )
    names = {re.match(r"[a-z0-9-]+", one.lower()).group() for one in wanted} - {"sij-node"}

    reasons = text.partition("## Dependencies, and why")[2].lower()

    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", reasons)] == []


def test_the_readme_is_at_most_6_kb():
    assert len((ROOT / "README.md").read_bytes()) <= 6_000


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}

    assert [name for name in sorted(pages) if f"]({name})" not in index] == []


def drawing_of(layers: list[str]) -> str:
    """The layers of the node, one row each, as the architecture page shows them."""
    width = max(map(len, layers))
    line = "─" * (width + 2)
    rows = f"\n├{line}┤\n".join(f"│ {layer.center(width)} │" for layer in layers)
    return f"┌{line}┐\n{rows}\n└{line}┘"


def test_the_picture_of_the_layers_is_the_contract():
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    node = next(one for one in contracts if one.get("containers") == ["sij_node"])

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

    assert drawing_of(node["layers"]) in page


def test_the_files_that_how_to_add_names_exist():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

    named = re.findall(r"`((?:sij_node|models|trainer|docs|tests)/[\w/]+(?:\.\w+|/))`", page)

    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_no_word_of_a_commands_help_is_taken_for_markup_and_left_out():
    assert [name for name, words in COMMANDS.items() if "[" in " ".join(words)] == []
