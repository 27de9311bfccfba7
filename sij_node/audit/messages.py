"""DICOM audit messages: who did what to which patient's images, and when.

Everything here is pure; `sij_node.audit.trail` writes and sends the messages. For instance, after
a login::

    trail.record(user_authentication("anna", "10.0.0.3"))
    trail.record(user_authentication("anna", "10.0.0.3", failure="wrong password"))
    trail.record(instances_accessed(HumanUser("anna", "10.0.0.3"), study, "results downloaded"))
    trail.record(security_alert(SecurityAlert.USER_CHANGED, "anna: operator", HumanUser("root")))

Source: DICOM PS3.15 A.5 (messages), PS3.16 CID 400 to 404 (codes).
"""

import ipaddress
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum
from xml.etree import ElementTree as ET

DCM = "DCM"


@dataclass(frozen=True)
class AuditCode:
    """A coded concept, by default of DICOM's own coding scheme."""

    value: str
    meaning: str
    system: str = DCM


class AuditEvent(Enum):
    """Audit event ID, CID 400."""

    APPLICATION_ACTIVITY = AuditCode("110100", "Application Activity")
    BEGIN_TRANSFERRING = AuditCode("110102", "Begin Transferring DICOM Instances")
    INSTANCES_ACCESSED = AuditCode("110103", "DICOM Instances Accessed")
    INSTANCES_TRANSFERRED = AuditCode("110104", "DICOM Instances Transferred")
    PATIENT_RECORD = AuditCode("110110", "Patient Record")
    QUERY = AuditCode("110112", "Query")
    SECURITY_ALERT = AuditCode("110113", "Security Alert")
    USER_AUTHENTICATION = AuditCode("110114", "User Authentication")


class SecurityAlert(Enum):
    """Type of a security alert, CID 401."""

    NODE_AUTHENTICATION = AuditCode("110126", "Node Authentication")
    NETWORK_CONFIGURATION = AuditCode("110128", "Network Configuration")
    SECURITY_CONFIGURATION = AuditCode("110129", "Security Configuration")
    SOFTWARE_CONFIGURATION = AuditCode("110131", "Software Configuration")
    RESTRICTED_FUNCTION = AuditCode("110132", "Use of Restricted Function")
    ROLES_CHANGED = AuditCode("110136", "Security Roles Changed")
    USER_CHANGED = AuditCode("110137", "User security Attributes Changed")


class EventAction(StrEnum):
    """Event action code, A.5.2."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class EventOutcome(StrEnum):
    """Event outcome indicator, A.5.2."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


_START, _STOP = AuditCode("110120", "Application Start"), AuditCode("110121", "Application Stop")
_LOGIN, _LOGOUT = AuditCode("110122", "Login"), AuditCode("110123", "Logout")
_APPLICATION = AuditCode("110150", "Application")
_DESTINATION, _SOURCE = (
    AuditCode("110152", "Destination Role ID"),
    AuditCode("110153", "Source Role ID"),
)
_STUDY_UID, _CLASS_UID = (
    AuditCode("110180", "Study Instance UID"),
    AuditCode("110181", "SOP Class UID"),
)
_NODE_ID = AuditCode("110182", "Node ID")
_PATIENT_NUMBER = AuditCode("2", "Patient Number", "RFC-3881")


@dataclass(frozen=True)
class HumanUser:
    """A user of web pages, API or command line, and the address of the client."""

    user: str
    address: str = ""


@dataclass(frozen=True)
class Application:
    """A DICOM application: its AE title and its address or host name."""

    ae_title: str
    address: str = ""


@dataclass(frozen=True)
class AuditedStudy:
    """The study concerned, with its patient.

    Parameters
    ----------
    instances
        Number of instances by SOP Class UID; may be empty.
    """

    study_uid: str
    patient_id: str
    instances: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ActiveParticipant:
    """A participant, `ActiveParticipant` of A.5.1."""

    user_id: str
    is_requestor: bool
    role: AuditCode | None = None
    alternative_id: str = ""
    address: str = ""


@dataclass(frozen=True)
class ParticipantObject:
    """An object concerned, `ParticipantObjectIdentification` of A.5.1.

    Parameters
    ----------
    identifies_patient
        Whether the identifier is a patient ID, which [audit] may hash.
    """

    identifier: str
    kind: AuditCode
    type_code: str
    role: str
    name: str = ""
    query: bytes | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, int] = field(default_factory=dict)
    identifies_patient: bool = False


@dataclass(frozen=True)
class AuditMessage:
    """One audit message, without its source and time."""

    event: AuditEvent
    action: EventAction
    participants: Sequence[ActiveParticipant]
    type: AuditCode | None = None
    outcome: EventOutcome = EventOutcome.SUCCESS
    description: str = ""
    objects: Sequence[ParticipantObject] = ()


@dataclass(frozen=True)
class AuditSource:
    """The node as `AuditSourceIdentification`.

    Parameters
    ----------
    name
        Unique within the site.
    site
        Hospital or department; may be empty.
    """

    name: str
    site: str = ""


