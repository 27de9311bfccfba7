"""Attributes of an image header, for classic and Enhanced MR alike.

A classic image has its attributes at the top level. An Enhanced image has most of them in
functional groups, either shared by all frames or per frame.

Source: DICOM PS3.3 C.7.6.16, Multi-frame Functional Groups; C.8.13, Enhanced MR Image.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from sij_node.domain.study import PatientIdentity, StudyAttributes

READING_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    NotImplementedError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    EOFError,
    OSError,
    RecursionError,
)
"""What pydicom raises for malformed datasets; rarely InvalidDicomError."""

MACRO_OF = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "RFEchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "GradientEchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "InversionRecovery": "MRModifierSequence",
    "InversionTimes": "MRModifierSequence",
    "SpectrallySelectedExcitation": "MRModifierSequence",
    "ContrastBolusAgentNumber": "ContrastBolusUsageSequence",
    "ContrastBolusAgentAdministered": "ContrastBolusUsageSequence",
    "SpectrallySelectedSuppression": "MRModifierSequence",
    "ComplexImageComponent": "MRImageFrameTypeSequence",
    "AnatomicRegionSequence": "FrameAnatomySequence",
}
"""The functional group macro of an attribute in an Enhanced image."""


_OWN = {Tag(one) for one in ("PixelData", "PerFrameFunctionalGroupsSequence", "NumberOfFrames")}


def attribute(dataset: Dataset, keyword: str, frame: int = 0) -> Any:
    """Value of an attribute for one frame; None if absent.

    Parameters
    ----------
    frame
        Index of the frame, from 0. Ignored in a classic image.
    """
    macro = MACRO_OF.get(keyword)
    if macro is not None:
        for groups in _groups_of(dataset, frame):
            for item in groups.get(macro) or ():
                if item.get(keyword) is not None:
                    return item.get(keyword)
    return dataset.get(keyword)


def _groups_of(dataset: Dataset, frame: int) -> list[Dataset]:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    return [*per_frame[frame : frame + 1], *shared[:1]]


def with_frames(dataset: Dataset, frames: Sequence[int]) -> Dataset:
    """Header of a multi-frame image with these frames only, counted from 0; no pixel data."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    header = Dataset({tag: dataset.get_item(tag) for tag in dataset.keys() - _OWN})
    header.PerFrameFunctionalGroupsSequence = [
        one for frame in frames for one in groups[frame : frame + 1]
    ]
    header.NumberOfFrames = len(frames)
    return header


def texts(dataset: Dataset, keyword: str, frame: int = 0) -> tuple[str, ...]:
    """Values of a text attribute in upper case; empty if absent."""
    value = attribute(dataset, keyword, frame)
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str) else value
    return tuple(str(each).strip().upper() for each in values)


def text(dataset: Dataset, keyword: str, frame: int = 0) -> str:
    """A text attribute without surrounding whitespace; empty if absent."""
    value = attribute(dataset, keyword, frame)
    if isinstance(value, MultiValue):  # a backslash typed into an identifier
        return "\\".join(map(str, value)).strip()
    return "" if value is None else str(value).strip()


def patient_of(dataset: Dataset) -> PatientIdentity:
    """Patient ID and issuer of an image or report."""
    return PatientIdentity(text(dataset, "PatientID"), text(dataset, "IssuerOfPatientID"))


def study_attributes_of(dataset: Dataset) -> StudyAttributes:
    """Date, description and accession number of the study of an image."""
    return StudyAttributes(
        _iso_date(text(dataset, "StudyDate")),
        text(dataset, "StudyDescription"),
        text(dataset, "AccessionNumber"),
    )


def _iso_date(value: str) -> str:
    """A DA value in ISO 8601; empty if it is no date."""
    try:
        return datetime.strptime(value, "%Y%m%d").date().isoformat()
    except ValueError:
        return ""


def numbers(dataset: Dataset, keyword: str, count: int, frame: int = 0) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers; None if absent or invalid."""
    value = attribute(dataset, keyword, frame)
    values = [value] if isinstance(value, (str, int, float)) else value
    try:
        found = tuple(float(each) for each in values)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset, keyword: str, frame: int = 0) -> float | None:
    """The first value of an attribute as a finite number; None if absent or invalid."""
    value = attribute(dataset, keyword, frame)
    try:
        found = float(value if isinstance(value, (str, int, float)) else value[0])
    except (TypeError, ValueError, IndexError):
        return None
    return found if math.isfinite(found) else None


def is_multi_frame(dataset: Dataset) -> bool:
    """Whether the facts of an image lie in functional groups.

    Number of Frames alone does not tell: some devices write a 1 into classic images.
    """
    return "PerFrameFunctionalGroupsSequence" in dataset or frame_count(dataset) > 1


def frame_count(dataset: Dataset) -> int:
    """Number of frames; 1 for a single-frame image."""
    return max(1, int(number(dataset, "NumberOfFrames") or 1))
