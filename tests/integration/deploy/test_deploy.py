"""Units, images and manifests of the deployment are valid and consistent.

No container engine is used here. Units, scripts, the image, the compose file and the manifests are
checked with systemd, linters and published schemas, and compared with the rest of the repository.
"""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from sij_node.config.settings import load_config
from sij_node.domain.job import State
from sij_node.store.database import open_database
from sij_node.store.deliveries import deliveries_of
from sij_node.store.job_queries import steps_of
from sij_node.store.job_table import JobTable
from sij_node.store.spool import Spool
from tests.support.command_line import sij_node
from tests.support.job_tables import delivering, made, received
from tests.support.postgres import Postgres

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMMAND = DEPLOY / "systemd" / "sij-node"
SCRIPTS = [*sorted(DEPLOY.rglob("*.sh")), COMMAND]
KUSTOMIZATION = DEPLOY / "kubernetes" / "kustomization.yaml"
MANIFESTS = sorted(set(KUSTOMIZATION.parent.glob("*.yaml")) - {KUSTOMIZATION})
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = ("1.30", "1.37")
OWN = ("migrate", "listener", "worker", "web")


def run(*command: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **settings
    )


# ---- systemd -----------------------------------------------------------------------------


@pytest.fixture
def units_here(tmp_path: Path) -> Path:
    """The units, with a program in place of the one that is installed on a real machine."""
    program = Path(sys.executable).with_name("sij-node")
    for unit in (DEPLOY / "systemd").glob("sij-node*.*"):
        text = unit.read_text().replace("/opt/sij_node/bin/sij-node", str(program))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_units(units_here: Path):
    files = sorted(units_here.glob("sij-node*"))
    named = [str(file).replace("@.", "@1.") for file in files]
    shutil.copy(units_here / "sij-node-worker@.service", units_here / "sij-node-worker@1.service")

    done = run("systemd-analyze", "verify", "--man=no", *named)

    ours = [line for line in done.stderr.splitlines() if "sij-node" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_a_unit_little_exposed(unit: Path):
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)

    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_there_is(unit: Path):
    (command,) = re.findall(r"^ExecStart=\S+ (\S+) --config", unit.read_text(), re.MULTILINE)

    done = sij_node(command, "--help")

    assert done.returncode == 0
    assert "--config" in done.stdout


# ---- scripts -----------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_script_is_valid_shell(script: Path):
    assert run("sh", "-n", script).stderr == ""


def test_a_linter_finds_nothing_wrong_with_the_scripts():
    done = run(Path(sys.executable).with_name("shellcheck"), *SCRIPTS)

    assert done.returncode == 0, done.stdout


def test_passwords_and_certificate_are_made_once(tmp_path: Path):
    shutil.copy(DEPLOY / "compose" / "prepare.sh", tmp_path)

    run("sh", tmp_path / "prepare.sh")
    first = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    run("sh", tmp_path / "prepare.sh")

    assert {file.name for file in first} >= {"pgpass", "postgres_password", "page.pem"}
    assert first == {file: file.read_bytes() for file in first}
    assert (tmp_path / "secrets" / "pgpass").stat().st_mode & 0o077 == 0


# ---- containers --------------------------------------------------------------------------


def test_a_linter_finds_nothing_wrong_with_the_image():
    done = run(Path(sys.executable).with_name("hadolint"), DEPLOY / "Dockerfile")

    assert done.returncode == 0, done.stdout


def test_the_compose_file_is_what_the_specification_allows():
    schema = ("--builtin-schema", "vendor.compose-spec")

    done = run(sys.executable, "-m", "check_jsonschema", *schema, COMPOSE)

    assert done.returncode == 0, done.stdout


def test_an_image_runs_as_an_ordinary_user_from_pinned_releases():
    text = (DEPLOY / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)

    assert {"cpu", "cuda"} <= set(stages)
    assert all(base in stages or re.search(r":\d", base) for base in bases)
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert not re.search(r"^ADD ", text, re.MULTILINE)


def test_an_image_copies_only_what_there_is_and_what_is_let_in():
    text = (DEPLOY / "Dockerfile").read_text()
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {
        part
        for line in re.findall(r"^COPY ((?!--from).*)$", text, re.MULTILINE)
        for part in line.split()[:-1]
    }

    assert copied <= let_in
    assert all((ROOT / part).exists() for part in copied)


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def test_the_nodes_containers_can_write_nothing_but_their_volume(compose):
    for name in OWN:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["user"] == "10001:10001"
        assert service["cap_drop"] == ["ALL"]
        assert service["command"][0] in {"migrate", "listen", "work", "web"}


def test_container_images_are_pinned_and_ports_bound_to_loopback(compose):
    for name, service in compose["services"].items():
        assert re.search(r":v?\d", service["image"]) or name in OWN
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_container_mount_exists_or_is_made_by_the_script(compose):
    made_by_script = {"./certificates", "./secrets"}
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                there = (COMPOSE.parent / source).exists()
                assert there or source in made_by_script
            else:
                assert source in compose["volumes"]
        for before in service.get("depends_on", []):
            assert before in compose["services"]


@pytest.mark.parametrize("place", ["compose", "kubernetes"])
def test_the_configurations_that_are_handed_over_are_usable(place: str):
    config = load_config(DEPLOY / place / "config.toml")

    assert config.node.data_folder == Path("/data")
    assert "password" not in config.database.url


