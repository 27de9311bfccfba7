"""Which series is the T1, which the STIR, and why the others are not.

Descriptions come in every language and mislead, so the numbers of the acquisition decide and
words are asked last. A fat-saturated T2 can stand in for the STIR, but is marked as a stand-in.

Source: DICOM PS3.3 C.8.3.1 and C.8.13.4 (MR pulse sequences), C.7.6.1.1.2 (image types); the
vendors' habits are in `FAT_SUPPRESSION` and `WORDS`.
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
"""A T1 is shorter than both."""
LONG_TR_MS, T2_TE_MS = 2000, 50
"""A STIR or T2 repeats more slowly than the first; a T2 has at least the second."""
STIR_TI_MS = (100, 260)
"""Inversion times that null fat between 1 and 3 tesla."""

CORONAL_TILT_DEG = 50
"""Farthest from true coronal when tilted along the sacrum (its plane leans forward above)."""
OTHER_TILT_DEG = 44
"""Farthest from true coronal in any other direction: an oblique axial must not pass."""

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
OTHER_KINDS = {
    *("DIFFUSION", "ADC", "TRACEW", "PERFUSION", "T2 MAP", "T1 MAP", "T2_STAR MAP"),
    *("MPR", "MIP", "PROJECTION IMAGE", "REFORMATTED", "SUBTRACTION", "CSAPARALLEL"),
    *("P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY", "VELOCITY"),
}
"""Image type values that no magnitude image of the joint has."""
ELSEWHERE = {
    *("HEAD", "BRAIN", "SKULL", "NECK", "CSPINE", "TSPINE", "CHEST", "HEART", "BREAST"),
    *("SHOULDER", "ARM", "ELBOW", "HAND", "WRIST", "KNEE", "LEG", "FOOT", "ANKLE"),
}
"""Body parts that do not hold the joint. Lumbar spine may: protocols are often filed there."""
NO_AGENT = {"", "NO", "NONE", "N", "OHNE", "SANS", "SIN", "NULL", "0", "N/A", "NA", "NOT GIVEN"}

WORDS = (
    ("STIR", re.compile(r"stir|tirm|(?<![a-z])(?:t2[ _-]?)?ir(?![a-z])|tir2d")),
    ("T2_FAT_SAT", re.compile(r"(?:t2|(?<![a-z])pd).*(?:fs|fat|spir|spair|dixon|water)|spair")),
    ("T1", re.compile(r"(?<![a-z])t1(?!\d)")),
)
"""What a description may say, asked only where the header holds no times."""
LOCALISER_WORDS = re.compile(
    r"locali[sz]er|(?<![a-z])(?:loc|scout|survey|3[- ]?pl(?:ane)?)(?![a-z])"
)


class SequenceRole(StrEnum):
    """What a series is to the node."""

    T1 = "T1"
    STIR = "STIR"
    T2_FAT_SAT = "T2 with fat saturation"
    """Stands in for a STIR where there is none; the report says so."""
    OTHER = "other"


@dataclass(frozen=True)
class SeriesRole:
    """A role, and the reason for it in words."""

    role: SequenceRole
    reason: str


@dataclass(frozen=True)
class AcquisitionFacts:
    """What the headers of a series say about how it was acquired.

    Times in milliseconds, lengths in millimetres; None where the header is silent. Words are
    upper case, except the description.
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
    """What one header says of its series.

    Parameters
    ----------
    dataset
        Header of a classic or Enhanced image; pixel data are not looked at.
    slices
        Images in the series, as the caller has counted them. A multi-frame object counts its
        own frames instead.
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
    """What the headers of all images of one series say of it, at least one.

    The first in order of the SOP Instance UID speaks for the series, so that the order of arrival
    decides nothing.
    """
    first = min(headers, key=lambda header: text(header, "SOPInstanceUID"))
    return acquisition_facts(first, sum(frame_count(header) for header in headers))


def _first_of(dataset: Dataset, *keywords: str) -> float | None:
    found = (number(dataset, keyword) for keyword in keywords)
    return next((value for value in found if value is not None), None)


def _scanning_sequence(dataset: Dataset) -> tuple[str, ...]:
    """Classic codes (SE, IR, GR, EP, RM); an Enhanced image's words are put into them."""
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
    """What a series is to the node, and why: exclusions first, then numbers, then words."""
    excluded = _reason_to_exclude(facts)
    if excluded:
        return SeriesRole(SequenceRole.OTHER, excluded)
    if facts.repetition_time_ms is None or facts.echo_time_ms is None:
        return _role_by_words(facts)
    return _role_by_numbers(facts, facts.repetition_time_ms, facts.echo_time_ms)


