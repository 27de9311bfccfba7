"""The doctor finds real faults and reports each in one line."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from alembic import command

import models
from deploy.trial import free_port, set_up
from sij_node.config.settings import load_config
from sij_node.doctor import assessments, measurements
from sij_node.doctor.assessments import EchoOutcome
from sij_node.doctor.run_checks import run_checks
from sij_node.doctor.study_round_trip import send_test_study
from sij_node.domain.health import Component, Condition, HealthStatus
from sij_node.processes.assembly import migrate
from sij_node.store.database import alembic_settings, open_unmigrated, schema_of
from tests.support.certificates import authority, signed_by
from tests.support.command_line import sij_node
from tests.support.running_listener import listening
from tests.support.running_web import running_web
from tests.support.smtp_server import mail_server
from tests.support.webhook_receiver import hook_receiver


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node that does not run, and whose archive is nowhere."""
    return set_up(tmp_path / "node", "PACS", free_port()).config


def reported(config: Path, component: Component) -> list[Condition]:
    """The conditions of one component in a quick check."""
    return [line for line in run_checks(config) if line.component is component]


def the_one(config: Path, component: Component, status: HealthStatus) -> str:
    """The words of the one line with this verdict."""
    (line,) = [line for line in reported(config, component) if line.status is status]
    assert line.action or status is HealthStatus.OK
    return line.message


def test_a_configuration_that_cannot_be_read_is_the_only_line(tmp_path: Path):
    broken = tmp_path / "config.toml"
    broken.write_text("[node]\nae_titel = 'X'\n")

    (line,) = run_checks(broken)

    assert (line.component, line.status) == (Component.CONFIGURATION, HealthStatus.FAILED)
    assert "ae_titel" in line.message


# ---- disk and database -------------------------------------------------------------------


def test_a_folder_that_can_be_written_is_measured(config: Path, monkeypatch):
    monkeypatch.setattr(assessments, "SLOW_SYNC_S", 60)  # others may keep the disk busy

    assert "GB free; fsync takes" in the_one(config, Component.DISK, HealthStatus.OK)
    assert list(load_config(config).node.data_folder.glob(".doctor-*")) == []


def test_a_folder_that_cannot_be_created_is_reported(config: Path):
    folder = load_config(config).node.data_folder
    folder.write_text("a file in its place")

    assert "is not writable" in the_one(config, Component.DISK, HealthStatus.FAILED)


def upgrade_to(url: str, version: str) -> None:
    """Make the tables of an earlier version."""
    settings = alembic_settings()
    with open_unmigrated(url) as database, database.writing() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, version)


def test_inspecting_a_database_changes_nothing(empty_database: str):
    found = schema_of(empty_database)

    assert found.current is None
    assert found == schema_of(empty_database)


def test_an_unmigrated_database_is_reported_until_migrated(tmp_path: Path, empty_database: str):
    url = {"url": empty_database}
    config = set_up(tmp_path / "node", "PACS", free_port(), database=url).config
    upgrade_to(empty_database, "v0001")

    assert "has schema v0001" in the_one(config, Component.DATABASE, HealthStatus.WARNING)
    newest = migrate(load_config(config)).newest
    assert f"schema {newest}" in the_one(config, Component.DATABASE, HealthStatus.OK)


def test_an_empty_database_is_made_by_migrating(empty_database: str, tmp_path: Path):
    url = {"url": empty_database}
    config = set_up(tmp_path / "node", "PACS", free_port(), database=url).config

    schema = migrate(load_config(config))

    assert schema.current == schema.newest
    assert migrate(load_config(config)) == schema


def test_an_unreachable_database_is_reported_without_its_password(tmp_path: Path):
    url = {"url": f"postgresql+psycopg://sij:secret@127.0.0.1:{free_port()}/sij"}
    config = set_up(tmp_path / "node", "PACS", free_port(), database=url).config

    words = the_one(config, Component.DATABASE, HealthStatus.FAILED)

    assert "does not answer" in words
    assert "secret" not in words


# ---- TLS ---------------------------------------------------------------------------------


def with_certificate(tmp_path: Path, days: int) -> Path:
    own = signed_by(authority(tmp_path, "ca"), tmp_path, "node", days)
    tls = {"certificate": str(own.certificate), "private_key": str(own.private_key)}
    return set_up(tmp_path / "node", "PACS", free_port(), **{"listener.tls": tls}).config


def test_an_expired_certificate_is_reported(tmp_path: Path):
    assert "expired" in the_one(with_certificate(tmp_path, -1), Component.TLS, HealthStatus.FAILED)


def test_a_certificate_that_expires_soon_is_reported(tmp_path: Path):
    words = the_one(with_certificate(tmp_path, 3), Component.TLS, HealthStatus.WARNING)

    assert "CN=node" in words