def test_the_archive_beside_the_node_is_where_the_node_looks_for_it(compose):
    (peer,) = load_config(DEPLOY / "compose" / "config.toml").peer
    orthanc = compose["services"][peer.host]

    address = orthanc["networks"]["inside"]["ipv4_address"]
    assert peer.networks == (f"{address}/32",)
    assert peer.ae_title == orthanc["environment"]["ORTHANC__DICOM_AET"]


# ---- Kubernetes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text())]


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in manifests:
        if one["kind"] in {"Deployment", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]


def test_every_manifest_is_among_those_that_are_applied():
    applied = yaml.safe_load(KUSTOMIZATION.read_text())

    assert set(applied["resources"]) == {file.name for file in MANIFESTS}


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_kubernetes_manifest_matches_its_schema(manifests, version):
    for one in manifests:
        validate(one, version, strict=True)


def test_pods_satisfy_the_restricted_standard(manifests):
    for _, pod in pods(manifests):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_pods_mount_what_there_is_and_run_commands_that_there_are(manifests):
    claims = {
        one["metadata"]["name"] for one in manifests if one["kind"] == "PersistentVolumeClaim"
    }
    for _, pod in pods(manifests):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] in claims
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
            assert container["args"][0] in {"migrate", "listen", "work", "web"}


def test_selectors_find_the_pods_they_mean(manifests):
    labels = [pod["metadata"]["labels"] for _, pod in pods(manifests)]
    for one in manifests:
        match one["kind"]:
            case "Deployment":
                wanted = one["spec"]["selector"]["matchLabels"]
            case "Service":
                wanted = one["spec"]["selector"]
            case "NetworkPolicy":
                wanted = one["spec"]["podSelector"].get("matchLabels", {})
            case _:
                continue
        assert any(wanted.items() <= found.items() for found in labels), one["metadata"]["name"]


def test_workers_ask_for_a_gpu_and_are_as_many_as_the_queue_needs(manifests):
    named = {(one["kind"], one["metadata"]["name"]): one for one in manifests}
    worker = named["Deployment", "sij-node-worker"]
    scaler = named["HorizontalPodAutoscaler", "sij-node-worker"]["spec"]

    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "replicas" not in worker["spec"]  # the autoscaler's to say
    assert scaler["scaleTargetRef"]["name"] == "sij-node-worker"
    metric = scaler["metrics"][0]["external"]["metric"]["name"]
    assert f"as: {metric}" in (DEPLOY / "kubernetes" / "autoscaling.yaml").read_text()
    assert '"sij_jobs"' in (ROOT / "sij_node" / "operate" / "metrics.py").read_text()


def test_nothing_reaches_a_pod_unless_a_policy_says_so(manifests):
    policies = [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]

    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies


# ---- backup and restore ------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """URLs of a node's database, and of an empty one to restore into."""
    if request.param == "sqlite":
        return tuple(f"sqlite:///{tmp_path / name / 'jobs.sqlite'}" for name in ("data", "again"))
    server: Postgres = request.getfixturevalue("postgres")
    number = tmp_path.name.replace("-", "_")
    return server.create(f"full_{number}"), server.create(f"again_{number}")


def environment(url: str) -> dict[str, str]:
    plain = url.replace("+psycopg", "")
    return {"PATH": "/usr/bin:/bin"} | ({} if url.startswith("sqlite") else {"DATABASE_URL": plain})


def saved(data: Path, out: Path, url: str) -> Path:
    done = run("sh", DEPLOY / "backup.sh", data, out, env=environment(url))
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_a_backup_of_a_working_node_is_restored_whole(databases, tmp_path: Path):
    before, after = databases
    data, again = tmp_path / "data", tmp_path / "again"
    spool, engine = Spool(data / "spool"), open_database(before)
    table = JobTable(engine)
    spool.keep_result(b"a result", made().file_name)
    job = delivering(table)
    stop = threading.Event()

    def go_on_receiving() -> None:
        for number in range(10_000):
            if stop.wait(0.01):
                return
            table.register(received(number, "1.9"), 5, opens_job=True)

    receiving = threading.Thread(target=go_on_receiving)
    receiving.start()
    try:
        backup = saved(data, tmp_path / "backups", before)
    finally:
        stop.set()
        receiving.join()
    engine.dispose()

    restored = run("sh", DEPLOY / "restore.sh", backup, again, env=environment(after))

    assert restored.returncode == 0, restored.stderr
    engine = open_database(after)
    table = JobTable(engine)
    assert table.get(job.job_id) == job
    assert steps_of(table.database, job.job_id)[-1].to_state is State.DELIVERING
    (delivery,) = deliveries_of(table.database, job.job_id)
    file = Spool(again / "spool").path_of_result(delivery.result.file_name)
    assert file.read_bytes() == b"a result"
    engine.dispose()


def test_a_backup_that_was_damaged_is_not_restored(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'data' / 'jobs.sqlite'}"
    Spool(tmp_path / "data" / "spool")
    open_database(url).dispose()
    backup = saved(tmp_path / "data", tmp_path / "backups", url)
    with (backup / "data.tar").open("r+b") as file:
        file.write(b"damage")

    done = run("sh", DEPLOY / "restore.sh", backup, tmp_path / "again", env=environment(url))

    assert done.returncode != 0
    assert not (tmp_path / "again").exists()


def test_a_backup_is_not_restored_over_a_node_that_is_there(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'data' / 'jobs.sqlite'}"
    Spool(tmp_path / "data" / "spool")
    open_database(url).dispose()
    backup = saved(tmp_path / "data", tmp_path / "backups", url)

    done = run("sh", DEPLOY / "restore.sh", backup, tmp_path / "data", env=environment(url))

    assert done.returncode == 73
    assert "not empty" in done.stderr
