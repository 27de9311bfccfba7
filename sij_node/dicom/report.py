"""The scores of a study as a structured report, or the reason why there are none.

A person reads the table on top; a machine reads one measurement group for each of the 28
positions, shaped like those of TID 1500 but without coordinates. The document has a title of its
own, because viewers expect coordinates in a document titled Imaging Measurement Report.

Source: DICOM PS3.3 A.35.13 (Comprehensive 3D SR), PS3.16 TID 1501, 4019, 1004, 1204.
"""

from collections.abc import Iterable, Sequence

from highdicom.sr import RelationshipTypeValues as Related
from highdicom.sr import value_types as sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from models.findings import HEADS, POSITIONS, Finding, Head, Position, Presence, Region, Side
from sij_node.dicom import codes
from sij_node.dicom.headers import text
from sij_node.dicom.origin import MANUFACTURER, MODEL, ResultContext, derived_uid, stamp

LINE = "\r\n"
"""Line end within text values (PS3.5 6.2)."""


def scores_report(
    findings: Sequence[Finding],
    headers: Sequence[Dataset],
    context: ResultContext,
    remarks: Sequence[str] = (),
) -> Dataset:
    """All scores of a study.

    Parameters
    ----------
    findings
        One for each of the 28 positions, in any order.
    headers
        Headers of the analysed images; all are named as evidence.
    context
        What made the result; its last network scored.
    remarks
        What a reader must know, in whole sentences, for instance that a fat-saturated T2 stood
        in for the STIR.

    Returns
    -------
    Dataset
        Comprehensive 3D SR, complete, unverified.

    Raises
    ------
    ValueError
        If the findings are not exactly one for each position.
    """
    by_position = {finding.position: finding for finding in findings}
    if len(findings) != len(POSITIONS) or set(by_position) != set(POSITIONS):
        raise ValueError(f"findings must be one for each of the {len(POSITIONS)} positions")
    header = _first(headers)
    study_uid = text(header, "StudyInstanceUID")
    content = [
        *_about(header, context),
        _text(codes.SUMMARY, _summary(by_position, context, remarks)),
        _text(codes.FINDING, score_table(by_position)),
        _measurements(
            _group(by_position[position], study_uid, context, _numbers(by_position[position]))
            for position in POSITIONS
        ),
    ]
    return _document(codes.SCORES_TITLE, content, headers, context, "SIJ lesion scores")


def not_analysed_report(
    reason_code: str,
    reason: str,
    headers: Sequence[Dataset],
    context: ResultContext,
    positions: Iterable[Position] = POSITIONS,
) -> Dataset:
    """That a study was not analysed, and why: never silence, never a guess.

    Parameters
    ----------
    reason_code
        Of the error in `sij_node.errors`.
    reason
        Its message, for a person.
    headers
        Headers of the images that were received, at least one; all are named as evidence.
    positions
        Those that stay undetermined.

    Returns
    -------
    Dataset
        Comprehensive 3D SR; the presence of every lesion is undetermined.
    """
    header = _first(headers)
    study_uid = text(header, "StudyInstanceUID")
    undetermined = [Finding(position, None, 0.5) for position in positions]
    content = [
        *_about(header, context),
        _text(
            codes.SUMMARY,
            LINE.join(("The sacroiliac joints were not analysed.", reason, context.intended_use)),
        ),
        _code(codes.REASON, codes.reason_for(reason_code)),
        _measurements(_group(finding, study_uid, context, []) for finding in undetermined),
    ]
    return _document(
        codes.NOT_ANALYSED_TITLE, content, headers, context, "SIJ not analysed", reason_code
    )


def score_table(findings: dict[Position, Finding]) -> str:
    """A line for each head, right and left beside each other.

    Columns are aligned for typewriter fonts; every cell names its side, because many viewers
    show the text without alignment.
    """
    return LINE.join(
        _line(head, *(findings[Position(side, head)] for side in Side)) for head in HEADS
    )


def _line(head: Head, right: Finding, left: Finding) -> str:
    where = f"{head.lesion}, {head.region}".capitalize()
    thresholds = " / ".join(dict.fromkeys(_percent(each.threshold) for each in (right, left)))
    return f"{where:<27} | R {_cell(right)} | L {_cell(left)} | present from {thresholds}"


