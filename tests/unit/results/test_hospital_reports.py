"""The report as FHIR resources and as an HL7 message: valid, and the same as the stored report."""

import json
from dataclasses import replace

import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.parser import parse_message

from models.findings import POSITIONS, Presence, Side
from sij_node.config.profiles import Profile, preset
from sij_node.conformance.example import example_results
from sij_node.domain.study import PatientIdentity
from sij_node.errors import StoredResultDamaged
from sij_node.results.fhir_report import fhir_bundle
from sij_node.results.hl7_report import oru_message
from sij_node.results.provenance import to_part10
from sij_node.results.report_content import ReportContent, ReportedPatient, read_report

UNUSUAL = ReportedPatient(
    PatientIdentity("12|3^4&5~6\\7", "Ward ^1"), "Müller|Jr^Änne^B^Dr.^MD", "19850101", "F"
)


def contents(profile: Profile) -> dict[str, ReportContent]:
    files = {
        one.kind: to_part10(one.dataset, "SIJ")
        for one in example_results(profile)
        if one.kind in ("scores", "not analysed")
    }
    return {kind: read_report(file) for kind, file in files.items()}


@pytest.fixture(scope="module")
def reports() -> dict[str, ReportContent]:
    return contents(preset("minimal"))


@pytest.fixture
def scores(reports: dict[str, ReportContent]) -> ReportContent:
    return reports["scores"]


def resources(report: ReportContent, system: str = "") -> list[dict]:
    bundle = fhir_bundle(report, system)
    Bundle.model_validate_json(json.dumps(bundle))
    return [one["resource"] for one in bundle["entry"]]


def parsed(report: ReportContent) -> Message:
    _, text = oru_message(report, "SIJNODE", ("RIS", "HOSPITAL"))
    message = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
    grouped = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert grouped.validate()
    return message


def values(message: Message, kind: str) -> dict[tuple[str, str], str]:
    return {
        (one.obx_3.obx_3_1.to_er7(), one.obx_4.to_er7()): one.obx_5.to_er7()
        for one in message.children
        if one.name == "OBX" and one.obx_2.to_er7() == kind
    }


def test_every_site_is_an_observation_with_its_side_and_numbers(scores: ReportContent):
    *observations, report = resources(scores)

    assert len(observations) == len(POSITIONS) == len(report["result"])
    for finding, one in zip(scores.findings, observations, strict=True):
        side = one["component"][0]["valueCodeableConcept"]["coding"][0]["code"]
        assert side == {Side.LEFT: "7771000", Side.RIGHT: "24028007"}[finding.position.side]
        assert str(finding.position.side) in one["code"]["text"].lower()
        assert str(finding.position.side) in one["bodySite"]["text"].lower()
        numbers = [part.get("valueQuantity", {}).get("value") for part in one["component"][-2:]]
        known = finding.probability is not None
        assert numbers[0] == (round(100 * finding.probability, 1) if known else None)
        assert numbers[1] == round(100 * finding.threshold, 1)
        code = one.get("valueCodeableConcept", {}).get("coding", [{}])[0].get("code")
        named = {Presence.PRESENT: "121053", Presence.ABSENT: "121054"}
        assert code == named.get(finding.presence)
        assert ("dataAbsentReason" in one) is not known


def test_the_report_refers_to_patient_study_order_and_predecessor(scores: ReportContent):
    known = replace(scores, patient=UNUSUAL, accession="A1", replaces=("1.2.3",))

    *_, report = resources(known, "urn:oid:1.2.3.4")

    assert report["subject"]["identifier"] == {
        "value": "12|3^4&5~6\\7",
        "system": "urn:oid:1.2.3.4",
        "assigner": {"display": "Ward ^1"},
    }
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{scores.study_uid}"
    assert report["basedOn"][0]["identifier"]["value"] == "A1"
    assert report["extension"][0]["valueReference"]["identifier"]["value"] == "urn:oid:1.2.3"
    assert report["conclusion"].splitlines() == list(scores.summary)


