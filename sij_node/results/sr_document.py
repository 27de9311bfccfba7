"""The common parts of all structured reports: content items, observer and evidence.

Source: DICOM PS3.3 C.17 (SR Document modules), PS3.16 TID 1204, 1001, 1004, 4019.
"""

from collections.abc import Iterable, Sequence

from highdicom.sr import RelationshipTypeValues as Related
from highdicom.sr import value_types as sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from models.findings import Finding, Region, Side
from sij_node.config.profiles import SeriesKind
from sij_node.dicom import codes
from sij_node.dicom.headers import text
from sij_node.domain.study import InstanceReference
from sij_node.results.provenance import MANUFACTURER, MODEL, AlgorithmIdentity, ResultContext, stamp

_CLASSES = {
    "comprehensive 3d": Comprehensive3DSRStorage,
    "comprehensive": ComprehensiveSRStorage,
}
_SAME_REPORT = frozenset(("scores", "not analysed"))
"""Scores replace the report that a study was not analysed, and vice versa."""


def document(
    title: Code,
    content: Sequence[sr.ContentItem],
    headers: Sequence[Dataset],
    context: ResultContext,
    kind: SeriesKind,
    *instance: str,
    others: Sequence[InstanceReference] = (),
) -> Dataset:
    """The SR Document modules around a content tree.

    Parameters
    ----------
    content
        Content after language, observer and procedure.
    headers
        Headers of the images; all are listed as evidence.
    kind, instance
        As for `sij_node.results.provenance.stamp`.
    others
        Other objects that the content references.
    """
    header = first_header(headers)
    made = Dataset()
    content = [*_about(header, context), *content]
    made.update(container(title, content, relationship=None, template_id="1500"))
    made.SOPClassUID = _CLASSES[context.profile.report_class]
    made.Modality, made.InstanceNumber = "SR", 1
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
    made.CurrentRequestedProcedureEvidenceSequence = referenced(_named_in(each) for each in headers)
    if others:
        made.PertinentOtherEvidenceSequence = referenced(others)
    made.ReferencedPerformedProcedureStepSequence = []
    made.PerformedProcedureCodeSequence = []
    stamp(made, header, context, kind, *instance)
    replaced = _replaced(context, kind, made.StudyInstanceUID)
    if replaced:
        made.PredecessorDocumentsSequence = referenced(replaced)
    return made


def first_header(headers: Iterable[Dataset]) -> Dataset:
    """The header that patient and study are taken from, independent of the order of arrival."""
    return min(
        headers,
        key=lambda header: (not text(header, "IssuerOfPatientID"), text(header, "SOPInstanceUID")),
    )


def _named_in(header: Dataset) -> InstanceReference:
    study, series, sop_class, instance = (
        text(header, f"{level}UID")
        for level in ("StudyInstance", "SeriesInstance", "SOPClass", "SOPInstance")
    )
    return study, series, sop_class, instance


def _replaced(context: ResultContext, kind: str, study_uid: str) -> list[InstanceReference]:
    same = _SAME_REPORT if kind in _SAME_REPORT else {kind}
    earlier = context.correction.earlier if context.correction else ()
    studies = {uid: former for former, _, _, uid in earlier}
    return [
        (
            studies.get(result.sop_instance_uid, study_uid),
            result.series_uid,
            result.sop_class_uid,
            result.sop_instance_uid,
        )
        for result in context.predecessors
        if result.kind in same
    ]


def referenced_images(headers: Iterable[Dataset]) -> list[Dataset]:
    """References to all images, by UID."""
    names = {_named_in(header)[2:] for header in headers}
    return [_reference(*name) for name in sorted(names, key=lambda one: one[1])]


