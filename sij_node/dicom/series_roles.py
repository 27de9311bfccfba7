"""Which series is the T1, which is the STIR, and why the other series are not used.

Series descriptions come in every language and can mislead, so acquisition parameters decide and
descriptions are only the fallback. A fat-saturated T2 may replace a missing STIR and is marked so.

Source: DICOM PS3.3 C.8.3.1 and C.8.13.4 (MR pulse sequences), C.7.6.1.1.2 (image types); vendor
conventions are in `FAT_SUPPRESSION` and `WORDS`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from pydicom.dataset import Dataset
from pydicom.uid import UID

from sij_node.dicom.headers import frame_count, number, numbers, text, texts
from sij_node.errors import PairMissing

MR_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
"""Storage classes that can be analysed (PS3.4 B.5)."""

T1_TR_MS, T1_TE_MS = 900, 30
"""A T1 has a shorter TR and a shorter TE."""
LONG_TR_MS, T2_TE_MS = 2000, 50
"""A STIR or T2 has a longer TR; a T2 also has a longer TE."""
STIR_TI_MS = (100, 260)
"""Inversion times that null fat at 1 to 3 tesla."""

CORONAL_TILT_DEG = 50
"""Largest tilt from true coronal along the sacrum (upper end of the plane tilted forward)."""
OTHER_TILT_DEG = 44
"""Largest tilt from true coronal in any other direction; excludes oblique axial planes."""

FAT_SUPPRESSION = {
    *("FS", "FATSAT", "SAT1", "FAT", "FAT_SATURATION"),  # several; SAT1 is Siemens
    *("SPIR", "SPAIR", "PROSET"),  # Philips
    *("ASPIR", "FLEX", "CHEMSAT", "FATSAT_GEMS"),  # GE
    *("FATSAT", "WATEREX"),  # Canon
}
"""Scan options that mean fat suppression."""
WATER_IMAGES = {"W", "WATER"}
DIXON_LEFTOVERS = {"F", "FAT", "OP", "OPP_PHASE", "OUT_PHASE", "FF", "FAT_FRACTION"}
"""Dixon images that are neither a T1 nor a water image."""
DIXON_MARKS = {"DIXON", "IP", "IN_PHASE", *WATER_IMAGES, *DIXON_LEFTOVERS}
LOCALISERS = {"LOCALIZER", "LOCALISER", "SCOUT", "SURVEY"}
NON_MAGNITUDE_IMAGES = {
    *("DIFFUSION", "ADC", "TRACEW", "PERFUSION", "T2 MAP", "T1 MAP", "T2_STAR MAP"),
    *("MPR", "MIP", "PROJECTION IMAGE", "REFORMATTED", "SUBTRACTION", "CSAPARALLEL"),
    *("P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY", "VELOCITY"),
}
"""Image Type values of images that are not original magnitude images."""
OTHER_BODY_PARTS = {
    *("HEAD", "BRAIN", "SKULL", "NECK", "CSPINE", "TSPINE", "CHEST", "HEART", "BREAST"),
    *("SHOULDER", "ARM", "ELBOW", "HAND", "WRIST", "KNEE", "LEG", "FOOT", "ANKLE"),
}
"""Body parts without the joint. Lumbar spine is not among them: it is often stated instead."""
NO_AGENT = {"", "NO", "NONE", "N", "OHNE", "SANS", "SIN", "NULL", "0", "N/A", "NA", "NOT GIVEN"}

WORDS = (
    ("STIR", re.compile(r"stir|tirm|(?<![a-z])(?:t2[ _-]?)?ir(?![a-z])|tir2d")),
    ("T2_FAT_SAT", re.compile(r"(?:t2|(?<![a-z])pd).*(?:fs|fat|spir|spair|dixon|water)|spair")),
    ("T1", re.compile(r"(?<![a-z])t1(?!\d)")),
)
"""Patterns for series descriptions, used only if the header has no TR and TE."""
LOCALISER_WORDS = re.compile(
    r"locali[sz]er|(?<![a-z])(?:loc|scout|survey|3[- ]?pl(?:ane)?)(?![a-z])"
)


class SequenceRole(StrEnum):
    """The role of a series in the analysis."""

    T1 = "T1"
    STIR = "STIR"
    T2_FAT_SAT = "T2 with fat saturation"
    """Used instead of a missing STIR; the report says so."""
    OTHER = "other"


@dataclass(frozen=True)
class SeriesRole:
    """A role and the reason for it, as text."""

    role: SequenceRole
    reason: str


@dataclass(frozen=True)
class AcquisitionFacts:
    """Acquisition parameters of a series, from its headers.

    Times in milliseconds, lengths in millimetres; None if not in the header. Text is upper
    case, except the description.
    """

    sop_class_uid: str
    modality: str
    frame_of_reference_uid: str
    image_type: tuple[str, ...]
    scanning_sequence: tuple[str, ...]
    scan_options: tuple[str, ...]
    sequence_name: str
    description: str
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
        image_type=(*texts(dataset, "ImageType"), *texts(dataset, "FrameType")),
        scanning_sequence=_scanning_sequence(dataset),
        scan_options=_scan_options(dataset),
        sequence_name=text(dataset, "SequenceName") or text(dataset, "PulseSequenceName"),
        description=" ".join(
            filter(None, (text(dataset, "SeriesDescription"), text(dataset, "ProtocolName")))
        ),
        body_part=text(dataset, "BodyPartExamined").upper(),
        repetition_time_ms=number(dataset, "RepetitionTime"),
        echo_time_ms=_first_of(dataset, "EchoTime", "EffectiveEchoTime"),
        inversion_time_ms=_inversion_time_ms(dataset),
        echo_train_length=_first_of(dataset, "EchoTrainLength", "RFEchoTrainLength"),
        contrast_agent=_contrast_agent(dataset),
        normal=_normal(dataset),
        pixel_spacing_mm=(spacing[0], spacing[1]) if spacing else None,
        acquired=_acquired(dataset),
        slices=max(slices, frame_count(dataset)),
    )


def series_facts(headers: Sequence[Dataset]) -> AcquisitionFacts:
    """Acquisition parameters from the headers of all images of one series (at least one).

    The image with the lowest SOP Instance UID represents the series, so that the order of arrival
    makes no difference.
    """
    first = min(headers, key=lambda header: text(header, "SOPInstanceUID"))
    return acquisition_facts(first, sum(frame_count(header) for header in headers))


def _first_of(dataset: Dataset, *keywords: str) -> float | None:
    found = (number(dataset, keyword) for keyword in keywords)
    return next((value for value in found if value is not None), None)


def _scanning_sequence(dataset: Dataset) -> tuple[str, ...]:
    """Classic codes (SE, IR, GR, EP, RM); terms of Enhanced images are translated."""
    pulses = texts(dataset, "EchoPulseSequence")
    enhanced = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
    codes = enhanced.get(pulses[0], ()) if pulses else ()
    inversion = ("IR",) if texts(dataset, "InversionRecovery") == ("YES",) else ()
    planar = ("EP",) if texts(dataset, "EchoPlanarPulseSequence") == ("YES",) else ()
    return (*texts(dataset, "ScanningSequence"), *codes, *inversion, *planar)


def _scan_options(dataset: Dataset) -> tuple[str, ...]:
    suppressed = texts(dataset, "SpectrallySelectedSuppression")
    return (*texts(dataset, "ScanOptions"), *(s for s in suppressed if s.startswith("FAT")))


def _inversion_time_ms(dataset: Dataset) -> float | None:
    """Zero means none: GE writes it for sequences without an inversion pulse."""
    return _first_of(dataset, "InversionTime", "InversionTimes") or None


def _contrast_agent(dataset: Dataset) -> bool:
    if dataset.get("ContrastBolusAgentSequence"):
        return True
    return text(dataset, "ContrastBolusAgent").upper().strip(" .-") not in NO_AGENT


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


def role_of(facts: AcquisitionFacts) -> SeriesRole:
    """Role of a series: exclusions first, then TR, TE and TI, then its description."""
    excluded = _reason_to_exclude(facts)
    if excluded:
        return SeriesRole(SequenceRole.OTHER, excluded)
    if facts.repetition_time_ms is None or facts.echo_time_ms is None:
        return _role_by_description(facts)
    return _role_by_times(facts, facts.repetition_time_ms, facts.echo_time_ms)


def is_fat_suppressed(facts: AcquisitionFacts) -> bool:
    """Whether scan options or image type state fat suppression."""
    return bool(FAT_SUPPRESSION & set(facts.scan_options) or WATER_IMAGES & set(facts.image_type))


def _reason_to_exclude(facts: AcquisitionFacts) -> str:
    """Why a series is excluded regardless of its times; empty if it is not."""
    return (
        _not_an_mr_image(facts)
        or _not_as_acquired(facts)
        or _not_a_spin_echo(facts)
        or _not_coronal(facts.normal)
    )


def _not_an_mr_image(facts: AcquisitionFacts) -> str:
    if facts.modality != "MR":
        return f"modality is not MR ({facts.modality or 'not stated'})"
    if facts.sop_class_uid not in MR_IMAGES:
        return f"SOP class not supported ({UID(facts.sop_class_uid).name or 'not stated'})"
    if facts.body_part in OTHER_BODY_PARTS:
        return f"different body part ({facts.body_part})"
    return ""


def _not_as_acquired(facts: AcquisitionFacts) -> str:
    kinds = set(facts.image_type)
    if kinds & LOCALISERS or LOCALISER_WORDS.search(facts.description.lower()):
        return "localiser"
    if facts.contrast_agent:
        return "contrast-enhanced"
    if kinds & DIXON_LEFTOVERS:
        return "Dixon fat or opposed-phase image"
    if kinds & NON_MAGNITUDE_IMAGES:
        return f"derived or non-magnitude image ({', '.join(sorted(kinds & NON_MAGNITUDE_IMAGES))})"
    if ("DERIVED" in kinds and not kinds & DIXON_MARKS) or "SECONDARY" in kinds:
        return "derived image"
    return ""


def _not_a_spin_echo(facts: AcquisitionFacts) -> str:
    codes = set(facts.scanning_sequence)
    if "EP" in codes:
        return "echo-planar sequence"
    if "GR" in codes and "SE" not in codes:
        return "gradient-echo sequence"
    return ""


def _not_coronal(normal: tuple[float, float, float] | None) -> str:
    if normal is None:
        return "no image orientation in the header"
    across, coronal, axial = normal
    tilt_deg = math.degrees(math.acos(min(1.0, abs(coronal))))
    along_the_sacrum = coronal * axial > 0 and abs(across) < abs(axial)
    if tilt_deg <= (CORONAL_TILT_DEG if along_the_sacrum else OTHER_TILT_DEG):
        return ""
    plane = "sagittal" if abs(across) > abs(axial) else "axial"
    return f"{plane} orientation ({tilt_deg:.0f}° from coronal)"


def _role_by_times(facts: AcquisitionFacts, tr_ms: float, te_ms: float) -> SeriesRole:
    times = f"TR {tr_ms:.0f}, TE {te_ms:.0f} ms"
    if facts.inversion_time_ms is not None or "IR" in facts.scanning_sequence:
        return _role_of_inversion(facts, tr_ms, times)
    if tr_ms < T1_TR_MS and te_ms < T1_TE_MS:
        if is_fat_suppressed(facts):
            return SeriesRole(SequenceRole.OTHER, f"fat-suppressed T1 ({times})")
        return SeriesRole(SequenceRole.T1, times)
    if tr_ms > LONG_TR_MS and te_ms > T2_TE_MS and is_fat_suppressed(facts):
        return SeriesRole(SequenceRole.T2_FAT_SAT, f"{times}, fat-suppressed")
    return SeriesRole(SequenceRole.OTHER, f"not T1, STIR or fat-suppressed T2 ({times})")


def _role_of_inversion(facts: AcquisitionFacts, tr_ms: float, times: str) -> SeriesRole:
    """A STIR nulls fat, a FLAIR does not. Without TI only the description distinguishes them."""
    ti_ms = facts.inversion_time_ms
    if ti_ms is None:
        if tr_ms > LONG_TR_MS and _described_as(facts) == "STIR":
            return SeriesRole(
                SequenceRole.STIR, f"inversion recovery, STIR by its description ({times})"
            )
        return SeriesRole(
            SequenceRole.OTHER, f"inversion recovery, inversion time not stated ({times})"
        )
    if tr_ms > LONG_TR_MS and STIR_TI_MS[0] <= ti_ms <= STIR_TI_MS[1]:
        return SeriesRole(SequenceRole.STIR, f"{times}, TI {ti_ms:.0f} ms")
    return SeriesRole(
        SequenceRole.OTHER,
        f"inversion recovery without fat nulling ({times}, TI {ti_ms:.0f} ms)",
    )


def _described_as(facts: AcquisitionFacts) -> str:
    words = f"{facts.sequence_name} {facts.description}".lower()
    return next((role for role, pattern in WORDS if pattern.search(words)), "")


def _role_by_description(facts: AcquisitionFacts) -> SeriesRole:
    said = _described_as(facts)
    if said == "T1" and (is_fat_suppressed(facts) or re.search(r"fs|fat", facts.description, re.I)):
        return SeriesRole(SequenceRole.OTHER, "fat-suppressed T1 by its description")
    if said:
        return SeriesRole(
            SequenceRole[said],
            f"{SequenceRole[said]} by its description; no TR and TE in the header",
        )
    return SeriesRole(SequenceRole.OTHER, "no TR and TE in the header, description inconclusive")


@dataclass(frozen=True)
class SequenceChoice:
    """The T1 and STIR to analyse, and for every series why it is used or not.

    Parameters
    ----------
    t1_series_uid, stir_series_uid
        The selected pair.
    stand_in
        True if a fat-saturated T2 is used instead of the STIR.
    reasons
        For every series of the study, by UID, why it is used or not.
    """

    t1_series_uid: str
    stir_series_uid: str
    stand_in: bool
    reasons: Mapping[str, str]


def choose_pair(series: Mapping[str, AcquisitionFacts]) -> SequenceChoice:
    """Choose the T1 and the STIR of a study.

    Pairs are ranked by: same frame of reference; STIR before fat-saturated T2; more slices;
    smaller pixels; later acquisition (a repeat replaces the original); series UIDs, so that the
    choice is deterministic.

    Raises
    ------
    PairMissing
        Naming what is missing, and why each series is not used.
    """
    roles = {uid: role_of(facts) for uid, facts in series.items()}
    t1s = [uid for uid, found in roles.items() if found.role is SequenceRole.T1]
    stirs = [
        uid
        for uid, found in roles.items()
        if found.role in (SequenceRole.STIR, SequenceRole.T2_FAT_SAT)
    ]
    if not t1s or not stirs:
        raise PairMissing(_what_is_missing(bool(t1s), bool(stirs), roles))
    t1, stir = max(
        product(t1s, stirs),
        key=lambda pair: (
            _shares_frame(series[pair[0]], series[pair[1]]),
            roles[pair[1]].role is SequenceRole.STIR,
            *_preference(pair, series),
        ),
    )
    chosen = {t1, stir}
    reasons = {uid: _why(found, uid in chosen) for uid, found in roles.items()}
    return SequenceChoice(t1, stir, roles[stir].role is SequenceRole.T2_FAT_SAT, reasons)


def is_pair_complete(series: Iterable[AcquisitionFacts]) -> bool:
    """Whether both a T1 and a STIR have begun to arrive, judged by one image of each series.

    A fat-saturated T2 does not count: the STIR may still arrive.
    """
    return {SequenceRole.T1, SequenceRole.STIR} <= {role_of(facts).role for facts in series}


def _shares_frame(t1: AcquisitionFacts, stir: AcquisitionFacts) -> bool:
    return t1.frame_of_reference_uid == stir.frame_of_reference_uid


def _preference(
    pair: tuple[str, str], series: Mapping[str, AcquisitionFacts]
) -> tuple[int, float, str, str, tuple[str, str]]:
    t1, stir = (series[uid] for uid in pair)
    return t1.slices + stir.slices, -_area(t1) - _area(stir), t1.acquired, stir.acquired, pair


def _area(facts: AcquisitionFacts) -> float:
    return math.prod(facts.pixel_spacing_mm) if facts.pixel_spacing_mm else math.inf


def _why(found: SeriesRole, chosen: bool) -> str:
    if found.role is SequenceRole.OTHER:
        return f"not used: {found.reason}"
    if chosen:
        return f"used as {found.role}: {found.reason}"
    return f"not used: another {found.role} series was preferred ({found.reason})"


def _what_is_missing(has_t1: bool, has_stir: bool, roles: Mapping[str, SeriesRole]) -> str:
    missing = " and ".join(
        name for name, there in (("coronal T1", has_t1), ("coronal STIR", has_stir)) if not there
    )
    seen = "; ".join(f"{uid}: {_phrase(found)}" for uid, found in sorted(roles.items()))
    return (
        f"The study has no usable {missing} series; a T1 and a STIR are required. "
        f"Series received: {seen or 'none'}. Send the missing series."
    )


def _phrase(found: SeriesRole) -> str:
    return found.reason if found.role is SequenceRole.OTHER else f"{found.role} ({found.reason})"
