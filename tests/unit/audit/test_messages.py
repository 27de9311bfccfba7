"""Audit messages follow the schema and the tables of PS3.15 A.5, whatever peers call themselves."""

from base64 import b64decode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sij_node.audit.messages import (
    Application,
    AuditedStudy,
    AuditMessage,
    AuditSource,
    EventAction,
    EventOutcome,
    HumanUser,
    SecurityAlert,
    application_activity,
    as_xml,
    begin_transferring,
    instances_accessed,
    instances_transferred,
    patient_searched,
    query,
    security_alert,
    user_authentication,
)
from tests.support.audit_rules import check

NOON = datetime(2024, 5, 6, 12, 0, 0, 250_000, tzinfo=UTC)
REPORTER = AuditSource("SIJNODE", "Radiology")
NODE, PACS = Application("SIJNODE", "node.example"), Application("PACS", "10.0.0.7")
ANNA = HumanUser("anna", "10.0.0.3")
STUDY = AuditedStudy("1.2.3", "P-17", {"1.2.840.10008.5.1.4.1.1.4": 40})
MESSAGES = [
    application_activity(NODE, "listener", started=True),
    application_activity(NODE, "worker", started=False),
    begin_transferring(NODE, PACS, STUDY),
    instances_transferred(PACS, NODE, STUDY),
    instances_transferred(NODE, PACS, STUDY, failure="2 of 4 objects were refused"),
    instances_accessed(ANNA, STUDY, "patient revealed"),
    instances_accessed(ANNA, AuditedStudy("1.2.3", "P-17"), "study removed", EventAction.DELETE),
    query(NODE, PACS, "1.2.840.10008.5.1.4.1.2.2.1", b"\x08\x00\x05\x00", "1.2.840.10008.1.2"),
    user_authentication("anna", "10.0.0.3"),
    user_authentication("anna", "10.0.0.3", failure="wrong password"),
    user_authentication("anna", "10.0.0.3", login=False),
    *(security_alert(kind, "something changed", ANNA) for kind in SecurityAlert),
    security_alert(
        SecurityAlert.NODE_AUTHENTICATION, "calling AE title is not a peer", PACS, is_failure=True
    ),
]


def xml_of(message: AuditMessage, **options: object) -> str:
    return as_xml(message, REPORTER, NOON, **options)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: one.event.name)
def test_every_message_follows_the_standard(message):
    check(xml_of(message))


def test_a_transfer_says_from_whom_to_whom_and_what():
    root = check(xml_of(instances_transferred(PACS, NODE, STUDY)))

    source, destination = root.findall("ActiveParticipant")
    assert source.attrib == {
        "UserID": "PACS",
        "UserIsRequestor": "true",
        "AlternativeUserID": "AETITLES=PACS",
        "NetworkAccessPointID": "10.0.0.7",
        "NetworkAccessPointTypeCode": "2",
    }
    assert destination.get("NetworkAccessPointTypeCode") == "1"
    study, patient = root.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert patient.get("ParticipantObjectID") == "P-17"
    (sop_class,) = study.iter("SOPClass")
    assert sop_class.attrib == {"UID": "1.2.840.10008.5.1.4.1.1.4", "NumberOfInstances": "40"}
    event = root.find("EventIdentification")
    assert event.get("EventDateTime") == "2024-05-06T12:00:00.250Z"


def test_a_failure_is_alerted_with_its_reason():
    failed = instances_transferred(NODE, PACS, STUDY, failure="refused: 0xA700")
    event = check(xml_of(failed)).find("EventIdentification")

    assert event.get("EventOutcomeIndicator") == EventOutcome.MINOR_FAILURE
    assert event.find("EventOutcomeDescription").text == "refused: 0xA700"


def test_a_query_holds_what_was_asked():
    root = check(xml_of(query(NODE, PACS, "1.2.3", b"\x00\xff", "1.2.840.10008.1.2")))

    assert b64decode(root.find(".//ParticipantObjectQuery").text) == b"\x00\xff"
    detail = root.find(".//ParticipantObjectDetail")
    assert b64decode(detail.get("value")) == b"1.2.840.10008.1.2"


def test_a_search_for_a_patient_says_who_searched_and_for_whom():
    root = check(xml_of(patient_searched(ANNA, "P-17", "2 jobs found")))

    assert root.find("EventIdentification/EventID").get("csd-code") == "110110"
    assert root.find("ActiveParticipant").get("UserID") == ANNA.user
    assert root.find("ParticipantObjectIdentification").get("ParticipantObjectID") == "P-17"


def test_a_patient_is_hidden_where_a_site_wants_that():
    xml = xml_of(instances_accessed(ANNA, STUDY, "downloaded"), patient=lambda _: "a1b2")

    check(xml)
    assert "P-17" not in xml
    assert 'ParticipantObjectID="a1b2"' in xml


@given(st.text(), st.text(), st.text(min_size=1))
def test_no_text_from_elsewhere_breaks_a_message(title, patient, reason):
    alert = security_alert(
        SecurityAlert.NODE_AUTHENTICATION,
        reason,
        Application(title or "?", "10.0.0.1"),
        is_failure=True,
    )
    accessed = instances_accessed(HumanUser("anna"), AuditedStudy("1.2.3", patient), reason)

    for message in (alert, accessed):
        check(xml_of(message))
