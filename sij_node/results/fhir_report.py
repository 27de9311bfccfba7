"""A stored report as FHIR R4: a DiagnosticReport with an Observation for each site.

One transaction Bundle creates all resources or none. Identifiers are derived from the SOP Instance
UID of the report, so a repetition replaces the same resources; a revision is a report of its own
that names the one it replaces. Patient, study and order are referred to by their identifiers, which
the server resolves; no URL contains an identifier of the patient.

Source: HL7 FHIR R4 (4.0.1) DiagnosticReport, Observation, Bundle; the core extensions
diagnosticReport-replaces and observation-replaces; DICOM PS3.16 (codes).
"""

from collections.abc import Iterable
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from pydicom.sr.coding import Code

from models.findings import Finding
from sij_node.dicom import codes
from sij_node.results.report_content import ReportContent

Resource = dict[str, Any]

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    codes.SCHEME: f"urn:oid:{codes.SCHEME_UID}",
}
_EXTENSION = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
_DIAGNOSTIC_IMAGING_STUDY = Code("18748-4", "LN", "Diagnostic imaging study")
_IMAGING_CATEGORY = {
    "system": "http://terminology.hl7.org/CodeSystem/observation-category",
    "code": "imaging",
    "display": "Imaging",
}
_RADIOLOGY_SECTION = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
_UNKNOWN = {
    "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "code": "unknown",
    "display": "Unknown",
}
_ACCESSION_TYPE = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
    "code": "ACSN",
    "display": "Accession ID",
}


def fhir_bundle(report: ReportContent, patient_system: str = "") -> Resource:
    """The transaction Bundle of a report.

    Parameters
    ----------
    patient_system
        URI of the system that issues patient IDs; if empty, the issuer is only named.
    """
    observations = [_observation(one, report, patient_system) for one in report.findings]
    resources = [*observations, _diagnostic_report(report, observations, patient_system)]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(one) for one in resources],
    }


def _entry(resource: Resource) -> Resource:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def _diagnostic_report(
    report: ReportContent, observations: Iterable[Resource], patient_system: str
) -> Resource:
    return {
        "resourceType": "DiagnosticReport",
        "id": _id(report),
        **_replaced(report),
        "identifier": [_dicom_identifier(report.sop_instance_uid)],
        **_order(report),
        "status": _status(report),
        "category": [{"coding": [_RADIOLOGY_SECTION]}],
        "code": _concept(_DIAGNOSTIC_IMAGING_STUDY, report.wording.title),
        "subject": _subject(report, patient_system),
        **_effective(report),
        "issued": report.written.isoformat(timespec="seconds"),
        **_results(observations),
        "imagingStudy": [
            {"type": "ImagingStudy", "identifier": _dicom_identifier(report.study_uid)}
        ],
        "conclusion": report.as_text,
    }


def _status(report: ReportContent) -> str:
    """Of the report; a study that was not analysed has no result."""
    if not report.is_analysed:
        return "cancelled"
    return "corrected" if report.replaces else "final"


def _replaced(report: ReportContent) -> Resource:
    if not report.replaces:
        return {}
    return {
        "extension": [
            {
                "url": _EXTENSION,
                "valueReference": {
                    "type": "DiagnosticReport",
                    "identifier": _dicom_identifier(uid),
                },
            }
            for uid in report.replaces
        ]
    }


def _results(observations: Iterable[Resource]) -> Resource:
    found = [{"reference": f"Observation/{one['id']}"} for one in observations]
    return {"result": found} if found else {}


def _observation(finding: Finding, report: ReportContent, patient_system: str) -> Resource:
    position, wording = finding.position, report.wording
    site, part = codes.SITES[position.head.region]
    lesion = codes.LESIONS[position.head.lesion]
    parts = [(codes.TOPOGRAPHICAL_MODIFIER, part)] if part else []
    return {
        "resourceType": "Observation",
        "id": _id(report, str(position)),
        **_order(report),
        "status": "final",
        "category": [{"coding": [_IMAGING_CATEGORY]}],
        "code": _concept(lesion, wording.position(position)),
        "subject": _subject(report, patient_system),
        **_effective(report),
        "issued": report.written.isoformat(timespec="seconds"),
        **_value(finding, wording.presence(finding)),
        "bodySite": _concept(site, wording.place(position.side, position.head.region)),
        "component": [
            _coded(codes.LATERALITY, codes.SIDES[position.side]),
            *(_coded(name, value) for name, value in parts),
            _percent(codes.PROBABILITY, finding.probability),
            _percent(codes.THRESHOLD, finding.threshold),
        ],
    }


def _value(finding: Finding, words: str) -> Resource:
    if finding.probability is None:
        return {"dataAbsentReason": {"coding": [_UNKNOWN], "text": words}}
    return {"valueCodeableConcept": _concept(codes.PRESENCES[finding.presence], words)}


def _coded(name: Code, value: Code) -> Resource:
    return {"code": _concept(name), "valueCodeableConcept": _concept(value)}


def _percent(name: Code, part: float | None) -> Resource:
    if part is None:
        return {"code": _concept(name), "dataAbsentReason": {"coding": [_UNKNOWN]}}
    quantity = {
        "value": round(100 * part, 1),
        "unit": "%",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    return {"code": _concept(name), "valueQuantity": quantity}


def _concept(code: Code, words: str = "") -> Resource:
    coding = {
        "system": _SYSTEMS[code.scheme_designator],
        "code": code.value,
        "display": code.meaning,
    }
    return {"coding": [coding], "text": words or code.meaning}


def _subject(report: ReportContent, system: str) -> Resource:
    identity = report.patient.identity
    identifier: Resource = {"value": identity.identifier} if identity.is_named else {}
    if system and identifier:
        identifier["system"] = system
    if identity.issuer:
        identifier["assigner"] = {"display": identity.issuer}
    display = ", ".join(part for part in report.patient.name.split("^")[:2] if part)
    return {
        "type": "Patient",
        **({"identifier": identifier} if identifier else {}),
        "display": display or identity.identifier or "unknown patient",
    }


def _order(report: ReportContent) -> Resource:
    if not report.accession:
        return {}
    identifier = {"type": {"coding": [_ACCESSION_TYPE]}, "value": report.accession}
    return {"basedOn": [{"type": "ServiceRequest", "identifier": identifier}]}


def _effective(report: ReportContent) -> Resource:
    date = report.studied
    known = len(date) == 8 and date.isdigit()
    return {"effectiveDateTime": f"{date[:4]}-{date[4:6]}-{date[6:]}"} if known else {}


def _dicom_identifier(uid: str) -> Resource:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _id(report: ReportContent, part: str = "") -> str:
    return str(uuid5(NAMESPACE_OID, f"{report.sop_instance_uid} {part}"))