def is_fat_suppressed(facts: AcquisitionFacts) -> bool:
    """Whether scan options or image type say that the fat was suppressed."""
    return bool(FAT_SUPPRESSION & set(facts.scan_options) or WATER_IMAGES & set(facts.image_type))


def _reason_to_exclude(facts: AcquisitionFacts) -> str:
    """Why a series is neither T1 nor STIR whatever its times; empty where nothing speaks."""
    return (
        _not_an_mr_image(facts)
        or _not_as_acquired(facts)
        or _not_a_spin_echo(facts)
        or _not_coronal(facts.normal)
    )


def _not_an_mr_image(facts: AcquisitionFacts) -> str:
    if facts.modality != "MR":
        return f"not an MR image (modality {facts.modality or 'not stated'})"
    if facts.sop_class_uid not in MR_IMAGES:
        return f"not stored as an MR image but as {UID(facts.sop_class_uid).name or 'nothing'}"
    if facts.body_part in ELSEWHERE:
        return f"images of another body part ({facts.body_part})"
    return ""


def _not_as_acquired(facts: AcquisitionFacts) -> str:
    kinds = set(facts.image_type)
    if kinds & LOCALISERS or LOCALISER_WORDS.search(facts.description.lower()):
        return "a localiser"
    if facts.contrast_agent:
        return "a contrast agent was given"
    if kinds & DIXON_LEFTOVERS:
        return "a fat or opposed-phase image of a Dixon sequence"
    if kinds & OTHER_KINDS:
        return f"derived or not a magnitude image ({', '.join(sorted(kinds & OTHER_KINDS))})"
    if ("DERIVED" in kinds and not kinds & DIXON_MARKS) or "SECONDARY" in kinds:
        return "derived from other images"
    return ""


def _not_a_spin_echo(facts: AcquisitionFacts) -> str:
    codes = set(facts.scanning_sequence)
    if "EP" in codes:
        return "echo planar"
    if "GR" in codes and "SE" not in codes:
        return "a gradient echo"
    return ""


def _not_coronal(normal: tuple[float, float, float] | None) -> str:
    if normal is None:
        return "the header gives no orientation"
    across, coronal, axial = normal
    tilt_deg = math.degrees(math.acos(min(1.0, abs(coronal))))
    along_the_sacrum = coronal * axial > 0 and abs(across) < abs(axial)
    if tilt_deg <= (CORONAL_TILT_DEG if along_the_sacrum else OTHER_TILT_DEG):
        return ""
    plane = "sagittal" if abs(across) > abs(axial) else "axial"
    return f"{plane}: {tilt_deg:.0f}° from coronal"


def _role_by_numbers(facts: AcquisitionFacts, tr_ms: float, te_ms: float) -> SeriesRole:
    times = f"TR {tr_ms:.0f}, TE {te_ms:.0f} ms"
    if facts.inversion_time_ms is not None or "IR" in facts.scanning_sequence:
        return _role_of_inversion(facts, tr_ms, times)
    if tr_ms < T1_TR_MS and te_ms < T1_TE_MS:
        if is_fat_suppressed(facts):
            return SeriesRole(
                SequenceRole.OTHER, f"a T1 with fat suppression shows no fat ({times})"
            )
        return SeriesRole(SequenceRole.T1, times)
    if tr_ms > LONG_TR_MS and te_ms > T2_TE_MS and is_fat_suppressed(facts):
        return SeriesRole(SequenceRole.T2_FAT_SAT, f"{times}, fat suppressed")
    return SeriesRole(SequenceRole.OTHER, f"neither a T1 nor a fat-suppressed T2 or STIR ({times})")