def test_a_key_of_another_certificate_is_reported(tmp_path: Path):
    config = with_certificate(tmp_path, 300)
    other = authority(tmp_path, "other")
    shutil.copy(other.private_key, tmp_path / "node.key")

    assert "[listener.tls] cannot be used" in the_one(config, Component.TLS, HealthStatus.FAILED)


def test_the_certificates_of_a_chain_are_held_against_each_other(tmp_path: Path):
    ca = authority(tmp_path, "ca")
    own, stranger = signed_by(ca, tmp_path, "node"), authority(tmp_path, "stranger")
    chain, mixed = tmp_path / "chain.pem", tmp_path / "mixed.pem"
    chain.write_bytes(own.certificate.read_bytes() + ca.certificate.read_bytes())
    mixed.write_bytes(own.certificate.read_bytes() + stranger.certificate.read_bytes())

    signed = [
        [one.issued_by_next for one in measurements.certificates_in(file, is_chain=True)]
        for file in (chain, mixed)
    ]

    assert signed == [[True, None], [False, None]]


def test_trusted_cas_may_come_in_any_order_and_each_is_checked(tmp_path: Path):
    first, second = authority(tmp_path, "first"), authority(tmp_path, "second")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(first.certificate.read_bytes() + second.certificate.read_bytes())
    own = signed_by(first, tmp_path, "node", 300)
    tls = {key: str(file) for key, file in vars(own).items()} | {"client_ca": str(trusted)}
    audit = {"syslog": f"tls://127.0.0.1:{free_port()}", "syslog_ca": str(trusted)}
    sections = {"listener.tls": tls, "audit": audit}
    config = set_up(tmp_path / "node", "PACS", free_port(), **sections).config

    words = [(line.status, line.message) for line in reported(config, Component.TLS)]

    assert HealthStatus.FAILED not in [verdict for verdict, _ in words]
    for where in ("[listener.tls] client_ca", "[audit] syslog_ca"):
        assert [one.split()[2] for _, one in words if one.startswith(where)] == [
            "CN=first,",
            "CN=second,",
        ]


def test_a_key_not_matching_the_web_certificate_is_reported(tmp_path: Path):
    own, other = authority(tmp_path, "own"), authority(tmp_path, "other")
    tls = {"certificate": str(own.certificate), "private_key": str(other.private_key)}
    config = set_up(tmp_path / "node", "PACS", free_port(), **{"web.tls": tls}).config

    assert "[web.tls] cannot be used" in the_one(config, Component.TLS, HealthStatus.FAILED)


# ---- network -----------------------------------------------------------------------------


def test_a_peer_behind_a_closed_port_is_reported(config: Path):
    assert "cannot be reached" in the_one(config, Component.NETWORK, HealthStatus.FAILED)


def with_listener(folder: Path, port: int, ae_title: str = "SIJ") -> Path:
    """The configuration of a node at a port, with the peer that `listening` knows."""
    config = set_up(folder, "MODALITY", free_port(), port).config
    config.write_text(config.read_text().replace('"SIJNODE"', f'"{ae_title}"'))
    return config


def test_the_nodes_own_door_is_tried_with_the_right_and_a_wrong_title(tmp_path: Path):
    with listening(tmp_path / "spool") as node:
        config = load_config(with_listener(tmp_path / "node", node.listener.port))

        right = measurements.echo_own_listener(config, "SIJ", "MODALITY")
        wrong = measurements.echo_own_listener(config, measurements.UNKNOWN_TITLE, "MODALITY")
        stranger = measurements.echo_own_listener(config, "SIJ", "STRANGER")

    assert (right, wrong, stranger) == (
        EchoOutcome.ACCEPTED,
        EchoOutcome.REJECTED,
        EchoOutcome.REJECTED,
    )


def test_a_listener_that_is_named_and_not_numbered_is_looked_at_too(tmp_path: Path):
    with listening(tmp_path / "spool") as node:
        config = with_listener(tmp_path / "node", node.listener.port)
        text = config.read_text()
        config.write_text(text.replace("[listener]\n", '[listener]\nhost = "localhost"\n'))

        assert load_config(config).listener.host == "localhost"
        words = [
            one.message for one in reported(config, Component.NETWORK) if "localhost" in one.message
        ]

    assert words


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_is_free_until_a_program_listens_on_it(host):
    port = free_port()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    assert measurements.is_free(host, port)
    with socket.socket(family) as taken:
        taken.bind((host, port))
        taken.listen()
        assert not measurements.is_free(host, port)


def test_a_listener_under_another_ae_title_is_reported(tmp_path: Path):
    with listening(tmp_path / "spool") as node:
        config = with_listener(tmp_path / "node", node.listener.port, "RENAMED")
        words = [
            one.message
            for one in reported(config, Component.NETWORK)
            if "own AE title" in one.message
        ]

    assert len(words) == 1
    assert "does not accept" in words[0]


