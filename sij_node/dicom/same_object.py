"""Whether two copies of an instance are the same object, a correction or another object.

Compared are pixels, geometry, acquisition and identity. A copy that differs in identity only is a
correction; one that differs in anything else is a conflict. What an archive may change without
changing the object never counts: retrieval and storage attributes, group lengths, padding,
encoding, private elements.

Source: DICOM PS3.3 C.7.6 (image), C.12.1 (SOP Common); PS3.4 C.6 (retrieval attributes).
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
from pydicom.dataset import Dataset

from sij_node.dicom.headers import READING_ERRORS, text
from sij_node.dicom.pixels import stored_values
from sij_node.errors import PixelsUnusable

STUDY_IDENTITY = (
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "AccessionNumber"),
)
"""Whose study it is; equal in all images of a study."""
IDENTITY = (*STUDY_IDENTITY, "SeriesInstanceUID")
"""Attributes that an archive corrects after a merge, a split or a move of a study."""
COMPARED = (
    *IDENTITY,
    *("SOPClassUID", "SOPInstanceUID", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "BitsStored", "PixelRepresentation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"),
    *("RescaleSlope", "RescaleIntercept", "ImageType", "ScanningSequence", "ScanOptions"),
    *("RepetitionTime", "EchoTime", "InversionTime", "ContrastBolusAgent"),
)
"""Attributes of an image that make it another object where they differ."""
_DEMOGRAPHIC = (
    *("OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthTime"),
    *("IssuerOfPatientIDQualifiersSequence", "PatientAge", "PatientAddress", "PatientComments"),
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "ReferringPhysicianName"),
    *("IssuerOfAccessionNumberSequence", "InstitutionName", "ReferencedStudySequence"),
)
"""Further attributes of patient and study; of objects that are not images all are compared."""
RESULT_CONTENT = (
    *("ContentSequence", "EncapsulatedDocument", "GraphicAnnotationSequence", "PixelData"),
)
"""What an archive never changes in a result."""
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
RETRIEVAL = {
    *("RetrieveAETitle", "RetrieveURL", "RetrieveLocationUID", "RetrieveURI"),
    *("InstanceAvailability", "StorageMediaFileSetID", "StorageMediaFileSetUID"),
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "DataSetTrailingPadding"),
    *("QueryRetrieveLevel", "OriginalAttributesSequence", "PixelData"),
}
"""What an archive may add or change."""


def differences(one: Dataset, other: Dataset) -> tuple[str, ...]:
    """Keywords of what differs between two copies; empty if they are the same object.

    Parameters
    ----------
    one, other
        As read by ``pydicom.dcmread``, with file meta information and pixel data.
    """
    if "Rows" not in one or "Rows" not in other:
        return tuple(_differing_elements(one, other))
    found = [key for key in COMPARED if _said(one, key) != _said(other, key)]
    found += [key for key in FUNCTIONAL_GROUPS if not _same_groups(one, other, key)]
    found += [] if _same_pixels(one, other) else ["PixelData"]
    return tuple(found)


def is_correction(differing: Iterable[str]) -> bool:
    """Whether copies that differ in these attributes are one object under two identities."""
    found = set(differing)
    return bool(found) and found <= {*IDENTITY, *_DEMOGRAPHIC}


def has_same_content(one: Dataset, other: Dataset) -> bool:
    """Whether two results hold the same report, drawing, document or pixels.

    Patient and study may differ, since an archive corrects them. Pixels are compared only in the
    same transfer syntax.
    """
    recoded = one.file_meta.TransferSyntaxUID != other.file_meta.TransferSyntaxUID
    compared = RESULT_CONTENT[:-1] if recoded else RESULT_CONTENT
    return all(_unpadded(one.get(key)) == _unpadded(other.get(key)) for key in compared)


def _unpadded(value: object) -> object:
    return value.rstrip(b"\0") if isinstance(value, bytes) else value


def identity_digest(dataset: Dataset) -> str:
    """A digest of whose study an instance belongs to; the same for all images of a study."""
    said = "\n".join(f"{keyword}={_said(dataset, keyword)}" for keyword in STUDY_IDENTITY)
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()


def _said(dataset: Dataset, keyword: str) -> object:
    """A value without padding; numbers compare as numbers, however they are written."""
    said = text(dataset, keyword).rstrip("^= \0")
    try:
        return [float(part) for part in said.split("\\")] if said else said
    except ValueError:
        return said


def _same_groups(one: Dataset, other: Dataset, keyword: str) -> bool:
    pairs = [list(dataset.get(keyword) or ()) for dataset in (one, other)]
    if len(pairs[0]) != len(pairs[1]):
        return False
    return not any(any(_differing_elements(a, b)) for a, b in zip(*pairs, strict=True))


def _differing_elements(one: Dataset, other: Dataset) -> Iterator[str]:
    """Public elements that differ, apart from what an archive may change."""
    tags = {element.tag for dataset in (one, other) for element in dataset}
    for tag in sorted(tags):
        if tag.is_private or tag.element == 0:
            continue
        values = [dataset.get(tag) for dataset in (one, other)]
        keyword = next(str(value.keyword) for value in values if value is not None)
        if keyword not in RETRIEVAL and _content(values[0]) != _content(values[1]):
            yield keyword or str(tag)


def _content(element: object) -> object:
    value = getattr(element, "value", None)
    return None if value is None or value in ("", []) else value


def _same_pixels(one: Dataset, other: Dataset) -> bool:
    try:
        return np.array_equal(stored_values(one), stored_values(other))
    except (PixelsUnusable, *READING_ERRORS):
        raw = [bytes(dataset.get("PixelData") or b"") for dataset in (one, other)]
        return raw[0].rstrip(b"\0") == raw[1].rstrip(b"\0")
