"""The node installed as in docs/operations.md, under a real systemd with its sandbox.

The machine is this Debian with a systemd of its own. The checkout is installed there by the script
of deploy/systemd; the packages that it needs are those of the environment that runs the tests.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from deploy.demo.archive import Archive
from deploy.trial import free_port
from sij_node.network.dicom_folder import contents_of, send_contents
from tests.support.phantom_studies import written
from tests.support.systemd_machine import DEPENDENCIES, Machine, running_machine
from tests.support.waiting import PATIENCE_S, wait_for

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a machine within this one"),
]

ROOT, CHECKOUT = Path(__file__).parents[2], "/srv/sij_node"
PYTHON = "/usr/bin/python3.11"
UNITS = ("sij-node-listener", "sij-node-web", "sij-node-worker@1")
CONFIG = "/etc/sij-node/config.toml"
RESULTS = 4


@dataclass(frozen=True)
class InstalledNode:
    """A machine on which the node was installed and started, and the archive beside it."""

    machine: Machine
    archive: Archive
    port: int
    doctor: dict[str, list[str]]
    """Messages of the doctor before the start, by status."""

    def process_of(self, unit: str) -> str:
        """Its number on that machine; 0 while it does not run."""
        return self.machine.told_of(unit, "MainPID")[0]

    def log(self) -> list[str]:
        """Every line that the node has written, without what systemd says of it."""
        ours = ("--unit=sij-node*", "_TRANSPORT=stdout")
        return self.machine.done("journalctl", "--output=cat", "--no-pager", *ours).splitlines()

    def wait_until_ready(self) -> None:
        """Wait until the newest processes of all three are at work."""
        events = ("listening", "web server started", "worker ready")
        wait_for(lambda: self._newest(events), "listener, page and worker that are ready")

    def _newest(self, events: tuple[str, ...]) -> bool:
        said = [
            self.machine.done(
                "journalctl", "--output=cat", "--no-pager", f"_SYSTEMD_INVOCATION_ID={one}"
            )
            for unit in UNITS
            for one in self.machine.told_of(unit, "InvocationID")
        ]
        return len(said) == len(UNITS) and all(map(str.__contains__, said, events))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine") / "root"
    folder.mkdir()
    with running_machine(folder) as started:
        yield started


@pytest.fixture(scope="module")
def installed_node(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InstalledNode]:
    with Archive(tmp_path_factory.mktemp("archive"), "ORTHANC") as archive:
        lend_packages(machine)
        lend_checkout(machine)
        install(machine)
        port = configure(machine, archive.port)
        found = machine.do("sij-node", "doctor", "--quick", "--json")
        doctor: dict[str, list[str]] = {"exit": [str(found.returncode)]}
        for line in json.loads(found.stdout):
            doctor.setdefault(line["status"], []).append(line["message"])
        machine.done("systemctl", "enable", "--now", "sij-node.target", *UNITS)
        installed_node = InstalledNode(machine, archive, port, doctor)
        installed_node.wait_until_ready()
        yield installed_node


def lend_packages(machine: Machine) -> None:
    """Make the environment that the script would make, and lend it the packages of this one."""
    machine.done(PYTHON, "-m", "venv", "/opt/sij_node")
    machine.done("/opt/sij_node/bin/pip", "uninstall", "--quiet", "--yes", "setuptools")
    packages = machine.file("/opt/sij_node/lib/python3.11/site-packages")
    (packages / "lent.pth").write_text(f"{DEPENDENCIES}\n")


def lend_checkout(machine: Machine) -> None:
    """A copy of this checkout: where it lies, such as below /tmp, the machine may see nothing."""
    made_here = ignore_patterns(".*", "runs", "test-artefacts", "demo-output", "*.egg-info")
    copytree(ROOT, machine.file(CHECKOUT), ignore=made_here)


def install(machine: Machine) -> str:
    """Run the script as an administrator does, but without fetching what builds a package."""
    script = f"{CHECKOUT}/deploy/systemd/install.sh"
    return machine.done("sh", script, PIP_NO_BUILD_ISOLATION="false", PIP_NO_INDEX="1")


def configure(machine: Machine, archive_port: int) -> int:
    """Change what is different here, as with an editor; returns the listener's port."""
    file, port = machine.file(CONFIG), free_port()
    changes = (
        (r"^# port = 11112$", f"port = {port}"),
        (r"^port = 4242$", f"port = {archive_port}"),
        (r"^# port = 8570$", f"port = {free_port()}"),
        (r"^# stable_age_s = 10 ", "stable_age_s = 3 "),
    )
    text = file.read_text()
    for before, after in changes:
        text, count = re.subn(before, after, text, flags=re.MULTILINE)
        assert count == 1, before
    file.write_text(text)
    return port