def test_another_program_on_the_dicom_port_is_reported(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(measurements, "ECHO_TIMEOUT_S", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = with_listener(tmp_path / "node", taken.getsockname()[1])

        failed = [
            one for one in reported(config, Component.NETWORK) if one.status is HealthStatus.FAILED
        ]

    assert any("does not accept associations" in one.message for one in failed)


def test_another_program_on_the_web_port_is_recognised(tmp_path: Path, monkeypatch):
    def found_at(port: int) -> Condition:
        return about(with_page(tmp_path / str(port), port), "Web server")

    with running_web(tmp_path / "web") as web, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = [found_at(int(web.url.rpartition(":")[2]))]
        monkeypatch.setattr(measurements, "ECHO_TIMEOUT_S", 1)
        found += [found_at(taken.getsockname()[1]), found_at(free_port())]

    assert [one.status for one in found] == [HealthStatus.OK, HealthStatus.FAILED, HealthStatus.OK]
    assert "responds at 127.0.0.1" in found[0].message
    assert "in use by another program" in found[1].message
    assert "is available" in found[2].message


def with_page(folder: Path, port: int) -> Path:
    return set_up(folder, "PACS", free_port(), web={"port": port}).config


def about(config: Path, word: str) -> Condition:
    """The one line about the network with a word in it."""
    (line,) = [one for one in reported(config, Component.NETWORK) if word in one.message]
    return line


def test_a_page_that_is_not_wanted_is_not_looked_for(tmp_path: Path):
    config = set_up(tmp_path, "PACS", free_port(), web={"enabled": False}).config

    assert [one for one in reported(config, Component.NETWORK) if "Web server" in one.message] == []


def test_alert_channels_are_tested_without_sending(tmp_path: Path):
    (tmp_path / "secret").write_text("shared")
    with mail_server() as server, hook_receiver() as receiver:
        at = {"email": server.port, "webhook": int(receiver.url.split(":")[2].split("/")[0])}
        reached = [about(with_alarms(tmp_path, **at), way) for way in at]
    away = [about(with_alarms(tmp_path, email=free_port(), webhook=free_port()), w) for w in at]

    assert [one.status for one in reached] == [HealthStatus.OK, HealthStatus.OK]
    assert [one.status for one in away] == [HealthStatus.WARNING, HealthStatus.WARNING]
    assert all("test-alerts" in one.action for one in away)
    assert "t0ken" not in "".join(one.message for one in reached + away)
    assert server.mails == receiver.posts == []


def with_alarms(folder: Path, email: int, webhook: int) -> Path:
    mail = {"host": "127.0.0.1", "port": email, "security": "none"}
    mail |= {"sender": "sij@hospital.example", "to": ["one@hospital.example"]}
    hook = {"url": f"http://127.0.0.1:{webhook}/t0ken", "secret_file": "secret"}
    alarms = {"alerts.email": mail, "alerts.webhook": hook}
    return set_up(folder, "PACS", free_port(), **alarms).config


def test_a_missing_secret_of_the_alerts_is_reported(tmp_path: Path):
    config = with_alarms(tmp_path, free_port(), free_port())

    assert "secret does not exist" in the_one(config, Component.CONFIGURATION, HealthStatus.FAILED)


# ---- weights -----------------------------------------------------------------------------


def test_damaged_weights_are_reported(tmp_path: Path):
    weights = tmp_path / "weights"
    shutil.copytree(Path(models.__file__).parent / "weights", weights)
    damaged = weights / "lesion" / "weights.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    worker = {"weights_folder": str(weights)}
    config = set_up(tmp_path / "node", "PACS", free_port(), worker=worker).config

    words = the_one(config, Component.NEURAL_NETWORKS, HealthStatus.FAILED)

    assert "does not match the digest on its card" in words
    assert str(weights / "lesion") in words


# ---- the whole ---------------------------------------------------------------------------


def test_a_script_gets_lines_as_json_and_an_exit_status(config: Path):
    done = sij_node("doctor", "--quick", "--json", "--config", config)

    lines = json.loads(done.stdout)
    assert {line["status"] for line in lines} >= {"ok", "failed"}
    assert done.returncode == 14  # the archive does not answer


def test_people_get_a_line_each_with_what_to_do(config: Path):
    done = sij_node("doctor", "--quick", "--config", config)

    assert "→ Results are kept until it responds." in done.stdout
    assert "neural networks" in done.stdout
    assert done.stderr == ""


def test_a_phantom_study_passes_through_a_node_of_its_own(config: Path):
    trial = send_test_study(load_config(config), timeout_s=500)

    assert trial.problem == ""
    assert trial.results == 4
    assert not load_config(config).node.data_folder.exists()


def test_a_node_that_cannot_start_says_why(tmp_path: Path):
    worker = {"weights_folder": str(tmp_path / "nowhere")}
    config = set_up(tmp_path / "node", "PACS", free_port(), worker=worker).config

    trial = send_test_study(load_config(config), timeout_s=500)

    assert "[worker] weights: " in trial.problem
