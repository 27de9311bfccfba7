"""The rules for audit messages from PS3.15 A.5.1 (schema) and A.5.3 (tables)."""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from xml.etree import ElementTree as ET

CODED = {"csd-code": True, "codeSystemName": True, "originalText": True, "displayName": False}
"""Attributes of a coded value; True where mandatory."""


@dataclass(frozen=True)
class Rule:
    """What an element may hold: attributes (True where mandatory), and children in order.

    A child is a tag, how often it must and may come (None for any number).
    """

    attributes: Mapping[str, bool] = field(default_factory=dict)
    children: Sequence[tuple[str, int, int | None]] = ()
    has_text: bool = False


RULES: Mapping[str, Rule] = {
    "AuditMessage": Rule(
        children=(
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, None),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, None),
        )
    ),
    "EventIdentification": Rule(
        {"EventActionCode": False, "EventDateTime": True, "EventOutcomeIndicator": True},
        (("EventID", 1, 1), ("EventTypeCode", 0, None), ("EventOutcomeDescription", 0, 1)),
    ),
    "EventID": Rule(CODED),
    "EventTypeCode": Rule(CODED),
    "EventOutcomeDescription": Rule(has_text=True),
    "ActiveParticipant": Rule(
        {
            "UserID": True,
            "UserIsRequestor": True,
            "AlternativeUserID": False,
            "UserName": False,
            "NetworkAccessPointID": False,
            "NetworkAccessPointTypeCode": False,
        },
        (("RoleIDCode", 0, None), ("MediaIdentifier", 0, 1)),
    ),
    "RoleIDCode": Rule(CODED),
    "AuditSourceIdentification": Rule(
        {"AuditSourceID": True, "AuditEnterpriseSiteID": False},
        (("AuditSourceTypeCode", 0, None),),
    ),
    "AuditSourceTypeCode": Rule({**dict.fromkeys(CODED, False), "csd-code": True}),
    "ParticipantObjectIdentification": Rule(
        {
            "ParticipantObjectID": True,
            "ParticipantObjectTypeCode": False,
            "ParticipantObjectTypeCodeRole": False,
            "ParticipantObjectDataLifeCycle": False,
            "ParticipantObjectSensitivity": False,
        },
        (
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 0, 1),
            ("ParticipantObjectQuery", 0, 1),
            ("ParticipantObjectDetail", 0, None),
            ("ParticipantObjectDescription", 0, None),
        ),
    ),
    "ParticipantObjectIDTypeCode": Rule(CODED),
    "ParticipantObjectName": Rule(has_text=True),
    "ParticipantObjectQuery": Rule(has_text=True),
    "ParticipantObjectDetail": Rule({"type": True, "value": True}),
    "ParticipantObjectDescription": Rule(children=(("SOPClass", 0, None),)),
    "SOPClass": Rule({"UID": False, "NumberOfInstances": True}),
}

VALUES: Mapping[str, Callable[[str], object]] = {
    "EventActionCode": re.compile("[CRUDE]").fullmatch,
    "EventDateTime": lambda text: datetime.fromisoformat(text).tzinfo,
    "EventOutcomeIndicator": re.compile("0|4|8|12").fullmatch,
    "UserID": bool,
    "UserIsRequestor": re.compile("true|false").fullmatch,
    "AlternativeUserID": bool,
    "NetworkAccessPointTypeCode": re.compile("[1-5]").fullmatch,
    "ParticipantObjectTypeCode": re.compile("[1-4]").fullmatch,
    "ParticipantObjectTypeCodeRole": re.compile("[1-9]|1[0-9]|2[0-6]").fullmatch,
    "NumberOfInstances": re.compile(r"\d+").fullmatch,
    "UID": re.compile(r"[0-2](\.(0|[1-9]\d*))+").fullmatch,
    "value": lambda text: b64decode(text, validate=True),
}


@dataclass(frozen=True)
class EventRule:
    """Requirements of A.5.3 for one kind of event.

    Parameters
    ----------
    types
        Event types of which one must be there; empty where none may be.
    roles
        Roles that participants must have, each once.
    things
        Type code, role and kind of identifier of the objects that must be there.
    """

    meaning: str
    actions: str
    types: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ()
    things: tuple[tuple[str, str, str], ...] = ()