def _cell(finding: Finding) -> str:
    if finding.probability is None:
        return f"{'not evaluable':<15}"
    word = "PRESENT" if finding.presence is Presence.PRESENT else "absent"
    return f"{_percent(finding.probability):>7} {word:<7}"


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"


def _in_percent(probability: float) -> float:
    return round(100 * probability, 4)


def _summary(
    findings: dict[Position, Finding], context: ResultContext, remarks: Sequence[str]
) -> str:
    """What to read when only one thing is read."""
    present = [str(p) for p in POSITIONS if findings[p].presence is Presence.PRESENT]
    missing = sum(finding.presence is Presence.UNDETERMINED for finding in findings.values())
    lines = [
        f"Lesions present at {len(present)} of {len(findings)} places"
        + (f": {', '.join(present)}." if present else "."),
        *([f"Not evaluable: {missing} of {len(findings)} places."] if missing else []),
        *remarks,
        context.intended_use,
    ]
    return LINE.join(lines)


def _first(headers: Sequence[Dataset]) -> Dataset:
    """The header that speaks for the study, whatever the order of arrival."""
    return min(headers, key=lambda header: text(header, "SOPInstanceUID"))


def _about(header: Dataset, context: ResultContext) -> list[sr.ContentItem]:
    """Language, observer and procedure (TID 1204, 1001, 1004)."""
    observer = [
        _code(codes.OBSERVER_TYPE, codes.DEVICE, Related.HAS_OBS_CONTEXT),
        _uid(codes.OBSERVER_UID, context.device_uid, Related.HAS_OBS_CONTEXT),
        _text(codes.OBSERVER_NAME, MANUFACTURER, Related.HAS_OBS_CONTEXT),
        _text(codes.OBSERVER_MANUFACTURER, MANUFACTURER, Related.HAS_OBS_CONTEXT),
        _text(codes.OBSERVER_MODEL, MODEL, Related.HAS_OBS_CONTEXT),
        _text(codes.OBSERVER_SERIAL, context.software_version, Related.HAS_OBS_CONTEXT),
    ]
    return [
        _code(codes.LANGUAGE, codes.BRITISH_ENGLISH, Related.HAS_CONCEPT_MOD),
        *observer,
        *(
            _code(codes.PROCEDURE_REPORTED, procedure, Related.HAS_CONCEPT_MOD)
            for procedure in _procedures(header)
        ),
    ]


def _procedures(header: Dataset) -> list[Code]:
    """The procedure codes of the study; in general terms where it has none."""
    stated = [
        Code(
            text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")
        )
        for item in header.get("ProcedureCodeSequence") or ()
    ]
    complete = [code for code in stated if all((code.value, code.scheme_designator, code.meaning))]
    return complete or [codes.IMAGING_PROCEDURE]


def _measurements(groups: Iterable[sr.ContainerContentItem]) -> sr.ContainerContentItem:
    return _container(codes.IMAGING_MEASUREMENTS, list(groups))


def _group(
    finding: Finding, study_uid: str, context: ResultContext, numbers: list[sr.ContentItem]
) -> sr.ContainerContentItem:
    """One position as a measurement group (TID 1501)."""
    position = finding.position
    name = str(position).capitalize()
    return _container(
        codes.MEASUREMENT_GROUP,
        [
            _text(codes.TRACKING_IDENTIFIER, name, Related.HAS_OBS_CONTEXT),
            _uid(codes.TRACKING_UID, tracking_uid(study_uid, position), Related.HAS_OBS_CONTEXT),
            _code(codes.FINDING_CATEGORY, codes.ABNORMAL_STRUCTURE),
            _code(codes.FINDING, codes.LESIONS[position.head.lesion]),
            _site(position.side, position.head.region),
            *_algorithm(context),
            *numbers,
            _code(codes.PRESENCE, codes.PRESENCES[finding.presence]),
            _text(codes.COMMENT, f"{name}: {finding.presence}"),
        ],
        template_id="1501",
    )


def tracking_uid(study_uid: str, position: Position) -> str:
    """The same for a position of a study in every report about it."""
    return derived_uid(study_uid, "lesion", str(position))


def _site(side: Side, region: Region) -> sr.CodeContentItem:
    bone, part = codes.SITES[region]
    site = _code(codes.FINDING_SITE, bone, Related.HAS_CONCEPT_MOD)
    modifiers = [_code(codes.LATERALITY, codes.SIDES[side], Related.HAS_CONCEPT_MOD)]
    if part:
        modifiers.append(_code(codes.TOPOGRAPHICAL_MODIFIER, part, Related.HAS_CONCEPT_MOD))
    site.ContentSequence = sr.ContentSequence(modifiers)
    return site


