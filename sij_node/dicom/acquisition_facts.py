"""Acquisition parameters of a series, from a classic or Enhanced header.

Source: DICOM PS3.3 C.8.3.1 and C.8.13.4 (MR pulse sequences), C.8.13.3.1.2 (complex component),
C.7.6.4 (contrast/bolus), C.7.6.1.1.2 (image types).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from sij_node.dicom.headers import frame_count, number, numbers, text, texts
from sij_node.dicom.series_words import says_no_agent


@dataclass(frozen=True)
class AcquisitionFacts:
    """Acquisition parameters of a series, from its headers.

    Times in milliseconds, lengths in millimetres; None if the header has no positive number.
    Text is upper case, except description and protocol. GE writes one protocol for the whole
    exam, so `protocol` counts only where there is no description.
    """

    sop_class_uid: str
    modality: str
    frame_of_reference_uid: str
    image_type: tuple[str, ...]
    scanning_sequence: tuple[str, ...]
    scan_options: tuple[str, ...]
    sequence_name: str
    description: str
    protocol: str
    body_part: str
    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    echo_train_length: float | None
    contrast_agent: bool
    normal: tuple[float, float, float] | None
    pixel_spacing_mm: tuple[float, float] | None
    acquired: str
    slices: int = 1
    temporal_position: int = 1


def acquisition_facts(dataset: Dataset, slices: int = 1) -> AcquisitionFacts:
    """Acquisition parameters from one header of a series.

    Parameters
    ----------
    dataset
        Header of a classic or Enhanced image; pixel data are not read.
    slices
        Number of images in the series. For a multi-frame object its number of frames is used.
    """
    spacing = numbers(dataset, "PixelSpacing", 2)
    return AcquisitionFacts(
        sop_class_uid=text(dataset, "SOPClassUID"),
        modality=text(dataset, "Modality").upper(),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        image_type=_image_type(dataset),
        scanning_sequence=_scanning_sequence(dataset),
        scan_options=_scan_options(dataset),
        sequence_name=text(dataset, "SequenceName") or text(dataset, "PulseSequenceName"),
        description=text(dataset, "SeriesDescription"),
        protocol=text(dataset, "ProtocolName"),
        body_part=text(dataset, "BodyPartExamined").upper(),
        repetition_time_ms=_first_of(dataset, "RepetitionTime"),
        echo_time_ms=_first_of(dataset, "EchoTime", "EffectiveEchoTime"),
        inversion_time_ms=_inversion_time_ms(dataset),
        echo_train_length=_first_of(dataset, "EchoTrainLength", "RFEchoTrainLength"),
        contrast_agent=_contrast_agent(dataset),
        normal=_normal(dataset),
        pixel_spacing_mm=(spacing[0], spacing[1]) if spacing else None,
        acquired=_acquired(dataset),
        slices=max(slices, frame_count(dataset)),
        temporal_position=int(number(dataset, "TemporalPositionIndex") or 1),
    )


def series_facts(headers: Sequence[Dataset]) -> AcquisitionFacts:
    """Acquisition parameters from the headers of all images of one series (at least one).

    The image with the lowest SOP Instance UID represents the series, so that the order of arrival
    makes no difference.
    """
    first = min(headers, key=lambda header: text(header, "SOPInstanceUID"))
    return acquisition_facts(first, sum(frame_count(header) for header in headers))


def _first_of(dataset: Dataset, *keywords: str) -> float | None:
    """The first positive number; zero and negative values mean that nothing is known."""
    found = (number(dataset, keyword) for keyword in keywords)
    return next((value for value in found if value is not None and value > 0), None)


def _image_type(dataset: Dataset) -> tuple[str, ...]:
    """Image Type and Frame Type, and the component of a complex image if it is not magnitude."""
    component = texts(dataset, "ComplexImageComponent")
    return (
        *texts(dataset, "ImageType"),
        *texts(dataset, "FrameType"),
        *(one for one in component if one not in ("MAGNITUDE", "MIXED")),
    )


def _scanning_sequence(dataset: Dataset) -> tuple[str, ...]:
    """Classic codes (SE, IR, GR, EP, RM); terms of Enhanced images are translated."""
    pulses = texts(dataset, "EchoPulseSequence")
    enhanced = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
    codes = enhanced.get(pulses[0], ()) if pulses else ()
    inversion = ("IR",) if texts(dataset, "InversionRecovery") == ("YES",) else ()
    planar = ("EP",) if texts(dataset, "EchoPlanarPulseSequence") == ("YES",) else ()
    return (*texts(dataset, "ScanningSequence"), *codes, *inversion, *planar)


def _scan_options(dataset: Dataset) -> tuple[str, ...]:
    """Scan options; what an Enhanced image suppresses or excites is added by the same names."""
    suppressed = texts(dataset, "SpectrallySelectedSuppression")
    excited = texts(dataset, "SpectrallySelectedExcitation")
    return (
        *texts(dataset, "ScanOptions"),
        *(one for one in suppressed if one.startswith("FAT")),
        *("WATEREX" for one in excited if one == "WATER"),
    )


def _inversion_time_ms(dataset: Dataset) -> float | None:
    return _first_of(dataset, "InversionTime", "InversionTimes")


def _contrast_agent(dataset: Dataset) -> bool:
    """Whether the header says that a contrast agent was given; nothing said means no."""
    used = texts(dataset, "ContrastBolusAgentAdministered")
    if used:
        return "YES" in used
    amounts = ("ContrastBolusVolume", "ContrastBolusTotalDose")
    return (
        not says_no_agent(text(dataset, "ContrastBolusAgent"))
        or any(not says_no_agent(agent) for agent in _coded_agents(dataset))
        or not says_no_agent(text(dataset, "ContrastBolusIngredient"))
        or any(_first_of(dataset, amount) for amount in amounts)
    )


def _coded_agents(dataset: Dataset) -> list[str]:
    agents = dataset.get("ContrastBolusAgentSequence") or ()
    return [text(agent, "CodeMeaning") or text(agent, "CodeValue") for agent in agents]


def _normal(dataset: Dataset) -> tuple[float, float, float] | None:
    cosines = numbers(dataset, "ImageOrientationPatient", 6)
    if cosines is None:
        return None
    (ax, ay, az), (bx, by, bz) = cosines[:3], cosines[3:]
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    length = math.hypot(*normal)
    if length < 0.5:
        return None
    return normal[0] / length, normal[1] / length, normal[2] / length


def _acquired(dataset: Dataset) -> str:
    """Sortable date and time of the acquisition; empty where unknown."""
    moment = text(dataset, "AcquisitionDateTime")
    date = text(dataset, "AcquisitionDate") or text(dataset, "SeriesDate")
    return moment or date + (text(dataset, "AcquisitionTime") or text(dataset, "SeriesTime"))