def _role_of_inversion(facts: AcquisitionFacts, tr_ms: float, times: str) -> SeriesRole:
    """A STIR nulls fat; a FLAIR does not. Without the inversion time only words tell them apart."""
    ti_ms = facts.inversion_time_ms
    if ti_ms is None:
        if tr_ms > LONG_TR_MS and _said(facts) == "STIR":
            return SeriesRole(SequenceRole.STIR, f"an inversion recovery called STIR ({times})")
        return SeriesRole(
            SequenceRole.OTHER, f"an inversion recovery without inversion time ({times})"
        )
    if tr_ms > LONG_TR_MS and STIR_TI_MS[0] <= ti_ms <= STIR_TI_MS[1]:
        return SeriesRole(SequenceRole.STIR, f"{times}, TI {ti_ms:.0f} ms")
    return SeriesRole(
        SequenceRole.OTHER,
        f"an inversion recovery that does not null fat ({times}, TI {ti_ms:.0f} ms)",
    )


def _said(facts: AcquisitionFacts) -> str:
    words = f"{facts.sequence_name} {facts.description}".lower()
    return next((role for role, pattern in WORDS if pattern.search(words)), "")


def _role_by_words(facts: AcquisitionFacts) -> SeriesRole:
    said = _said(facts)
    if said == "T1" and (is_fat_suppressed(facts) or re.search(r"fs|fat", facts.description, re.I)):
        return SeriesRole(SequenceRole.OTHER, "a T1 with fat suppression shows no fat")
    if said:
        return SeriesRole(
            SequenceRole[said], f"called {SequenceRole[said]}; the header gives no TR and TE"
        )
    return SeriesRole(
        SequenceRole.OTHER, "the header gives no TR and TE, and its name says nothing"
    )


@dataclass(frozen=True)
class SequenceChoice:
    """The pair that is analysed, and the reason for and against every series.

    Parameters
    ----------
    t1_series_uid, stir_series_uid
        The chosen pair.
    stand_in
        True where a fat-saturated T2 takes the place of the STIR.
    reasons
        For every series of the study, by its UID, why it was taken or not.
    """

    t1_series_uid: str
    stir_series_uid: str
    stand_in: bool
    reasons: Mapping[str, str]


def choose_pair(series: Mapping[str, AcquisitionFacts]) -> SequenceChoice:
    """Choose the T1 and the STIR of a study.

    Of all pairs the best is taken, judged in this order: T1 and STIR in one frame of reference;
    a true STIR rather than a stand-in; more slices; finer pixels; acquired later (a repeat
    replaces what it repeats); last the series UIDs, so that the choice is always the same.

    Raises
    ------
    PairMissing
        Saying what is missing, and of every series what it is.
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
    """Whether a T1 and a STIR have begun to arrive, judged by one image of each series.

    A stand-in does not count: the STIR may still come.
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
    return f"not used: a {found.role} too, but another fits the pair better ({found.reason})"


def _what_is_missing(has_t1: bool, has_stir: bool, roles: Mapping[str, SeriesRole]) -> str:
    missing = " and ".join(
        name for name, there in (("coronal T1", has_t1), ("coronal STIR", has_stir)) if not there
    )
    seen = "; ".join(f"{uid} is {_phrase(found)}" for uid, found in sorted(roles.items()))
    return (
        f"The study has no usable {missing} series; a T1 and a STIR are needed. "
        f"Series received: {seen or 'none'}. Send what is missing."
    )


def _phrase(found: SeriesRole) -> str:
    return found.reason if found.role is SequenceRole.OTHER else f"a {found.role} ({found.reason})"
