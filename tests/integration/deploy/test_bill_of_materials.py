"""The bill of materials names everything that the node needs, with its licence."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.bill_of_materials import (
    cyclonedx,
    dependencies,
    hashed_requirements,
    licence_of,
    licences,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def found():
    return dependencies()


def test_every_dependency_is_named_with_its_extras(found):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    direct = {Requirement(one).name.lower() for one in project["dependencies"]}

    assert direct <= found.keys()
    assert "psycopg-binary" in found  # by the extra of psycopg
    assert "starlette" in found  # by fastapi
    assert "pytest" not in found


def test_the_bill_is_cyclonedx_and_refers_only_to_what_it_lists(found):
    bill = cyclonedx(found)
    listed = {one["bom-ref"] for one in bill["components"]}

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert len(listed) == len(found)
    assert all(one["purl"].startswith("pkg:pypi/") for one in bill["components"])
    needed = {ref for one in bill["dependencies"] for ref in (one["ref"], *one["dependsOn"])}
    assert needed <= listed


def test_every_package_states_a_licence_and_none_is_agpl(found):
    stated = {name: licence_of(one) for name, one in found.items()}

    assert [name for name, licence in stated.items() if not licence] == []
    assert [
        name for name, licence in stated.items() if "AGPL" in licence or "Affero" in licence
    ] == []
    assert licences(found).count("\n") == len(found) + 1


def reported(name: str, digest: str) -> dict:
    archive = {"archive_info": {"hashes": {"sha256": digest} if digest else {}}}
    return {"metadata": {"name": name, "version": "1.0"}, "download_info": archive}


def test_requirements_have_the_hash_that_pip_would_check():
    report = {
        "install": [reported("zeta", "bb"), reported("sij-node", ""), reported("Alpha", "aa")]
    }

    assert hashed_requirements(report).splitlines() == [
        "Alpha==1.0 --hash=sha256:aa",
        "zeta==1.0 --hash=sha256:bb",
    ]


def test_a_file_without_a_hash_is_named():
    with pytest.raises(ValueError, match=r"no SHA-256 of alpha 1\.0"):
        hashed_requirements({"install": [reported("alpha", "")]})
