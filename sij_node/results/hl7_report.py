"""A stored report as HL7 v2.5.1 ORU^R01, in UTF-8.

The message control ID is derived from the report, so that a repetition is recognised. OBX segments
are the summary, a line each, and for each site its presence, probability and threshold.

Source: HL7 v2.5.1 chapter 2 (encoding, MSH), 3.4.2 (PID), 7.3.1 (ORU), 7.4 (OBR, OBX), tables 0085,
0123; DICOM PS3.16 (codes).
"""

import hashlib
from collections.abc import Iterator, Sequence

from pydicom.sr.coding import Code

from models.findings import Finding
from sij_node.dicom import codes
from sij_node.results.report_content import ReportContent

_SCHEMES = {"SCT": "SCT", "DCM": "DCM", "LN": "LN", codes.SCHEME: codes.SCHEME}
_VERSION = "P|2.5.1|||AL|NE||UNICODE UTF-8"
"""MSH-11 to 18: production, version, acknowledgements and character set."""
_NULL = '""'
"""A required field without a value."""
_STUDY = Code("18748-4", "LN", "Diagnostic imaging study")
_IMPRESSION = Code("19005-8", "LN", "Radiology Imaging study [Impression] (narrative)")
_STUDY_UID = Code("110180", "DCM", "Study Instance UID")
_ESCAPES = str.maketrans(
    {
        "\\": "\\E\\",
        "|": "\\F\\",
        "^": "\\S\\",
        "&": "\\T\\",
        "~": "\\R\\",
        "\r": " ",
        "\n": " ",
    }
)


def oru_message(
    report: ReportContent, sender: str, receiver: tuple[str, str] = ("", "")
) -> tuple[str, str]:
    """Control ID and text of the message of a report.

    Parameters
    ----------
    sender
        Sending application: the node's AE title.
    receiver
        Receiving application and facility.
    """
    control_id = hashlib.sha256(report.sop_instance_uid.encode()).hexdigest()[:20].upper()
    written = report.written.strftime("%Y%m%d%H%M%S+0000")
    parties = "|".join((escaped(sender), "", *map(escaped, receiver)))
    lines = [
        f"MSH|^~\\&|{parties}|{written}||ORU^R01^ORU_R01|{control_id}|{_VERSION}",
        _pid(report),
        _obr(report, written),
        *_numbered(report),
    ]
    return control_id, "\r".join(lines) + "\r"


def escaped(text: str) -> str:
    """A text with HL7's delimiters escaped."""
    return text.translate(_ESCAPES)


def _pid(report: ReportContent) -> str:
    patient = report.patient
    family, given, middle, prefix, suffix, *_ = [*patient.name.split("^"), *[""] * 5]
    name = "^".join(map(escaped, (family, given, middle, suffix, prefix))).rstrip("^")
    identity = escaped(patient.identity.identifier)
    issued = f"{identity}^^^{escaped(patient.identity.issuer)}^MR" if identity else _NULL
    sex = patient.sex if patient.sex in ("M", "F", "O") else "U"
    return _segment("PID", "1", "", issued, "", name or _NULL, "", _date(patient.birth_date), sex)


def _date(text: str) -> str:
    """A date as in DICOM; empty if it is not one."""
    return text if len(text) == 8 and text.isdigit() else ""


def _obr(report: ReportContent, written: str) -> str:
    fields = {
        1: "1",
        2: escaped(report.accession),
        3: f"{report.study_uid}^^{report.study_uid}^ISO",
        4: _coded(_STUDY),
        7: _date(report.studied),
        22: written,
        24: "RAD",
        25: _status(report),
    }
    return _segment("OBR", *(fields.get(place, "") for place in range(1, 26)))


def _status(report: ReportContent) -> str:
    """Result status, table 0123."""
    if not report.is_analysed:
        return "X"
    return "C" if report.replaces else "F"


def _numbered(report: ReportContent) -> Iterator[str]:
    for number, fields in enumerate(_observations(report), 1):
        yield _segment("OBX", str(number), *fields)


def _observations(report: ReportContent) -> Iterator[Sequence[str]]:
    status = _status(report)
    yield _obx("ST", _coded(_STUDY_UID), "", report.study_uid, "", status)
    for number, line in enumerate(report.summary, 1):
        yield _obx("TX", _coded(_IMPRESSION), str(number), escaped(line), "", status)
    for group, finding in enumerate(report.findings, 1):
        yield from _finding(finding, str(group), report, status)


def _finding(
    finding: Finding, group: str, report: ReportContent, status: str
) -> Iterator[Sequence[str]]:
    position = finding.position
    words = report.wording.position(position)
    own = Code(str(position).replace(" ", "-"), codes.SCHEME, words)
    if finding.probability is None:
        yield _obx("CWE", _coded(own), group, "", "", "X")
    else:
        presence = codes.PRESENCES[finding.presence]
        named = Code(presence.value, presence.scheme_designator, report.wording.presence(finding))
        yield _obx("CWE", _coded(own), group, _coded(named), "", status)
        yield _percent(codes.PROBABILITY, group, finding.probability, status)
    yield _percent(codes.THRESHOLD, group, finding.threshold, status)


def _percent(name: Code, group: str, part: float, status: str) -> Sequence[str]:
    return _obx("NM", _coded(name), group, f"{100 * part:.1f}", "%^percent^UCUM", status)


def _obx(kind: str, name: str, group: str, value: str, unit: str, status: str) -> Sequence[str]:
    return kind, name, group, value, unit, "", "", "", "", status


def _coded(code: Code) -> str:
    scheme = _SCHEMES[code.scheme_designator]
    return f"{escaped(code.value)}^{escaped(code.meaning)}^{scheme}"


def _segment(name: str, *fields: str) -> str:
    return "|".join((name, *fields)).rstrip("|")