def _reference(sop_class: str, instance: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class
    reference.ReferencedSOPInstanceUID = instance
    return reference


def referenced(instances: Iterable[InstanceReference]) -> list[Dataset]:
    """References by study and series, in the order of their UIDs."""
    tree: dict[str, dict[str, list[Dataset]]] = {}
    for study, series, sop_class, instance in sorted(set(instances), key=lambda one: one[3]):
        of_study = tree.setdefault(study, {})
        of_study.setdefault(series, []).append(_reference(sop_class, instance))
    return [_study(uid, of_series) for uid, of_series in sorted(tree.items())]


def _study(study_uid: str, instances: dict[str, list[Dataset]]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = []
    for series_uid, references in sorted(instances.items()):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(series)
    return study


def _about(header: Dataset, context: ResultContext) -> list[sr.ContentItem]:
    """Language, observer and procedure (TID 1204, 1001, 1004)."""
    observer = [
        coded(codes.OBSERVER_TYPE, codes.DEVICE, Related.HAS_OBS_CONTEXT),
        uid(codes.OBSERVER_UID, context.device_uid),
        words(codes.OBSERVER_NAME, MANUFACTURER, Related.HAS_OBS_CONTEXT),
        words(codes.OBSERVER_MANUFACTURER, MANUFACTURER, Related.HAS_OBS_CONTEXT),
        words(codes.OBSERVER_MODEL, MODEL, Related.HAS_OBS_CONTEXT),
        words(codes.OBSERVER_SERIAL, context.software_version, Related.HAS_OBS_CONTEXT),
    ]
    return [
        coded(codes.LANGUAGE, context.wording.language, Related.HAS_CONCEPT_MOD),
        *observer,
        *(
            coded(codes.PROCEDURE_REPORTED, procedure, Related.HAS_CONCEPT_MOD)
            for procedure in _procedures(header)
        ),
    ]


def _procedures(header: Dataset) -> list[Code]:
    """The procedure codes of the study; a generic code if it has none."""
    stated = [
        Code(
            text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")
        )
        for item in header.get("ProcedureCodeSequence") or ()
    ]
    complete = [code for code in stated if all((code.value, code.scheme_designator, code.meaning))]
    return complete or [codes.IMAGING_PROCEDURE]


# ---- common parts of measurement groups ----------------------------------------------------------


def measurements(groups: Iterable[sr.ContainerContentItem]) -> sr.ContainerContentItem:
    """All groups of a report (TID 1500)."""
    return container(codes.IMAGING_MEASUREMENTS, list(groups))


def tracked(name: str, tracking: str) -> list[sr.ContentItem]:
    """Tracking identifier and UID, the same in every report about the same structure."""
    return [
        words(codes.TRACKING_IDENTIFIER, name, Related.HAS_OBS_CONTEXT),
        uid(codes.TRACKING_UID, tracking),
    ]


def lesion(finding: Finding, study_uid: str, context: ResultContext) -> list[sr.ContentItem]:
    """The first rows of a group about a lesion (TID 1501)."""
    position = finding.position
    return [
        *tracked(
            context.wording.position(position),
            context.tracking_uid(study_uid, "lesion", str(position)),
        ),
        coded(codes.FINDING_CATEGORY, codes.ABNORMAL_STRUCTURE),
        coded(codes.FINDING, codes.LESIONS[position.head.lesion]),
        site(position.side, position.head.region),
        *algorithm(context.networks[-1:]),
    ]


def presence_of(finding: Finding, context: ResultContext) -> list[sr.ContentItem]:
    """The last rows of a group about a lesion: its presence, coded and as text."""
    return [
        coded(codes.PRESENCE, codes.PRESENCES[finding.presence]),
        words(codes.COMMENT, context.wording.comment(finding)),
    ]


def site(side: Side, region: Region) -> sr.CodeContentItem:
    """Finding site: bone or joint, laterality, and part."""
    bone, part = codes.SITES[region]
    item = coded(codes.FINDING_SITE, bone, Related.HAS_CONCEPT_MOD)
    modifiers = [coded(codes.LATERALITY, codes.SIDES[side], Related.HAS_CONCEPT_MOD)]
    if part:
        modifiers.append(coded(codes.TOPOGRAPHICAL_MODIFIER, part, Related.HAS_CONCEPT_MOD))
    item.ContentSequence = sr.ContentSequence(modifiers)
    return item


def algorithm(networks: Iterable[AlgorithmIdentity]) -> list[sr.ContentItem]:
    """Algorithm identification of the networks (TID 4019)."""
    return [
        words(name, value, Related.HAS_CONCEPT_MOD)
        for network in networks
        for name, value in (
            (codes.ALGORITHM_NAME, network.name),
            (codes.ALGORITHM_VERSION, network.version),
            (codes.ALGORITHM_PARAMETERS, f"weights_sha256={network.weights_sha256}"),
            (codes.ALGORITHM_MANUFACTURER, MANUFACTURER),
        )
    ]


def probability(part: float | None, name: Code = codes.PROBABILITY) -> sr.NumContentItem:
    """A probability in percent; if not evaluable, a qualifier instead of a value.

    Source: PS3.3 C.18.1, Numeric Value Qualifier.
    """
    qualifier = codes.INDETERMINATE if part is None else None
    value = round(100 * (part or 0.0), 4)
    item = sr.NumContentItem(name, value, codes.PERCENT, qualifier, Related.CONTAINS)
    if part is None:
        item.MeasuredValueSequence = []
    return item


def score(name: Code, value: int) -> sr.NumContentItem:
    """A score, a whole number."""
    return sr.NumContentItem(name, value, codes.SCORE_UNIT, None, Related.CONTAINS)


# ---- content items -------------------------------------------------------------------------------


def container(
    name: Code,
    content: Sequence[sr.ContentItem],
    relationship: Related | None = Related.CONTAINS,
    template_id: str | None = None,
) -> sr.ContainerContentItem:
    """A container with separate content items."""
    item = sr.ContainerContentItem(name, False, template_id, relationship)
    item.ContentSequence = sr.ContentSequence(content)
    return item


def words(name: Code, value: str, relationship: Related = Related.CONTAINS) -> sr.TextContentItem:
    """A text item."""
    return sr.TextContentItem(name, value, relationship)


def coded(name: Code, value: Code, relationship: Related = Related.CONTAINS) -> sr.CodeContentItem:
    """A code item."""
    return sr.CodeContentItem(name, value, relationship)


def dated(name: Code, value: str) -> sr.DateContentItem:
    """A date item, YYYYMMDD."""
    return sr.DateContentItem(name, value, Related.CONTAINS)


def document_reference(name: Code, instance: InstanceReference) -> sr.CompositeContentItem:
    """A reference to another document."""
    return sr.CompositeContentItem(name, instance[2], instance[3], Related.CONTAINS)


def uid(name: Code, value: str) -> sr.UIDRefContentItem:
    """A UID that is part of the observation context."""
    return sr.UIDRefContentItem(name, value, Related.HAS_OBS_CONTEXT)
