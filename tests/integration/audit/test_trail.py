"""Audit messages reach the files of the node and the audit repository, and disturb nothing."""

import socket
import ssl
import stat
import threading
from base64 import b64decode
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from deploy.trial import free_port
from sij_node.audit.messages import (
    Application,
    AuditedStudy,
    AuditSource,
    HumanUser,
    instances_accessed,
    user_authentication,
)
from sij_node.audit.peer_events import PeerEvents
from sij_node.audit.trail import AuditTrail, DayFiles, open_trail
from sij_node.config.settings import (
    AuditConfig,
    Config,
    ListenerConfig,
    NodeConfig,
    PeerConfig,
    TlsConfig,
)
from sij_node.errors import ConfigurationInvalid, DatabaseUnavailable
from sij_node.network.association_summary import ReceivedStudy
from sij_node.store.peer_activity_table import PeerActivityLog, PeerActivityTable
from tests.support.audit_rules import check
from tests.support.certificates import authority, signed_by
from tests.support.raw_peer import associate_request, encoded
from tests.support.running_listener import listening, mr_image
from tests.support.syslog_server import HEADER, repository
from tests.support.waiting import wait_for

LOGIN = user_authentication("anna", "10.0.0.3")
REVEALED = instances_accessed(HumanUser("anna"), AuditedStudy("1.2.3", "P-17"), "patient revealed")
PACS = PeerConfig(ae_title="PACS", networks=("10.0.0.0/8",), host="10.0.0.7", port=104)


def config_of(folder: Path, **audit: object) -> Config:
    return Config(
        node=NodeConfig(ae_title="SIJNODE", data_folder=folder),
        peer=(PACS,),
        audit=AuditConfig(**audit),
    )


