"""What an image's header says, wherever the standard puts it: classic or Enhanced MR.

A classic image keeps its facts at the top of the header. An Enhanced image keeps most of them in
functional groups, some shared by all frames, some per frame.

Source: DICOM PS3.3 C.7.6.16, Multi-frame Functional Groups; C.8.13, Enhanced MR Image.
"""

import math
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from sij_node.domain.study import PatientIdentity

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
"""What pydicom raises for broken datasets; hardly ever InvalidDicomError."""

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
    "ContrastBolusAgentNumber": "ContrastBolusUsageSequence",
    "AnatomicRegionSequence": "FrameAnatomySequence",
}
"""The functional group macro that holds an attribute in an Enhanced image."""


def attribute(dataset: Dataset, keyword: str, frame: int = 0) -> Any:
    """Value of an attribute for one frame, or None where the header does not give it.

    Parameters
    ----------
    frame
        Index of the frame, from 0. Without meaning in a classic image.
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


def texts(dataset: Dataset, keyword: str, frame: int = 0) -> tuple[str, ...]:
    """Values of a text attribute, upper case; empty where it is absent or empty."""
    value = attribute(dataset, keyword, frame)
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str) else value
    return tuple(str(each).strip().upper() for each in values)


def text(dataset: Dataset, keyword: str, frame: int = 0) -> str:
    """A text attribute as one string without outer blanks; empty where it is absent."""
    value = attribute(dataset, keyword, frame)
    return "" if value is None else str(value).strip()


def patient_of(dataset: Dataset) -> PatientIdentity:
    """Whose image or report it is."""
    return PatientIdentity(text(dataset, "PatientID"), text(dataset, "IssuerOfPatientID"))


def numbers(dataset: Dataset, keyword: str, count: int, frame: int = 0) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None where the header does not hold them."""
    value = attribute(dataset, keyword, frame)
    values = [value] if isinstance(value, (str, int, float)) else value
    try:
        found = tuple(float(each) for each in values)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset, keyword: str, frame: int = 0) -> float | None:
    """The first of an attribute's values as a finite number, or None."""
    value = attribute(dataset, keyword, frame)
    try:
        found = float(value if isinstance(value, (str, int, float)) else value[0])
    except (TypeError, ValueError, IndexError):
        return None
    return found if math.isfinite(found) else None


def frame_count(dataset: Dataset) -> int:
    """Number of frames; 1 in a classic image."""
    return max(1, int(number(dataset, "NumberOfFrames") or 1))