def _algorithm(context: ResultContext) -> list[sr.ContentItem]:
    """The network that scored (TID 4019); nothing where none did."""
    return [
        _text(name, value, Related.HAS_CONCEPT_MOD)
        for network in context.networks[-1:]
        for name, value in (
            (codes.ALGORITHM_NAME, network.name),
            (codes.ALGORITHM_VERSION, network.version),
            (codes.ALGORITHM_PARAMETERS, f"weights_sha256={network.weights_sha256}"),
            (codes.ALGORITHM_MANUFACTURER, MANUFACTURER),
        )
    ]


def _numbers(finding: Finding) -> list[sr.ContentItem]:
    """Probability and threshold in per cent.

    A probability that could not be evaluated has a reason and no value (PS3.3 C.18.1).
    """
    threshold = _number(codes.THRESHOLD, _in_percent(finding.threshold))
    if finding.probability is not None:
        return [_number(codes.PROBABILITY, _in_percent(finding.probability)), threshold]
    missing = _number(codes.PROBABILITY, 0.0, codes.INDETERMINATE)
    missing.MeasuredValueSequence = []
    return [missing, threshold]


def _document(
    title: Code,
    content: Sequence[sr.ContentItem],
    headers: Sequence[Dataset],
    context: ResultContext,
    description: str,
    *kind: str,
) -> Dataset:
    """The SR Document modules (PS3.3 C.17.1 to C.17.3) around a content tree."""
    header = _first(headers)
    study_uid = text(header, "StudyInstanceUID")
    kind = ("report", title.value, *kind)
    document = Dataset()
    document.update(_container(title, content, relationship=None))
    document.SOPClassUID = Comprehensive3DSRStorage
    document.SOPInstanceUID = context.uid(study_uid, *kind)
    document.StudyInstanceUID = study_uid
    document.SeriesInstanceUID = context.uid(study_uid, *kind, "series")
    document.Modality = "SR"
    document.SeriesNumber, document.InstanceNumber = context.series_number, 1
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "UNVERIFIED"
    document.CurrentRequestedProcedureEvidenceSequence = _evidence(headers)
    document.ReferencedPerformedProcedureStepSequence = []
    document.PerformedProcedureCodeSequence = []
    stamp(document, header, context, description)
    return document


def _evidence(headers: Sequence[Dataset]) -> list[Dataset]:
    """Every image by study, series and instance, in the order of their UIDs."""
    instances: dict[str, dict[str, list[Dataset]]] = {}
    for header in sorted(headers, key=lambda each: text(each, "SOPInstanceUID")):
        reference = Dataset()
        reference.ReferencedSOPClassUID = text(header, "SOPClassUID")
        reference.ReferencedSOPInstanceUID = text(header, "SOPInstanceUID")
        of_study = instances.setdefault(text(header, "StudyInstanceUID"), {})
        of_study.setdefault(text(header, "SeriesInstanceUID"), []).append(reference)
    return [_study_evidence(uid, series) for uid, series in sorted(instances.items())]


def _study_evidence(study_uid: str, instances: dict[str, list[Dataset]]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = []
    for series_uid, references in sorted(instances.items()):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(series)
    return study


def _container(
    name: Code,
    content: Sequence[sr.ContentItem],
    relationship: Related | None = Related.CONTAINS,
    template_id: str | None = None,
) -> sr.ContainerContentItem:
    item = sr.ContainerContentItem(name, False, template_id, relationship)
    item.ContentSequence = sr.ContentSequence(content)
    return item


def _text(name: Code, value: str, relationship: Related = Related.CONTAINS) -> sr.TextContentItem:
    return sr.TextContentItem(name, value, relationship)


def _code(name: Code, value: Code, relationship: Related = Related.CONTAINS) -> sr.CodeContentItem:
    return sr.CodeContentItem(name, value, relationship)


def _uid(name: Code, value: str, relationship: Related) -> sr.UIDRefContentItem:
    return sr.UIDRefContentItem(name, value, relationship)


def _number(name: Code, percent: float, qualifier: Code | None = None) -> sr.NumContentItem:
    return sr.NumContentItem(name, percent, codes.PERCENT, qualifier, Related.CONTAINS)