def lines_in(folder: Path) -> list[str]:
    return [
        line
        for file in sorted((folder / "audit").glob("*.xml"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


# ---- files -------------------------------------------------------------------------------


def test_each_message_is_a_line_in_the_file_of_its_day(tmp_path):
    trail = open_trail(config_of(tmp_path, site="Radiology"))
    trail.record(LOGIN)
    trail.record(REVEALED)
    trail.close()

    (file,) = (tmp_path / "audit").iterdir()
    assert file.name == f"{datetime.now(UTC):%Y-%m-%d}-{socket.gethostname()}.xml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    messages = [check(line) for line in lines_in(tmp_path)]
    assert [one.find(".//EventID").get("csd-code") for one in messages] == ["110114", "110103"]
    reporter = messages[0].find("AuditSourceIdentification")
    assert reporter.get("AuditSourceID") == "SIJNODE"
    assert reporter.get("AuditEnterpriseSiteID") == "Radiology"


def test_processes_and_threads_add_whole_lines_to_one_file(tmp_path):
    trails = [open_trail(config_of(tmp_path)) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda one=one: [one.record(REVEALED) for _ in range(50)])
        for one in trails
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for trail in trails:
        trail.close()

    lines = lines_in(tmp_path)
    assert len(lines) == 200
    for line in set(lines):
        check(line)


def test_a_new_day_begins_a_new_file_and_old_ones_are_removed(tmp_path):
    (tmp_path / "2024-01-01-box.xml").write_text("old\n")
    files = DayFiles(tmp_path, retention_days=100)
    today = datetime.now(UTC)

    files.put(LOGIN, "<first/>", today - timedelta(days=50))
    files.put(LOGIN, "<second/>", today)
    files.close()

    texts = [file.read_text() for file in sorted(tmp_path.glob("*.xml"))]
    assert texts == ["<first/>\n", "<second/>\n"]


def test_files_are_kept_for_ever_unless_a_site_says_otherwise(tmp_path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "1999-01-01-box.xml").write_text("old\n")
    trail = open_trail(config_of(tmp_path))
    trail.record(LOGIN)
    trail.close()

    assert len(list((tmp_path / "audit").iterdir())) == 2


def test_an_unwritable_folder_is_logged_once_and_stops_nothing(tmp_path):
    (tmp_path / "audit").write_text("in the way")
    trail = open_trail(config_of(tmp_path))

    with capture_logs() as logs:
        trail.record(LOGIN)
        trail.record(LOGIN)

    assert [line["event"] for line in logs] == ["audit not written"]


def test_a_patient_has_one_pseudonym_in_every_process_of_a_node(tmp_path):
    for folder in (tmp_path / "here", tmp_path / "here", tmp_path / "elsewhere"):
        trail = open_trail(config_of(folder, patient_ids="hashed"))
        trail.record(REVEALED)
        trail.close()

    here = [
        check(line).findall(".//*[@ParticipantObjectTypeCode='1']")
        for line in lines_in(tmp_path / "here")
    ]
    (first,), (second,) = here
    elsewhere = lines_in(tmp_path / "elsewhere")[0]
    pseudonym = first.get("ParticipantObjectID")
    assert pseudonym == second.get("ParticipantObjectID")
    assert len(pseudonym) == 32
    assert pseudonym not in elsewhere
    assert "P-17" not in "".join([*lines_in(tmp_path / "here"), elsewhere])


def test_a_site_that_wants_no_trail_gets_none(tmp_path):
    trail = open_trail(config_of(tmp_path, file=False))
    trail.record(LOGIN)
    trail.close()

    assert list(tmp_path.iterdir()) == []


# ---- syslog ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_messages_reach_the_repository(tmp_path, protocol):
    with repository(protocol) as there:
        trail = open_trail(
            config_of(tmp_path, file=False, syslog=f"{protocol}://127.0.0.1:{there.port}")
        )
        trail.record(LOGIN)
        trail.record(user_authentication("anna", "10.0.0.3", failure="wrong password"))
        wait_for(lambda: len(there.messages) == 2, "messages")
        trail.close()

    for xml in there.xml():
        check(xml)
    headers = [HEADER.fullmatch(message) for message in there.messages]
    assert [header["priority"] for header in headers] == [b"85", b"84"]
    assert headers[0]["id"] == b"DICOM+RFC3881"


def test_a_repository_behind_tls_is_verified(tmp_path):
    ca = authority(tmp_path, "ca")
    known, other = signed_by(ca, tmp_path, "repository"), authority(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known.certificate, known.private_key)
    context.load_verify_locations(ca.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    node = signed_by(ca, tmp_path, "node")
    own = {"syslog_certificate": node.certificate, "syslog_private_key": node.private_key}

    with repository("tls", context) as there, capture_logs() as logs:
        url = f"tls://127.0.0.1:{there.port}"
        trusting = open_trail(
            config_of(tmp_path, file=False, syslog=url, syslog_ca=ca.certificate, **own)
        )
        trusting.record(LOGIN)
        wait_for(lambda: there.messages, "message over TLS")
        trusting.close()
        wary = open_trail(
            config_of(tmp_path, file=False, syslog=url, syslog_ca=other.certificate, **own)
        )
        wary.record(LOGIN)
        wait_for(lambda: logs, "complaint")
        wary.close()

    assert len(there.messages) == 1
    assert [line["event"] for line in logs] == ["audit not sent"]


def test_unusable_certificates_are_named_before_anything_starts(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="syslog_ca"):
        open_trail(
            config_of(tmp_path, syslog="tls://127.0.0.1:6514", syslog_ca=tmp_path / "none.pem")
        )


def test_messages_wait_for_a_repository_that_is_away(tmp_path):
    port = free_port()
    trail = open_trail(config_of(tmp_path, file=False, syslog=f"tcp://127.0.0.1:{port}"))
    with capture_logs() as logs:
        trail.record(LOGIN)
        wait_for(lambda: logs, "complaint")
        trail.record(REVEALED)
        with repository("tcp", port=port) as there:
            wait_for(lambda: len(there.messages) == 2, "messages that waited")
        trail.close()

    codes = [check(xml).find(".//EventID").get("csd-code") for xml in there.xml()]
    assert codes == ["110114", "110103"]
    assert [line["event"] for line in logs] == ["audit not sent", "audit sending recovered"]


def test_a_silent_audit_repository_does_not_delay_a_stop(tmp_path):
    trail = open_trail(config_of(tmp_path, file=False, syslog=f"tcp://127.0.0.1:{free_port()}"))
    for _ in range(100):
        trail.record(LOGIN)

    trail.close()

    assert not [thread for thread in threading.enumerate() if thread.name == "audit"]


# ---- what the node records ---------------------------------------------------------------


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    files = DayFiles(tmp_path / "audit", 0)
    return AuditTrail(Application("SIJ", "node"), AuditSource("SIJ"), (files,))


def test_who_is_turned_away_and_what_is_taken_is_recorded(table, tmp_path, trail):
    book = PeerActivityLog(PeerActivityTable(table.database))
    events = PeerEvents(book, trail, str, ("MODALITY",))
    with listening(tmp_path, events=events) as node:
        with node.peer() as stranger:
            assert stranger.associate(associate_request(b"SIJ", b"NOBODY"))[0] == 3
        with node.associated() as peer:
            assert peer.store("1.2.3", encoded(mr_image("1.2.3"))) == 0
            assert peer.store("1.2.4", encoded(mr_image("1.2.4"))) == 0
            assert peer.store("1.2.5", encoded(mr_image("1.2.5"))[:-9]) == 0xC000
            peer.release()
    trail.close()

    refused, transferred = (check(line) for line in lines_in(tmp_path))
    assert refused.find(".//EventTypeCode").get("csd-code") == "110126"
    assert refused.find("EventIdentification").get("EventOutcomeIndicator") == "8"
    assert refused.find("ActiveParticipant").get("AlternativeUserID") == "AETITLES=NOBODY"
    assert transferred.find(".//SOPClass").get("NumberOfInstances") == "2"
    study, patient = transferred.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.826.1"
    assert patient.get("ParticipantObjectID") == "CANARY-1"


def test_a_missing_certificate_is_audited_and_a_disconnect_is_not(table, tmp_path, trail):
    ca = authority(tmp_path, "ca")
    node_pair = signed_by(ca, tmp_path, "node")
    tls = TlsConfig(**vars(node_pair), client_ca=ca.certificate)
    book = PeerActivityLog(PeerActivityTable(table.database))
    events = PeerEvents(book, trail, str, ("MODALITY",))
    with listening(tmp_path, limits=ListenerConfig(tls=tls), events=events) as node:
        port = node.listener.port
        socket.create_connection(("127.0.0.1", port)).close()
        bare = ssl.create_default_context(cafile=ca.certificate)
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            bare.wrap_socket(raw, server_hostname="127.0.0.1") as nobody,
            suppress(OSError),
        ):
            nobody.recv(1)
        wait_for(lambda: lines_in(tmp_path), "alert")
    trail.close()

    (alert,) = (check(line) for line in lines_in(tmp_path))
    assert alert.find(".//EventTypeCode").get("csd-code") == "110126"
    assert "certificate" in alert.find(".//EventOutcomeDescription").text.lower()


def test_an_unavailable_database_loses_no_recorded_delivery(table, tmp_path, trail):
    def away(study_uid: str) -> str:
        raise DatabaseUnavailable("away")

    book = PeerActivityLog(PeerActivityTable(table.database))
    PeerEvents(book, trail, away).delivery_started("1.2.3", PACS)
    trail.close()

    (begun,) = (check(line) for line in lines_in(tmp_path))
    assert begun.find(".//*[@ParticipantObjectTypeCode='1']").get("ParticipantObjectID") == ""


@pytest.mark.parametrize("hidden", [False, True])
def test_a_query_is_audited_with_its_patient_or_a_pseudonym(table, tmp_path, hidden):
    trail = open_trail(config_of(tmp_path, patient_ids="hashed" if hidden else "plain"))
    events = PeerEvents(PeerActivityLog(PeerActivityTable(table.database)), trail, str)
    question = Dataset()
    question.QueryRetrieveLevel, question.PatientID = "STUDY", "P-17"

    events.query_sent(PACS, "1.2.840.10008.5.1.4.1.2.2.1", question)
    trail.close()

    (asked,) = (check(line) for line in lines_in(tmp_path))
    identifier = b64decode(asked.find(".//ParticipantObjectQuery").text)
    assert b"STUDY" in identifier
    assert (b"P-17" in identifier) is not hidden
    assert question.PatientID == "P-17"


def test_retrieved_instances_are_audited_as_requested_by_the_node(table, tmp_path, trail):
    events = PeerEvents(PeerActivityLog(PeerActivityTable(table.database)), trail, str)

    events.studies_retrieved(PACS, [ReceivedStudy("1.2.9", "P-17", Counter({"1.2.8": 2}))])
    trail.close()

    (fetched,) = (check(line) for line in lines_in(tmp_path))
    source, destination = fetched.findall("ActiveParticipant")
    assert fetched.find(".//EventID").get("csd-code") == "110104"
    assert (source.get("UserID"), source.get("UserIsRequestor")) == ("PACS", "false")
    assert (destination.get("UserID"), destination.get("UserIsRequestor")) == ("SIJ", "true")
    study, patient = fetched.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.9"
    assert patient.get("ParticipantObjectID") == "P-17"
    assert fetched.find(".//SOPClass").get("NumberOfInstances") == "2"


def test_a_node_that_is_full_raises_no_security_alert(table, tmp_path, trail):
    book = PeerActivityLog(PeerActivityTable(table.database))
    events = PeerEvents(book, trail, str, ("MODALITY",))
    with listening(tmp_path, events=events, room=lambda: False) as node, node.peer() as peer:
        assert peer.associate()[0] == 3
    trail.close()

    assert lines_in(tmp_path) == []


def test_a_site_may_have_accepted_associations_recorded_too(table, tmp_path, trail):
    book = PeerActivityLog(PeerActivityTable(table.database))
    events = PeerEvents(book, trail, str, ("MODALITY",), audit_accepted=True)
    with listening(tmp_path, events=events) as node, node.associated() as peer:
        peer.release()
    trail.close()

    (accepted,) = (check(line) for line in lines_in(tmp_path))
    assert accepted.find("EventIdentification").get("EventOutcomeIndicator") == "0"


def test_what_was_sent_is_recorded_apart_from_what_was_refused(table, tmp_path, trail):
    events = PeerEvents(
        PeerActivityLog(PeerActivityTable(table.database)), trail, {"1.2.3": "P-17"}.__getitem__
    )

    events.delivery_started("1.2.3", PACS)
    events.delivery_ended("1.2.3", PACS, Counter({"1.2.9": 3}), Counter({"1.2.8": 1}))
    events.delivery_ended("1.2.3", PACS, Counter(), Counter())
    trail.close()

    begun, taken, refused = (check(line) for line in lines_in(tmp_path))
    assert begun.find(".//EventID").get("csd-code") == "110102"
    outcomes = [
        one.find("EventIdentification").get("EventOutcomeIndicator") for one in (taken, refused)
    ]
    assert outcomes == ["0", "4"]
    assert taken.find(".//SOPClass").attrib == {"UID": "1.2.9", "NumberOfInstances": "3"}
