"""Alerts reach a real mail server and a real webhook receiver, and failures are reported."""

import json
import ssl
from pathlib import Path

import pytest

from deploy.trial import free_port, set_up
from sij_node.cli.maintenance_commands import send_test_notification
from sij_node.config.settings import (
    AlertsConfig,
    Config,
    EmailConfig,
    NodeConfig,
    PeerConfig,
    WebhookConfig,
)
from sij_node.domain.alerts import AlertKind, AlertLine
from sij_node.domain.health import HealthStatus
from sij_node.errors import AlertNotSent, ConfigurationInvalid
from sij_node.operate.alert_channels import SIGNATURE, TIMESTAMP, Channel, channels_of, signature
from tests.support.certificates import authority, signed_by
from tests.support.smtp_server import mail_server
from tests.support.webhook_receiver import hook_receiver

PEER = PeerConfig(ae_title="PACS", networks=("10.0.0.0/8",), host="10.0.0.7", port=104)
LINES = (
    AlertLine(
        AlertKind.NEW,
        HealthStatus.FAILED,
        "PACS\r\nBcc: all@example.org has taken nothing.",
        "Look.",
    ),
    AlertLine(AlertKind.RESOLVED, HealthStatus.OK, "Größe: 4 GB are free."),
)


def channel(folder: Path, **ways: object) -> Channel:
    config = Config(
        node=NodeConfig(ae_title="SIJNODE", data_folder=folder),
        peer=(PEER,),
        alerts=AlertsConfig(**ways),
    )
    (found,) = channels_of(config)
    return found


def email(folder: Path, port: int, **settings: object) -> Channel:
    return channel(
        folder,
        email=EmailConfig(
            host="127.0.0.1",
            port=port,
            sender="sij@hospital.example",
            to=("one@hospital.example", "two@hospital.example"),
            **settings,
        ),
    )


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A mail server's side of TLS, by an authority in ca.pem; the password is in `password`."""
    ca = authority(tmp_path, "ca")
    server = signed_by(ca, tmp_path, "mail")
    (tmp_path / "password").write_text("s3cret\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.private_key)
    return context


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_is_sent_over_tls_after_logging_in(tmp_path, tls, security):
    with mail_server(tls, at_once=security == "tls") as server:
        email(
            tmp_path,
            server.port,
            security=security,
            user="sij",
            password_file=tmp_path / "password",
            ca=tmp_path / "ca.pem",
        ).send(LINES)

    (mail,) = server.mails
    assert server.users == ["sij"]
    assert server.recipients == ["one@hospital.example", "two@hospital.example"]
    assert mail["Subject"].strip().startswith("[SIJNODE] New: PACS  Bcc: all@example.org")
    assert mail["Bcc"] is None
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@hospital.example>")
    text = mail.get_content()
    assert "    Look." in text
    assert "Resolved: Größe: 4 GB are free." in text


def test_a_server_on_this_machine_may_do_without(tmp_path):
    with mail_server() as server:
        email(tmp_path, server.port, security="none").send(LINES)

    assert len(server.mails) == 1


def test_a_server_with_an_untrusted_certificate_gets_nothing(tmp_path, tls):
    with mail_server(tls) as server:
        way = email(tmp_path, server.port)
        with pytest.raises(AlertNotSent, match="certificate"):
            way.send(LINES)

    assert server.mails == []


def test_a_server_without_starttls_gets_no_password(tmp_path, tls):
    with mail_server() as server:
        way = email(tmp_path, server.port, user="sij", password_file=tmp_path / "password")
        with pytest.raises(AlertNotSent, match="STARTTLS"):
            way.send(LINES)

    assert server.users == []


def test_a_rejected_mail_is_reported(tmp_path, tls):
    (tmp_path / "password").write_text("wrong")
    ways = {"user": "sij", "password_file": tmp_path / "password", "ca": tmp_path / "ca.pem"}
    with mail_server(tls) as server:
        with pytest.raises(AlertNotSent, match="535"):
            email(tmp_path, server.port, **ways).send(LINES)
        server.is_full = True
        with pytest.raises(AlertNotSent, match="452"):
            email(tmp_path, server.port, ca=tmp_path / "ca.pem").send(LINES)
    with pytest.raises(AlertNotSent, match="refused"):
        email(tmp_path, free_port()).send(LINES)


def test_a_webhook_gets_a_signed_post(tmp_path):
    (tmp_path / "secret").write_text("shared\n")
    with hook_receiver() as receiver:
        hook = WebhookConfig(url=receiver.url, secret_file=tmp_path / "secret")
        channel(tmp_path, webhook=hook).send(LINES)

    ((headers, body),) = receiver.posts
    assert headers[SIGNATURE] == f"sha256={signature(b'shared', headers[TIMESTAMP], body)}"
    assert headers["Content-Type"] == "application/json"
    sent = json.loads(body)
    assert sent["node"] == "SIJNODE"
    assert sent["lines"][1] == {
        "kind": "Resolved",
        "status": "ok",
        "message": "Größe: 4 GB are free.",
        "action": "",
    }


def test_a_tls_webhook_is_reached_only_with_a_trusted_certificate(tmp_path, tls):
    (tmp_path / "secret").write_text("shared")
    with mail_server(tls, at_once=True) as server:
        settings = {"url": f"https://127.0.0.1:{server.port}/", "secret_file": tmp_path / "secret"}
        trusting = WebhookConfig(**settings, ca=tmp_path / "ca.pem")

        assert channel(tmp_path, webhook=trusting).reach() == f"127.0.0.1:{server.port}"
        with pytest.raises(AlertNotSent, match="certificate"):
            channel(tmp_path, webhook=WebhookConfig(**settings)).reach()


@pytest.mark.parametrize("status", [302, 400, 500])
def test_a_failing_webhook_is_reported_without_its_address(tmp_path, status):
    (tmp_path / "secret").write_text("shared\n")
    with hook_receiver() as receiver:
        receiver.status = status
        hook = WebhookConfig(url=receiver.url, secret_file=tmp_path / "secret")
        with pytest.raises(AlertNotSent, match=str(status)) as sent:
            channel(tmp_path, webhook=hook).send(LINES)

    assert "t0ken" not in str(sent.value)


def test_a_secret_that_is_missing_is_named_before_anything_starts(tmp_path):
    with pytest.raises(ConfigurationInvalid, match=r"alerts\.webhook.*secret"):
        channel(
            tmp_path,
            webhook=WebhookConfig(url="http://localhost/", secret_file=tmp_path / "secret"),
        )
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(ConfigurationInvalid, match="empty"):
        channel(
            tmp_path,
            webhook=WebhookConfig(url="http://localhost/", secret_file=tmp_path / "secret"),
        )


def test_a_trial_reaches_every_channel_that_is_set_up(tmp_path, capsys):
    (tmp_path / "secret").write_text("shared")
    with mail_server() as server, hook_receiver() as receiver:
        mail = {"host": "127.0.0.1", "port": server.port, "security": "none"}
        mail |= {"sender": "sij@hospital.example", "to": ["one@hospital.example"]}
        hook = {"url": receiver.url, "secret_file": "secret"}
        trial = set_up(tmp_path, "PACS", 104, **{"alerts.email": mail, "alerts.webhook": hook})
        send_test_notification(trial.config)

    assert len(server.mails) == len(receiver.posts) == 1
    assert "Sent by email and webhook." in capsys.readouterr().out


def test_a_test_alert_without_a_channel_says_none_was_sent(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="no alerts are sent"):
        send_test_notification(set_up(tmp_path, "PACS", 104).config)