_STUDY, _PATIENT = ("2", "3", "110180"), ("1", "1", "2")
_ENDS = ("110153", "110152")
EVENTS: Mapping[str, EventRule] = {
    "110100": EventRule("Application Activity", "E", frozenset({"110120", "110121"}), ("110150",)),
    "110102": EventRule(
        "Begin Transferring DICOM Instances", "E", frozenset(), _ENDS, (_STUDY, _PATIENT)
    ),
    "110103": EventRule("DICOM Instances Accessed", "CRUD", things=(_STUDY, _PATIENT)),
    "110104": EventRule(
        "DICOM Instances Transferred", "CRU", frozenset(), _ENDS, (_STUDY, _PATIENT)
    ),
    "110110": EventRule("Patient Record", "CRUD", things=(_PATIENT,)),
    "110112": EventRule("Query", "E", frozenset(), _ENDS, (("2", "3", "110181"),)),
    "110113": EventRule(
        "Security Alert",
        "E",
        frozenset({"110126", "110128", "110129", "110131", "110132", "110136", "110137"}),
        things=(("2", "13", "110182"),),
    ),
    "110114": EventRule("User Authentication", "E", frozenset({"110122", "110123"})),
}


def check(xml: str) -> ET.Element:
    """The message if it follows all rules; else raises `AssertionError` naming the violation."""
    assert "\n" not in xml
    root = ET.fromstring(xml)
    assert root.tag == "AuditMessage"
    _check_element(root)
    _check_event(root)
    return root


def _check_element(element: ET.Element) -> None:
    rule = RULES[element.tag]
    missing = {name for name, needed in rule.attributes.items() if needed} - set(element.attrib)
    assert not missing, f"{element.tag} lacks {missing}"
    assert set(element.attrib) <= set(rule.attributes), f"{element.tag}: {element.attrib}"
    for name, value in element.attrib.items():
        assert VALUES.get(name, lambda text: True)(value), f"{name}={value!r}"
    assert rule.has_text or not (element.text or "").strip(), f"{element.tag} holds text"
    _check_children(element, rule)


def _check_children(element: ET.Element, rule: Rule) -> None:
    tags = [child.tag for child in element]
    order = [tag for tag, _, _ in rule.children]
    assert [order.index(tag) for tag in tags] == sorted(order.index(tag) for tag in tags)
    for tag, least, most in rule.children:
        count = tags.count(tag)
        assert least <= count <= (count if most is None else most), f"{element.tag}: {tag}"
    for child in element:
        _check_element(child)


def _check_event(root: ET.Element) -> None:
    event = root.find("EventIdentification")
    rule = EVENTS[_code(event, "EventID")]
    assert event.find("EventID").get("originalText") == rule.meaning
    assert event.get("EventActionCode") in rule.actions
    types = {code.get("csd-code") for code in event.findall("EventTypeCode")}
    assert types <= rule.types
    assert bool(types) is bool(rule.types)
    participants = root.findall("ActiveParticipant")
    roles = [_code(one, "RoleIDCode") for one in participants if len(one)]
    assert sorted(roles) == sorted(rule.roles)
    assert sum(one.get("UserIsRequestor") == "true" for one in participants) <= 1
    things = root.findall("ParticipantObjectIdentification")
    assert sorted(_kind(thing) for thing in things) == sorted(rule.things)
    for thing in things:
        named, queried = (thing.find(f"ParticipantObject{one}") for one in ("Name", "Query"))
        assert (named is None) is not (queried is None), "either a name or a query"


def _code(element: ET.Element, tag: str) -> str:
    return element.find(tag).get("csd-code")


def _kind(thing: ET.Element) -> tuple[str, str, str]:
    return (
        thing.get("ParticipantObjectTypeCode"),
        thing.get("ParticipantObjectTypeCodeRole"),
        _code(thing, "ParticipantObjectIDTypeCode"),
    )
