"""The documents agree with the project."""

import re
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer

from sij_node.cli.commands import app
from sij_node.config.settings import Config
from trainer.__main__ import app as trainer_app

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
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


NODE = typer.main.get_command(app)
TRAINER = typer.main.get_command(trainer_app)
COMMANDS, TRAINER_COMMANDS = commands(NODE), commands(TRAINER)
EXPERIMENTS = sorted((ROOT / "trainer" / "experiments").rglob("*.toml"))
CALL = r"([a-z][a-z-]+)(?: ([a-z][a-z-]+))?"
each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT))
)


def unknown(known: dict[str, list[str]], named: list[tuple[str, str]]) -> list[str]:
    """The commands, with a word that follows a group, that are none of the known."""
    groups = {name.split()[0] for name in known if " " in name}
    within = [f"{one} {two}" for one, two in named if one in groups and two]
    return [one for one, _ in named if one not in known] + [
        name for name in within if name not in known
    ]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options(group: typer.core.TyperGroup, name: str, within: str) -> set[str]:
    """The options of a command, or of one in its group."""
    command = group.commands[name]
    if isinstance(command, typer.core.TyperGroup):
        return options(command, within, "")
    own = {option for parameter in command.params for option in parameter.opts}
    return own | {option for parameter in group.params for option in parameter.opts} | {"--help"}


def current(document: Path) -> str:
    """A document without what its section on upgrading says of former names."""
    text = document.read_text(encoding="utf-8")
    return re.sub(r"^### Upgrading.*?(?=^### )", "", text, flags=re.M | re.S)


def is_module(name: str) -> bool:
    """Whether the tree has a module or package of this name."""
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def is_setting(section: str, key: str) -> bool:
    """Whether config.toml or an experiment of the training package has this section and key."""
    names = section.strip("[]").split(".")
    experiments = [tomllib.loads(one.read_text()) for one in EXPERIMENTS]
    if any(names[0] in one for one in experiments):
        return not key or any(key in one.get(names[0], {}) for one in experiments)
    schema = Config.model_json_schema()
    found: dict[str, Any] = schema
    for name in [*names, *([key] if key else [])]:
        if name not in found.get("properties", {}):
            return False
        found = section_of(schema, found["properties"][name])
    return True


def section_of(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    """The section that a field of config.toml holds, alone or in a list."""
    field = field.get("items", field)
    field = next((one for one in field.get("anyOf", ()) if "$ref" in one), field)
    return schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word of the packages and of what installs them."""
    files = chain(
        *((ROOT / name).rglob("*.*") for name in ("sij_node", "models", "trainer", "deploy"))
    )
    kinds = {".py", ".toml", ".yaml", ".yml", ".service", ".sh", ".html"}
    texts = (file.read_text(encoding="utf-8") for file in files if file.suffix in kinds)
    return frozenset(chain.from_iterable(re.findall(r"\w+", text) for text in texts))


@each_document
def test_every_link_of_a_document_leads_to_a_file_and_a_heading(document: Path):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@each_document
def test_every_command_that_a_document_names_exists(document: Path):
    text = document.read_text(encoding="utf-8")

    assert unknown(COMMANDS, re.findall(rf"(?:^|[`/]|&& )sij-node {CALL}", text, re.M)) == []
    assert unknown(TRAINER_COMMANDS, re.findall(rf"python -m trainer {CALL}", text)) == []


@each_document
def test_every_option_that_a_document_gives_a_command_exists(document: Path):
    text = document.read_text(encoding="utf-8")

    before = r"(?:(?:^|[`/]|&& )sij-node|python -m trainer)"
    calls = re.findall(rf"({before}) {CALL}([^`\n#&|]*)", text, re.M)

    assert [
        f"{program} {one} {two} {option}"
        for program, one, two, rest in calls
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest)
        if option not in options(TRAINER if "trainer" in program else NODE, one, two)
    ] == []


@each_document
def test_every_make_target_that_a_document_names_exists(document: Path):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)

    named = re.findall(
        r"(?:^|`)(?:\S+=\S+ )?make ([a-z]+)", document.read_text(encoding="utf-8"), re.M
    )

    assert set(named) <= {*targets, "unit", "integration", "acceptance"}


@each_document
def test_every_file_that_a_document_names_exists(document: Path):
    text = re.sub(r"kubectl .*", "", document.read_text(encoding="utf-8"))

    folders = "sij_node|models|trainer|docs|tests|deploy"
    named = re.findall(rf"(?<![\w./-])((?:{folders})/[\w/.@*-]+)", text)

    assert [file for file in named if not any(ROOT.glob(file.rstrip("./")))] == []


@each_document
def test_every_module_that_a_document_names_exists(document: Path):
    text = document.read_text(encoding="utf-8")

    named = re.findall(r"(?<![\w/.])(?:sij_node|models|trainer|tests|deploy)(?:\.\w+)+", text)

    modules = {name for name in named if is_module(name) or is_module(name.rpartition(".")[0])}
    assert sorted(set(named) - modules) == []


@each_document
def test_every_section_and_key_of_config_toml_that_a_document_names_exists(document: Path):
    spans = re.findall(r"`(\[+[a-z_.]+\]+)(?: ([a-z_]+))?", current(document))

    assert [f"{section} {key}" for section, key in spans if not is_setting(section, key)] == []


@each_document
def test_every_name_that_a_document_takes_from_the_code_is_in_the_code(document: Path):
    spans = re.findall(r"`([A-Za-z_][\w]*)(?: = [^`]*)?`", current(document))

    names = {name for name in spans if "_" in name.strip("_") or re.search(r"[a-z][A-Z]", name)}

    assert sorted(names - words_of_the_code() - {"CAP_NET_BIND_SERVICE"}) == []


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


def test_no_word_of_a_commands_help_is_taken_for_markup_and_left_out():
    assert [name for name, words in COMMANDS.items() if "[" in " ".join(words)] == []


NAMED_TESTS = sorted(
    {
        (document.name, *named)
        for document in (ROOT / "docs").glob("*.md")
        for named in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text("utf-8"))
    }
)


def test_every_test_that_a_document_names_exists():
    assert len(NAMED_TESTS) > 80
    missing = [
        named
        for named in NAMED_TESTS
        if f"def {named[2]}(" not in (ROOT / named[1]).read_text(encoding="utf-8")
    ]

    assert missing == []


def test_every_claim_of_the_security_page_has_its_test():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    claimed = {int(number) for number in re.findall(r"\((\d+)\)", page)}
    tested = {int(number) for number in re.findall(r"^\| (\d+) \| `tests/", page, re.M)}

    assert claimed == tested