@pytest.mark.parametrize(
    ("kind", "replaces", "fhir", "hl7"),
    [
        ("scores", (), "final", "F"),
        ("scores", ("1.2.3",), "corrected", "C"),
        ("not analysed", (), "cancelled", "X"),
        ("not analysed", ("1.2.3",), "cancelled", "X"),
    ],
)
def test_the_status_says_what_kind_of_report_it_is(reports, kind, replaces, fhir, hl7):
    report = replace(reports[kind], replaces=replaces)

    assert resources(report)[-1]["status"] == fhir
    assert parsed(report).obr.obr_25.to_er7() == hl7


def test_no_url_of_a_request_identifies_the_patient(scores: ReportContent):
    bundle = fhir_bundle(replace(scores, patient=UNUSUAL), "urn:x")

    urls = "".join(one["request"]["url"] for one in bundle["entry"])
    assert not any(part in urls for part in ("12|3", "12%7C3", "Müller", "M%C3", "Ward"))
    assert {one["request"]["method"] for one in bundle["entry"]} == {"PUT"}


def test_the_same_report_gives_the_same_resources_and_message(scores: ReportContent):
    assert fhir_bundle(scores) == fhir_bundle(scores)
    assert oru_message(scores, "SIJ") == oru_message(scores, "SIJ")
    other = replace(scores, sop_instance_uid="1.2.3")
    assert oru_message(scores, "SIJ")[0] != oru_message(other, "SIJ")[0]
    assert fhir_bundle(scores)["entry"][0] != fhir_bundle(other)["entry"][0]


def test_every_site_is_in_the_message_with_its_side_and_numbers(scores: ReportContent):
    message = parsed(scores)

    coded, numbers = values(message, "CWE"), values(message, "NM")
    for group, finding in enumerate(scores.findings, 1):
        name = str(finding.position).replace(" ", "-")
        named = {Presence.PRESENT: "121053", Presence.ABSENT: "121054"}
        code = coded[name, str(group)].partition("^")[0]
        assert code == named.get(finding.presence, "")
        probability = numbers.get(("122157", str(group)))
        known = finding.probability is not None
        assert probability == (f"{100 * finding.probability:.1f}" if known else None)
        assert numbers["threshold", str(group)] == f"{100 * finding.threshold:.1f}"
    lines = [text for (code, _), text in values(message, "TX").items() if code == "19005-8"]
    assert lines == list(scores.summary)


def test_delimiters_in_names_and_identifiers_are_escaped(scores: ReportContent):
    message = parsed(replace(scores, patient=UNUSUAL, accession="A|1"))

    assert message.pid.pid_3.to_er7() == r"12\F\3\S\4\T\5\R\6\E\7^^^Ward \S\1^MR"
    assert message.pid.pid_5.to_er7() == r"Müller\F\Jr^Änne^B^MD^Dr."
    assert message.pid.pid_8.to_er7() == "F"
    assert message.obr.obr_2.to_er7() == r"A\F\1"


def test_a_patient_without_id_or_valid_dates_gives_valid_messages(scores: ReportContent):
    nobody = ReportedPatient(PatientIdentity(""), "", "1985.01.01", "x")
    report = replace(scores, patient=nobody, studied="", accession="")

    assert resources(report)[-1]["subject"] == {"type": "Patient", "display": "unknown patient"}
    assert (parsed(report).pid.pid_3.to_er7(), parsed(report).pid.pid_8.to_er7()) == ('""', "U")


def test_the_texts_are_in_the_language_of_the_report():
    german = contents(Profile(name="x", objects=("scores",), language="de"))["scores"]

    assert "links" in resources(german)[-2]["code"]["text"].lower()
    assert any("RECHTS" in line for line in german.summary)


@pytest.mark.parametrize("file", [b"", b"a result", bytes(128) + b"DICM\x08\x00"])
def test_a_damaged_report_is_made_again(file: bytes):
    with pytest.raises(StoredResultDamaged, match="cannot be read"):
        read_report(file)