def test_the_doctor_finds_nothing_failed_after_the_installation(installed_node: InstalledNode):
    assert installed_node.doctor.get("failed", []) == []
    assert installed_node.doctor["exit"] in (["0"], ["1"])
    assert any("/var/lib/sij-node" in words for words in installed_node.doctor["ok"])


def test_a_study_is_received_analysed_and_answered(
    installed_node: InstalledNode, case, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("study")
    written(case, folder)

    to = f"127.0.0.1:{installed_node.port}"
    answers = [*send_contents(contents_of(folder), to, "SIJNODE", "ORTHANC")]

    assert all(answer.acknowledged for answer in answers)
    assert installed_node.archive.wait_for(RESULTS, PATIENCE_S)
    shown = wait_for(
        lambda: [
            job
            for job in json.loads(installed_node.machine.done("sij-node", "jobs", "list", "--json"))
            if job["state"] == "delivered"
        ],
        "delivered job",
    )
    assert [job["source_ae"] for job in shown] == ["ORTHANC"]


def test_the_command_runs_as_the_service_user_and_names_the_caller(
    installed_node: InstalledNode,
):
    do = installed_node.machine.done
    do("sij-node", "users", "add", "berta", SUDO_USER="anna")

    (change,) = json.loads(do("sij-node", "changes", "--who", "anna", "--json"))
    owners = do("find", "/var/lib/sij-node", "-printf", "%u\n").split()

    assert change["subject"] == "user berta"
    assert set(owners) == {"sij-node"}
    assert installed_node.machine.do("sij-node", "jobs", "show", "4711").returncode == 66


@pytest.mark.parametrize("unit", UNITS)
def test_a_process_has_no_powers_and_sees_only_what_it_needs(
    installed_node: InstalledNode, unit: str
):
    process = installed_node.process_of(unit)
    status = installed_node.machine.file(f"/proc/{process}/status").read_text()
    inside = ("nsenter", "--mount", f"--target={process}")

    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    for place in ("/etc/sij-node/x", "/opt/sij_node/x", "/usr/x"):
        refused = installed_node.machine.do(*inside, "touch", place)
        assert "Read-only file system" in refused.stderr
    assert installed_node.machine.done(*inside, "ls", "-A", "/root") == ""
    installed_node.machine.done(*inside, "touch", "/var/lib/sij-node/x")
    installed_node.machine.done(*inside, "rm", "/var/lib/sij-node/x")


def test_the_journal_holds_only_facts_and_the_first_sign_in_link(installed_node: InstalledNode):
    said = [line for line in installed_node.log() if not line.startswith("{")]

    assert said
    assert all("/welcome/" in line for line in said), said
    for line in set(installed_node.log()) - set(said):
        json.loads(line)


def test_what_is_killed_comes_back(installed_node: InstalledNode):
    before = {unit: installed_node.process_of(unit) for unit in UNITS}

    installed_node.machine.done("systemctl", "kill", "--signal=KILL", *UNITS)

    for unit in UNITS:
        wait_for(lambda unit=unit: installed_node.process_of(unit) not in (before[unit], "0"), unit)
    installed_node.wait_until_ready()


def test_an_invalid_configuration_is_reported_once_and_not_retried(installed_node: InstalledNode):
    machine, file = installed_node.machine, installed_node.machine.file(CONFIG)
    right = file.read_text()
    try:
        file.write_text(f"{right}\nwrong = 1\n")
        machine.done("systemctl", "restart", "sij-node.target")
        for unit in UNITS:
            wait_for(lambda unit=unit: machine.state_of(unit) == "failed", f"{unit} that fails")
            assert machine.told_of(unit, "ExecMainStatus", "NRestarts") == ["0", "78"]
        wait_for(
            lambda: any("[audit] wrong is unknown" in line for line in installed_node.log()),
            "line with the mistake",
        )
    finally:
        file.write_text(right)
    machine.done("systemctl", "restart", "sij-node.target")
    installed_node.wait_until_ready()


def test_an_upgrade_keeps_configuration_and_data(installed_node: InstalledNode):
    machine = installed_node.machine
    config = machine.file(CONFIG).read_text()
    jobs = machine.done("sij-node", "jobs", "list", "--json")

    machine.done("systemctl", "stop", "sij-node.target", *UNITS)
    left = machine.do("ps", "-u", "sij-node", "-o", "args=").stdout
    install(machine)
    machine.done("sij-node", "migrate")
    machine.done("systemctl", "start", "sij-node.target")
    installed_node.wait_until_ready()

    assert left == ""
    assert machine.file(CONFIG).read_text() == config
    assert machine.done("sij-node", "jobs", "list", "--json") == jobs