# ---- messages ---------------------------------------------------------------------------------


def application_activity(node: Application, process: str, started: bool) -> AuditMessage:
    """A process of the node started or stopped, A.5.3.1."""
    me = ActiveParticipant(
        process, False, _APPLICATION, alternative_id=_titled(node.ae_title), address=node.address
    )
    return AuditMessage(
        AuditEvent.APPLICATION_ACTIVITY,
        EventAction.EXECUTE,
        (me,),
        type=_START if started else _STOP,
    )


def begin_transferring(
    source: Application, destination: Application, study: AuditedStudy
) -> AuditMessage:
    """Images or results of a study are about to be sent, A.5.3.3."""
    return AuditMessage(
        AuditEvent.BEGIN_TRANSFERRING,
        EventAction.EXECUTE,
        _both_ends(source, destination),
        objects=_study_and_patient(study),
    )


def instances_transferred(
    source: Application,
    destination: Application,
    study: AuditedStudy,
    failure: str = "",
    *,
    was_fetched: bool = False,
) -> AuditMessage:
    """Images or results of a study were sent, successfully or not, A.5.3.7.

    Parameters
    ----------
    was_fetched
        Whether the destination requested them (C-GET).
    """
    return AuditMessage(
        AuditEvent.INSTANCES_TRANSFERRED,
        EventAction.CREATE,
        _both_ends(source, destination, was_fetched),
        outcome=EventOutcome.MINOR_FAILURE if failure else EventOutcome.SUCCESS,
        description=failure,
        objects=_study_and_patient(study),
    )


def instances_accessed(
    who: HumanUser, study: AuditedStudy, what: str, action: EventAction = EventAction.READ
) -> AuditMessage:
    """A user viewed or downloaded a study, or revealed its patient, A.5.3.6.

    Parameters
    ----------
    what
        Free text, for instance "patient revealed".
    """
    return AuditMessage(
        AuditEvent.INSTANCES_ACCESSED,
        action,
        (_person(who),),
        description=what,
        objects=_study_and_patient(study),
    )


def query(
    source: Application,
    destination: Application,
    sop_class_uid: str,
    identifier: bytes,
    transfer_syntax_uid: str,
) -> AuditMessage:
    """The node sent a query to an archive, A.5.3.10.

    Parameters
    ----------
    identifier
        The C-FIND identifier as sent.
    """
    asked = ParticipantObject(
        sop_class_uid,
        _CLASS_UID,
        type_code="2",
        role="3",
        query=identifier,
        details={"TransferSyntax": transfer_syntax_uid},
    )
    return AuditMessage(
        AuditEvent.QUERY, EventAction.EXECUTE, _both_ends(source, destination), objects=(asked,)
    )


def patient_searched(who: HumanUser, patient_id: str, found: str) -> AuditMessage:
    """A user searched for the studies of a patient, A.5.3.14.

    Parameters
    ----------
    found
        Free text; must not identify the patient.
    """
    return AuditMessage(
        AuditEvent.PATIENT_RECORD,
        EventAction.READ,
        (_person(who),),
        description=found,
        objects=(_patient(patient_id),),
    )


def user_authentication(
    user: str, address: str, *, login: bool = True, failure: str = ""
) -> AuditMessage:
    """A user signed in or out, or was rejected, A.5.3.12."""
    return AuditMessage(
        AuditEvent.USER_AUTHENTICATION,
        EventAction.EXECUTE,
        (_person(HumanUser(user, address)),),
        type=_LOGIN if login else _LOGOUT,
        outcome=EventOutcome.MINOR_FAILURE if failure else EventOutcome.SUCCESS,
        description=failure,
    )


def security_alert(
    kind: SecurityAlert,
    description: str,
    who: HumanUser | Application,
    *,
    subject: str = "",
    is_failure: bool = False,
) -> AuditMessage:
    """A security event: a rejected peer, a changed account, A.5.3.11.

    Parameters
    ----------
    who
        The actor.
    subject
        The node or account concerned; empty when that is `who`.
    """
    actor = _person(who) if isinstance(who, HumanUser) else _application(who, is_requestor=True)
    concerned = subject or (who.user if isinstance(who, HumanUser) else who.ae_title)
    about = ParticipantObject(
        concerned, _NODE_ID, type_code="2", role="13", details={"Alert Description": description}
    )
    return AuditMessage(
        AuditEvent.SECURITY_ALERT,
        EventAction.EXECUTE,
        (actor,),
        type=kind.value,
        outcome=EventOutcome.SERIOUS_FAILURE if is_failure else EventOutcome.SUCCESS,
        description=description,
        objects=(about,),
    )


def _person(who: HumanUser) -> ActiveParticipant:
    return ActiveParticipant(who.user, True, address=who.address)


