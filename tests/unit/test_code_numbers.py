"""The code stays small: lengths of functions, broad excepts, docstrings, names, import circles.

The length of a function is counted from the first statement after its docstring to its last line;
signature, decorators and docstring do not count.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sij_node", "models", "trainer")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return {
        str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files
    }


@pytest.fixture(scope="module")
def lengths(modules: dict[str, ast.Module]) -> dict[str, int]:
    return {
        f"{file}:{one.lineno} {one.name}": length(one)
        for file, tree in modules.items()
        for one in ast.walk(tree)
        if isinstance(one, FUNCTIONS)
    }


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body
    if ast.get_docstring(function) is not None and len(body) > 1:
        body = body[1:]
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


@pytest.mark.parametrize("package", PACKAGES)
def test_the_median_function_has_at_most_6_lines(lengths: dict[str, int], package: str):
    assert median(of_package(lengths, package)) <= 6


@pytest.mark.parametrize("package", PACKAGES)
def test_nine_functions_of_ten_have_at_most_17_lines(lengths: dict[str, int], package: str):
    counted = of_package(lengths, package)

    assert counted[int(0.9 * len(counted))] <= 17


def of_package(lengths: dict[str, int], package: str) -> list[int]:
    """Lengths of a package's functions, in ascending order."""
    return sorted(lines for name, lines in lengths.items() if name.startswith(f"{package}/"))


def test_no_function_has_more_than_50_lines(lengths: dict[str, int]):
    assert {name: lines for name, lines in lengths.items() if lines > 50} == {}


def test_at_most_two_excepts_are_broad(modules: dict[str, ast.Module]):
    broad = [
        f"{file}:{one.lineno}"
        for file, tree in modules.items()
        for one in ast.walk(tree)
        if isinstance(one, ast.ExceptHandler) and is_broad(one.type)
    ]

    assert len(broad) <= 2, broad


def is_broad(caught: ast.expr | None) -> bool:
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    names = {one.id for one in kinds if isinstance(one, ast.Name)}
    return caught is None or bool(names & {"Exception", "BaseException"})


def test_everything_public_has_a_docstring(modules: dict[str, ast.Module]):
    bare = [
        f"{file} {name}"
        for file, tree in modules.items()
        for name, node in public(tree)
        if ast.get_docstring(node) is None
    ]

    assert bare == []


def public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    """The module itself, its public functions and classes, and their methods."""
    if isinstance(tree, ast.Module):
        yield "module", tree
    for one in tree.body:
        if isinstance(one, (*FUNCTIONS, ast.ClassDef)) and not one.name.startswith("_"):
            yield one.name, one
            if isinstance(one, ast.ClassDef):
                yield from public(one)


def test_a_class_name_means_one_thing(modules: dict[str, ast.Module]):
    files = defaultdict(list)
    for file, tree in modules.items():
        for one in ast.walk(tree):
            if isinstance(one, ast.ClassDef) and not one.name.startswith("_"):
                files[one.name].append(file)

    assert {name: found for name, found in files.items() if len(found) > 1} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_imports_go_in_a_circle(package: str):
    graph = grimp.build_graph(package, cache_dir=None)

    circles = [
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(importer=imported, imported=module)
    ]

    assert circles == []
