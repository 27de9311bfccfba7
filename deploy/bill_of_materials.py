"""`python -m deploy.bill_of_materials`: what the node is made of: SBOM, licences, hashes.

SBOM and licences are read from the metadata of the installed packages: the run-time dependencies of
the node, and theirs. Hashes come from a report of pip, for the platform that made it::

    pip install --dry-run --ignore-installed --report report.json -c constraints.txt .
    python -m deploy.bill_of_materials --hashes report.json --out requirements.lock
    pip install --require-hashes -r requirements.lock && pip install --no-deps .

Source: CycloneDX 1.5 (JSON), package URL specification, pip's installation report version 1.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any

import typer
from packaging.requirements import Requirement

NODE = "sij-node"


def dependencies(root: str = NODE) -> Mapping[str, Distribution]:
    """The installed run-time dependencies of a package, direct and indirect, by name."""
    found: dict[str, Distribution] = {}
    waiting, seen = [Requirement(root)], set[tuple[str, frozenset[str]]]()
    while waiting:
        wanted = waiting.pop()
        name = wanted.name.lower().replace("_", "-")
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        try:
            found[name] = distribution(wanted.name)
        except PackageNotFoundError:  # optional, or for another platform
            continue
        needs = map(Requirement, found[name].requires or ())
        waiting += [one for one in needs if _applies(one, wanted.extras)]
    found.pop(root, None)
    return dict(sorted(found.items()))


def _applies(wanted: Requirement, extras: set[str] | None = None) -> bool:
    if wanted.marker is None:
        return True
    return any(wanted.marker.evaluate({"extra": extra}) for extra in (*(extras or ()), ""))


def licence_of(one: Distribution) -> str:
    """The licence that a package states: expression, classifiers, or the first line of its text."""
    metadata = one.metadata.json
    expression = metadata.get("license_expression")
    if expression:
        return str(expression)
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get("classifier") or ()
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    lines = str(metadata.get("license") or "").strip().splitlines()
    return " AND ".join(classified) or (lines[0] if lines else "")


def cyclonedx(found: Mapping[str, Distribution]) -> dict[str, Any]:
    """The SBOM."""
    own = distribution(NODE)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": NODE,
                "version": own.version,
                "licenses": [{"license": {"name": licence_of(own)}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{one.version}",
                "purl": f"pkg:pypi/{name}@{one.version}",
                "name": name,
                "version": one.version,
                "licenses": [{"license": {"name": licence_of(one)}}],
            }
            for name, one in found.items()
        ],
        "dependencies": [
            {"ref": f"pkg:pypi/{name}@{one.version}", "dependsOn": list(_needed(one, found))}
            for name, one in found.items()
        ],
    }


def _needed(one: Distribution, found: Mapping[str, Distribution]) -> Iterator[str]:
    names = {
        wanted.name.lower().replace("_", "-")
        for wanted in map(Requirement, one.requires or ())
        if _applies(wanted)
    }
    for name in sorted(names & found.keys()):
        yield f"pkg:pypi/{name}@{found[name].version}"


def licences(found: Mapping[str, Distribution]) -> str:
    """A Markdown table of packages, versions and licences."""
    rows = [f"| {name} | {one.version} | {licence_of(one)} |" for name, one in found.items()]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *rows])


def hashed_requirements(report: Mapping[str, Any]) -> str:
    """Requirements with the hash of each file that pip would install, without the node itself.

    Raises
    ------
    ValueError
        If pip knows no SHA-256 of a file.
    """
    lines = []
    for one in report["install"]:
        name, version = one["metadata"]["name"], one["metadata"]["version"]
        digest = one["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if name.lower().replace("_", "-") == NODE:
            continue
        if not digest:
            raise ValueError(f"The report has no SHA-256 of {name} {version}.")
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return "\n".join(sorted(lines, key=str.lower))


def main(
    out: Annotated[Path | None, typer.Option(help="Output file; default: standard output.")] = None,
    as_licences: Annotated[bool, typer.Option("--licences", help="Table of licences.")] = False,
    hashes: Annotated[Path | None, typer.Option(help="Report of pip: hashed requirements.")] = None,
) -> None:
    """Write the SBOM (CycloneDX 1.5), the table of licences, or requirements with hashes."""
    if hashes is not None:
        text = hashed_requirements(json.loads(hashes.read_text("utf-8")))
    elif as_licences:
        text = licences(dependencies())
    else:
        text = json.dumps(cyclonedx(dependencies()), indent=2)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