def _both_ends(
    source: Application, destination: Application, is_destination_asking: bool = False
) -> tuple[ActiveParticipant, ...]:
    return (
        _application(source, is_requestor=not is_destination_asking, role=_SOURCE),
        _application(destination, is_requestor=is_destination_asking, role=_DESTINATION),
    )


def _application(
    who: Application, *, is_requestor: bool, role: AuditCode | None = None
) -> ActiveParticipant:
    return ActiveParticipant(
        who.ae_title, is_requestor, role, alternative_id=_titled(who.ae_title), address=who.address
    )


def _titled(ae_title: str) -> str:
    return f"AETITLES={ae_title}"


def _study_and_patient(study: AuditedStudy) -> tuple[ParticipantObject, ...]:
    return (
        ParticipantObject(
            study.study_uid, _STUDY_UID, type_code="2", role="3", instances=study.instances
        ),
        _patient(study.patient_id),
    )


def _patient(patient_id: str) -> ParticipantObject:
    return ParticipantObject(
        patient_id, _PATIENT_NUMBER, type_code="1", role="1", identifies_patient=True
    )


# ---- as XML -----------------------------------------------------------------------------------


def as_xml(
    message: AuditMessage,
    reporter: AuditSource,
    at: datetime,
    patient: Callable[[str], str] = lambda identifier: identifier,
) -> str:
    """The message as one line of XML, in the schema of A.5.1.

    Parameters
    ----------
    patient
        Maps a patient ID to what is written.
    """
    root = ET.Element("AuditMessage")
    _add_event(root, message, at)
    for participant in message.participants:
        _add_participant(root, participant)
    reported = {"AuditEnterpriseSiteID": reporter.site, "AuditSourceID": reporter.name}
    source = ET.SubElement(root, "AuditSourceIdentification", _present(reported))
    ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server
    for entity in message.objects:
        _add_object(root, entity, patient)
    return ET.tostring(root, encoding="unicode")


def _add_event(root: ET.Element, message: AuditMessage, at: datetime) -> None:
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = ET.SubElement(
        root,
        "EventIdentification",
        {
            "EventActionCode": message.action,
            "EventDateTime": moment,
            "EventOutcomeIndicator": message.outcome,
        },
    )
    _add_code(event, "EventID", message.event.value)
    if message.type is not None:
        _add_code(event, "EventTypeCode", message.type)
    if message.description:
        ET.SubElement(event, "EventOutcomeDescription").text = _clean(message.description)


def _add_participant(root: ET.Element, who: ActiveParticipant) -> None:
    attributes = {
        "UserID": who.user_id,
        "UserIsRequestor": "true" if who.is_requestor else "false",
        **_present({"AlternativeUserID": who.alternative_id, **_access_point(who.address)}),
    }
    participant = ET.SubElement(root, "ActiveParticipant", _cleaned(attributes))
    if who.role is not None:
        _add_code(participant, "RoleIDCode", who.role)


def _access_point(address: str) -> Mapping[str, str]:
    if not address:
        return {}
    return {
        "NetworkAccessPointID": address,
        "NetworkAccessPointTypeCode": "2" if _is_ip(address) else "1",
    }


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True


def _add_object(root: ET.Element, entity: ParticipantObject, patient: Callable[[str], str]) -> None:
    identifier = patient(entity.identifier) if entity.identifies_patient else entity.identifier
    attributes = {
        "ParticipantObjectID": identifier,
        "ParticipantObjectTypeCode": entity.type_code,
        "ParticipantObjectTypeCodeRole": entity.role,
    }
    element = ET.SubElement(root, "ParticipantObjectIdentification", _cleaned(attributes))
    _add_code(element, "ParticipantObjectIDTypeCode", entity.kind)
    if entity.query is not None:
        ET.SubElement(element, "ParticipantObjectQuery").text = _base64(entity.query)
    else:
        ET.SubElement(element, "ParticipantObjectName").text = _clean(entity.name)
    for name, value in entity.details.items():
        pair = {"type": name, "value": _base64(value.encode())}
        ET.SubElement(element, "ParticipantObjectDetail", pair)
    _add_instances(element, entity.instances)


def _add_instances(element: ET.Element, instances: Mapping[str, int]) -> None:
    if not instances:
        return
    description = ET.SubElement(element, "ParticipantObjectDescription")
    for sop_class_uid, count in sorted(instances.items()):
        attributes = {"UID": sop_class_uid, "NumberOfInstances": str(count)}
        ET.SubElement(description, "SOPClass", attributes)


def _add_code(parent: ET.Element, tag: str, code: AuditCode) -> None:
    attributes = {
        "csd-code": code.value,
        "codeSystemName": code.system,
        "originalText": code.meaning,
    }
    ET.SubElement(parent, tag, attributes)


def _present(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value}


def _cleaned(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: _clean(value) for name, value in attributes.items()}


def _clean(text: str) -> str:
    """Text on one line, without characters that XML 1.0 does not allow."""
    return "".join(c if _is_xml(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_xml(character: str) -> bool:
    code = ord(character)
    return 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or code >= 0x10000


def _base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")
