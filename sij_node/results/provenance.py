"""The provenance of a result: its images, networks, patient and study.

The same inputs always yield the same bytes under the same UIDs, so results repeated after a crash
are duplicates that an archive recognises. Changed content gets new UIDs.

Source: DICOM PS3.3 C.7.1.1 and C.7.2.1 (patient and study), C.12.1 (SOP Common); PS3.5 B.2
(UIDs from UUIDs).
"""

import hashlib
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from sij_node.config.profiles import MINIMAL, Profile, SeriesKind
from sij_node.dicom import codes
from sij_node.dicom.headers import text
from sij_node.dicom.part10 import part10_header
from sij_node.domain.job import Result
from sij_node.domain.prior_comparison import NOTHING_EARLIER, SincePrior
from sij_node.domain.study import IdentityCorrection
from sij_node.results.language import WORDINGS, Wording

MANUFACTURER = "sij_node"
MODEL = "sij_node sacroiliac joint analysis"
NOT_CLINICAL = "Trained on phantoms, not for clinical use."
OUTPUT_VERSION = "10"
"""Incremented whenever the same findings are written differently."""

EMPTY_WHERE_UNKNOWN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
"""Type 2 attributes: written empty if the images lack them."""
COPIED_WHERE_GIVEN = (
    *("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID"),
    *("OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthTime"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence", "QualityControlSubject"),
    *("StudyDescription", "ProcedureCodeSequence", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName", "PhysiciansOfRecord"),
    *("AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID"),
)
"""Patient and study attributes by which an archive files a result under its study."""


@dataclass(frozen=True)
class AlgorithmIdentity:
    """A network, identified by its weights.

    Parameters
    ----------
    weights_sha256
        Hex digest of the weights file.
    intended_use
        As stated on the model card.
    """

    name: str
    version: str
    weights_sha256: str
    intended_use: str = NOT_CLINICAL

    @property
    def device_uid(self) -> str:
        """Device UID, unique to these weights."""
        return derived_uid("network", self.name, self.version, self.weights_sha256)


@dataclass(frozen=True)
class ResultContext:
    """What all results of an analysis have in common.

    Parameters
    ----------
    inputs_sha256
        `inputs_digest` of the analysed instances.
    networks
        Networks used; empty if the study was not analysed.
    software_version
        Version of the node.
    moment
        Written as the time of creation. Must be derived from the inputs, e.g. the time the last
        one was received, so that repeating the analysis yields the same bytes.
    profile
        Output profile and language of the destination.
    predecessors
        Results that these replace, if any.
    revision
        Revision of the results, from 1.
    since
        Comparison with the prior study.
    correction
        The correction of patient or study after results were sent to the destination.
    tracked
        Pseudonym of the patient from which tracking UIDs are derived; if empty, they are derived
        from the study.
    scoring
        Digest of calibration, thresholds and what the site chose about them.
    """

    inputs_sha256: str
    networks: tuple[AlgorithmIdentity, ...]
    software_version: str
    moment: datetime
    profile: Profile = MINIMAL
    predecessors: tuple[Result, ...] = ()
    revision: int = 1
    since: SincePrior = NOTHING_EARLIER
    correction: IdentityCorrection | None = None
    tracked: str = field(default="", repr=False)
    scoring: str = ""

    @property
    def wording(self) -> Wording:
        """Texts in the destination's language."""
        return WORDINGS[self.profile.language]

    @property
    def device_uid(self) -> str:
        """Device UID of the observer: this software with these weights."""
        weights = (network.device_uid for network in self.networks)
        return derived_uid("observer", self.software_version, *weights)

    @property
    def intended_use(self) -> str:
        """Intended use of the networks, in the destination's language."""
        stated = [network.intended_use for network in self.networks]
        return self.wording.intended_use(stated or [NOT_CLINICAL])

    def uid(self, study_uid: str, *kind: str) -> str:
        """UID of a result or its series.

        Derived from study, inputs, networks, thresholds, output version and profile, priors and
        predecessors.
        """
        scored_by = (self.device_uid, self.scoring)
        made_by = (self.inputs_sha256, *scored_by, OUTPUT_VERSION, self.profile.digest)
        compared = (self.since.digest, self.tracked)
        replaced = (result.sop_instance_uid for result in self.predecessors)
        return derived_uid(study_uid, *made_by, *compared, *replaced, "kind", *kind)

    def tracking_uid(self, study_uid: str, *what: str) -> str:
        """UID of a lesion or structure, the same in every report about it."""
        return derived_uid(self.tracked or study_uid, *what)

    def description(self, kind: SeriesKind) -> str:
        """Series Description of a result."""
        own = self.profile.series_descriptions.get(kind, self.wording.series[kind])
        if self.revision == 1:
            return own
        return self.wording.revision.format(series=own, number=self.revision)


def derived_uid(*parts: str) -> str:
    """A UID derived from texts, under the root for UUIDs (PS3.5 B.2)."""
    digest = hashlib.sha256(b"".join(_framed(part) for part in parts)).digest()
    return f"2.25.{int.from_bytes(digest[:16])}"


def _framed(part: str) -> bytes:
    """Prefix with the length, so that ("ab", "c") and ("a", "bc") differ."""
    octets = part.encode()
    return len(octets).to_bytes(8) + octets


def inputs_digest(used: Iterable[tuple[str, str]]) -> str:
    """Digest of (SOP Instance UID, SHA-256 of its content) of all instances, in any order."""
    return hashlib.sha256(
        b"".join(_framed(part) for pair in sorted(used) for part in pair)
    ).hexdigest()


def stamp(
    result: Dataset,
    source: Dataset,
    context: ResultContext,
    kind: SeriesKind,
    *instance: str,
) -> None:
    """Add the source's patient and study, and the provenance of a result.

    Parameters
    ----------
    result
        A new object, modified in place.
    source
        Header of one of the images.
    kind
        Determines its UIDs, and the number and description of its series.
    instance
        Distinguishes it, and its series, from others of its kind.
    """
    result.SpecificCharacterSet = "ISO_IR 192"
    _copy_patient_and_study(source, result)
    study_uid = result.StudyInstanceUID = text(source, "StudyInstanceUID")
    result.SOPInstanceUID = context.uid(study_uid, kind, *instance)
    result.SeriesInstanceUID = context.uid(study_uid, kind, *instance, "series")
    result.SeriesNumber = context.profile.number_of(kind)
    result.SeriesDescription = context.description(kind)
    result.Manufacturer, result.ManufacturerModelName = MANUFACTURER, MODEL
    result.SoftwareVersions = context.software_version
    result.DeviceSerialNumber = context.device_uid
    for event in ("InstanceCreation", "Content", "Series"):
        setattr(result, f"{event}Date", context.moment.strftime("%Y%m%d"))
        setattr(result, f"{event}Time", context.moment.strftime("%H%M%S"))
    offset = context.moment.strftime("%z")
    if offset:
        result.TimezoneOffsetFromUTC = offset
    result.CodingSchemeIdentificationSequence = [_private_scheme()]
    result.ContributingEquipmentSequence = [_equipment(each) for each in context.networks]
    if not context.networks:
        del result.ContributingEquipmentSequence


def _copy_patient_and_study(source: Dataset, result: Dataset) -> None:
    for keyword in (*EMPTY_WHERE_UNKNOWN, *COPIED_WHERE_GIVEN):
        if keyword in result:
            del result[keyword]
        if keyword in source:
            result.add(deepcopy(source[keyword]))
            _leave_character_sets(result[keyword])
        elif keyword in EMPTY_WHERE_UNKNOWN:
            setattr(result, keyword, "")


def _leave_character_sets(element: DataElement) -> None:
    """Drop character sets within sequences, so that texts use the result's character set."""
    if element.VR == "SQ":
        for item in element.value:
            for inner in item:
                _leave_character_sets(inner)
            item.pop("SpecificCharacterSet", None)


def _private_scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = codes.SCHEME
    item.CodingSchemeUID = codes.SCHEME_UID
    item.CodingSchemeName = codes.SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item


def _equipment(network: AlgorithmIdentity) -> Dataset:
    item = Dataset()
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = network.name
    item.SoftwareVersions = [network.version, f"sha256:{network.weights_sha256[:56]}"]
    item.DeviceUID = network.device_uid
    item.ContributionDescription = network.intended_use
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    return item


def code_item(code: Code) -> Dataset:
    """A code as a sequence item."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def to_part10(result: Dataset, source_ae: str) -> bytes:
    """Encode a result as a DICOM file in Explicit VR, reproducibly; pixels are not transcoded.

    Parameters
    ----------
    source_ae
        The node's own AE title.
    """
    body = DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = True, False
    write_dataset(body, result)
    is_compressed = "PixelData" in result and result["PixelData"].is_undefined_length
    syntax = JPEGLSLossless if is_compressed else ExplicitVRLittleEndian
    header = part10_header(result.SOPClassUID, result.SOPInstanceUID, syntax, source_ae)
    return header + body.getvalue()
