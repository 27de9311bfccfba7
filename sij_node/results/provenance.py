"""Where a result comes from: which images, which networks, which patient and study.

The same inputs always give the same bytes under the same UIDs, so a repeat after a crash is a
duplicate that an archive recognises; whatever changes gets UIDs of its own.

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
from sij_node.results.language import WORDINGS, Wording

MANUFACTURER = "sij_node"
MODEL = "sij_node sacroiliac joint analysis"
NOT_CLINICAL = "Trained on phantoms, not for clinical use."
OUTPUT_VERSION = "6"
"""Changes whenever the same findings are written in another way."""

EMPTY_WHERE_UNKNOWN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
"""Type 2: written empty when the images do not give them."""
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
    """A network that took part, told apart by its very weights.

    Parameters
    ----------
    weights_sha256
        Hex digest of the weights file.
    intended_use
        What the weights' card says they may be used for.
    """

    name: str
    version: str
    weights_sha256: str
    intended_use: str = NOT_CLINICAL

    @property
    def device_uid(self) -> str:
        """A device of its own for every set of weights."""
        return derived_uid("network", self.name, self.version, self.weights_sha256)


@dataclass(frozen=True)
class ResultContext:
    """What all results of one analysis have in common.

    Parameters
    ----------
    inputs_sha256
        `inputs_digest` of the instances that were used.
    networks
        Those that took part; none where nothing was analysed.
    software_version
        Of the node.
    moment
        Written as the time of creation. Must follow from the inputs, for instance the time the
        last one was received, so that a repeat writes the same bytes.
    profile
        What the destination gets, and in which words.
    predecessors
        The results that these replace, if the destination has any.
    revision
        Of the results, from 1.
    since
        What the study is compared with.
    tracked
        What tracking UIDs follow from: a pseudonym of the patient, or empty where only the
        study is known.
    """

    inputs_sha256: str
    networks: tuple[AlgorithmIdentity, ...]
    software_version: str
    moment: datetime
    profile: Profile = MINIMAL
    predecessors: tuple[Result, ...] = ()
    revision: int = 1
    since: SincePrior = NOTHING_EARLIER
    tracked: str = field(default="", repr=False)

    @property
    def wording(self) -> Wording:
        """The destination's language."""
        return WORDINGS[self.profile.language]

    @property
    def device_uid(self) -> str:
        """The observer: this software with exactly these weights."""
        weights = (network.device_uid for network in self.networks)
        return derived_uid("observer", self.software_version, *weights)

    @property
    def intended_use(self) -> str:
        """What the networks may be used for, in the destination's language."""
        stated = [network.intended_use for network in self.networks]
        return self.wording.intended_use(stated or [NOT_CLINICAL])

    def uid(self, study_uid: str, *kind: str) -> str:
        """UID of a result or its series.

        The same for the same study, inputs, networks, way of writing, priors and predecessors.
        """
        made_by = (self.inputs_sha256, self.device_uid, OUTPUT_VERSION, self.profile.digest)
        told = (self.since.digest, self.tracked)
        replaced = (result.sop_instance_uid for result in self.predecessors)
        return derived_uid(study_uid, *made_by, *told, *replaced, "kind", *kind)

    def tracking_uid(self, study_uid: str, *what: str) -> str:
        """UID of something at a place of the patient, the same in every report about it."""
        return derived_uid(self.tracked or study_uid, *what)

    def description(self, kind: SeriesKind) -> str:
        """Series Description of a result."""
        own = self.profile.series_descriptions.get(kind, self.wording.series[kind])
        if self.revision == 1:
            return own
        return self.wording.revision.format(series=own, number=self.revision)


def derived_uid(*parts: str) -> str:
    """A UID that follows from texts, under the root for UUIDs (PS3.5 B.2)."""
    digest = hashlib.sha256(b"".join(_framed(part) for part in parts)).digest()
    return f"2.25.{int.from_bytes(digest[:16])}"


def _framed(part: str) -> bytes:
    """Length before content, so that ("ab", "c") and ("a", "bc") differ."""
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
    """Make a result part of the source's patient and study, and say who made it and when.

    Parameters
    ----------
    result
        A new object, changed in place.
    source
        Header of one of the images.
    kind
        Decides its UIDs, and the number and description of its series.
    instance
        What tells it, and its series, apart from others of its kind.
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
    """Decode texts within a sequence, so that they are written in the result's character set."""
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
    """A result as a DICOM file in Explicit VR, always the same bytes; its pixels stay as they are.

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
