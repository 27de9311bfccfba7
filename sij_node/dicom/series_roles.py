"""Which series is the T1, which is the STIR, and why the other series are not used.

Acquisition parameters decide. The description of a series counts where they leave a question open,
and where it calls a series contrast-enhanced, fat-suppressed, derived or a localiser. The protocol
name counts last: some vendors write one for the whole exam. A fat-saturated T2 may replace a
missing STIR; the report says so.

Source: DICOM PS3.3 C.8.3.1 and C.8.13.4 (MR pulse sequences), C.7.6.1.1.2 (image types); vendor
conventions are in `FAT_SUPPRESSION` and `series_words`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from pydicom.uid import UID

from sij_node.dicom.acquisition_facts import AcquisitionFacts
from sij_node.dicom.series_words import DescribedContrast, DescriptionWords, words_of
from sij_node.errors import PairMissing

MR_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
"""Storage classes that can be analysed (PS3.4 B.5)."""

T1_TR_MS, T1_TE_MS = 900, 30
"""A T1 has a shorter TR and a shorter TE."""
T1_DESCRIBED_TR_MS = 1300
"""Up to this TR a series is a T1 if its description says so."""
SPIN_ECHO_TR_MS = 200
"""With a shorter TR a series is a gradient echo, whatever its header calls it."""
LONG_TR_MS, T2_TE_MS = 2000, 50
"""A T2 has a longer TR and a longer TE."""
INVERSION_TR_MS = 1500
"""A STIR has a longer TR."""
STIR_TI_MS = (80, 260)
"""Inversion times that null fat at 0.2 to 3 tesla."""

ALONG_SACRUM_DEG = 60
"""Largest tilt from true coronal along the sacrum (upper end of the plane tilted forward)."""
ACROSS_SACRUM_DEG = 25
"""Largest tilt the other way: planes across the sacrum (semi-axial) begin at about 30°."""
TURN_DEG = 30
"""Largest turn from true coronal towards sagittal."""
UNUSUAL_TILT_DEG = 10
"""A coronal plane tilted further across the sacrum is a doubt: the delineated joints decide."""

FAT_SUPPRESSION = {
    *("FS", "FATSAT", "FAT_SAT", "FAT", "FAT_SATURATION", "FAT AND WATER"),  # several; Enhanced
    *("SPIR", "SPAIR", "PROSET"),  # Philips
    *("ASPIR", "FLEX", "CHEMSAT", "FATSAT_GEMS"),  # GE
    *("FATSAT", "WATEREX", "WE", "MSOFT"),  # Canon
}
"""Scan options that mean fat suppression; SAT1, SAT2, SAT_GEMS are spatial saturation bands."""
WATER_IMAGES = {"W", "WATER"}
DIXON_LEFTOVERS = {
    *("F", "FAT", "OP", "OUT", "OPP_PHASE", "OUT_PHASE", "OPPOSED_PHASE", "FF", "FAT_FRACTION"),
}
"""Dixon images that are neither a T1 nor a water image."""
DIXON_MARKS = {"DIXON", "IP", "IN", "IN_PHASE", *WATER_IMAGES, *DIXON_LEFTOVERS}
LOCALISERS = {"LOCALIZER", "LOCALISER", "SCOUT", "SURVEY"}
KEEPS_CONTRAST = {
    *("NORM", "DIS2D", "DIS3D", "FM", "FIL", "MFSPLIT", "DRB", "DRS", "DRG"),  # Siemens
    *("FILTERED", "SCIC", "PURE", "ARDL", "CLEAR", "FILTER"),  # GE, Philips, others
}
"""Image Type values of filters and corrections that leave the contrast as acquired."""
NON_MAGNITUDE_IMAGES = {
    *("DIFFUSION", "ADC", "TRACEW", "PERFUSION", "T2 MAP", "T1 MAP", "T2_STAR MAP"),
    *("MPR", "MIP", "MIN_IP", "MNIP", "PROJECTION IMAGE", "MAX_IP", "REFORMATTED", "CSAPARALLEL"),
    *("SUBTRACTION", "SUBTRACT", "SUB", "ADDITION", "DIVISION", "MEAN", "STDDEV", "SCREENSAVE"),
    *("P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY", "VELOCITY"),
}
"""Image Type values of images that are not original magnitude images."""
OTHER_BODY_PARTS = {
    *("HEAD", "BRAIN", "SKULL", "NECK", "CSPINE", "TSPINE", "CHEST", "HEART", "BREAST"),
    *("SHOULDER", "ARM", "ELBOW", "HAND", "WRIST", "KNEE", "LEG", "FOOT", "ANKLE"),
}
"""Body parts without the joint. Lumbar spine is not among them: it is often stated instead."""


SERIES_LISTED = " Series received: "
"""Begins the list of all series at the end of a message."""


class SequenceRole(StrEnum):
    """The role of a series in the analysis."""

    T1 = "T1"
    STIR = "STIR"
    T2_FAT_SAT = "T2 with fat saturation"
    """Used instead of a missing STIR; the report says so."""
    OTHER = "other"


class SeriesDoubt(StrEnum):
    """What is uncertain about a series that is used; every report says so."""

    AFTER_CONTRAST = "acquired after a contrast-enhanced series"
    DESCRIBED_OTHERWISE = "described as another kind of series"
    UNUSUAL_TILT = "unusual orientation"
    OTHER_IMAGES_LEFT_OUT = "series also contains other images"
    BY_DESCRIPTION = "recognised by its description only"


@dataclass(frozen=True)
class SeriesRole:
    """A role, the reason for it as text, and what speaks against it."""

    role: SequenceRole
    reason: str
    doubts: tuple[SeriesDoubt, ...] = ()


def role_of(facts: AcquisitionFacts) -> SeriesRole:
    """Role of a series: exclusions first, then TR, TE and TI, then its description."""
    words = words_of(facts.description or facts.protocol)
    excluded = _reason_to_exclude(facts, words)
    if excluded:
        return SeriesRole(SequenceRole.OTHER, excluded)
    if facts.repetition_time_ms is None or facts.echo_time_ms is None:
        found = _role_by_description(facts, words)
    else:
        found = _role_by_times(facts, words, facts.repetition_time_ms, facts.echo_time_ms)
    return replace(found, doubts=(*found.doubts, *_doubts(found, facts, words)))


def roles_of(series: Mapping[str, AcquisitionFacts]) -> Mapping[str, SeriesRole]:
    """Role of each series of a study; a protocol name of the whole exam says nothing of one."""
    protocols = [facts.protocol for facts in series.values()]
    return {
        uid: role_of(replace(facts, protocol="") if _is_exam_wide(facts, protocols) else facts)
        for uid, facts in series.items()
    }


def _is_exam_wide(facts: AcquisitionFacts, protocols: Sequence[str]) -> bool:
    return protocols.count(facts.protocol) > 1


def is_fat_suppressed(facts: AcquisitionFacts) -> bool:
    """Whether scan options or image type state fat suppression."""
    return bool(FAT_SUPPRESSION & set(facts.scan_options) or WATER_IMAGES & set(facts.image_type))


def _reason_to_exclude(facts: AcquisitionFacts, words: DescriptionWords) -> str:
    """Why a series is excluded regardless of its times; empty if it is not."""
    return (
        _not_an_mr_image(facts)
        or _not_as_acquired(facts, words)
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


def _not_as_acquired(facts: AcquisitionFacts, words: DescriptionWords) -> str:
    kinds = set(facts.image_type)
    if kinds & LOCALISERS or (words.localiser and (facts.description or not _has_times(facts))):
        return "localiser"
    if facts.contrast_agent:
        return "contrast-enhanced"
    if words.contrast_enhanced:
        return "contrast-enhanced by its description"
    if kinds & DIXON_LEFTOVERS:
        return "Dixon fat or opposed-phase image"
    if words.dixon_leftover:
        return "Dixon fat or opposed-phase image by its description"
    return _not_an_original(kinds, words) or _repeated(facts)


def _not_an_original(kinds: set[str], words: DescriptionWords) -> str:
    if kinds & NON_MAGNITUDE_IMAGES:
        return f"derived or non-magnitude image ({', '.join(sorted(kinds & NON_MAGNITUDE_IMAGES))})"
    if "DERIVED" in kinds and not kinds & (DIXON_MARKS | KEEPS_CONTRAST):
        return "derived image"
    return "derived image by its description" if words.derived else ""


def _repeated(facts: AcquisitionFacts) -> str:
    if facts.temporal_position == 1:
        return ""
    return f"later phase of a series repeated in time (temporal position {facts.temporal_position})"


def _has_times(facts: AcquisitionFacts) -> bool:
    return facts.repetition_time_ms is not None and facts.echo_time_ms is not None


def _not_a_spin_echo(facts: AcquisitionFacts) -> str:
    codes = set(facts.scanning_sequence)
    tr_ms = facts.repetition_time_ms
    if "EP" in codes:
        return "echo-planar sequence"
    if "GR" in codes and "SE" not in codes:
        return "gradient-echo sequence"
    if tr_ms is not None and tr_ms < SPIN_ECHO_TR_MS:
        return f"gradient-echo sequence by its TR ({tr_ms:.0f} ms)"
    return ""


def sacral_tilt_deg(normal: tuple[float, float, float]) -> tuple[float, float]:
    """Tilt of a plane from true coronal, and its turn towards sagittal.

    The tilt is positive where the upper end of the plane leans forward, as the sacrum does, and
    negative across the sacrum.
    """
    across, back, up = normal
    sign = 1 if back >= 0 else -1
    tilt = math.degrees(math.asin(max(-1.0, min(1.0, sign * up))))
    return tilt, math.degrees(math.asin(min(1.0, abs(across))))


def _not_coronal(normal: tuple[float, float, float] | None) -> str:
    if normal is None:
        return "no image orientation in the header"
    tilt_deg, turn_deg = sacral_tilt_deg(normal)
    if -ACROSS_SACRUM_DEG <= round(tilt_deg) <= ALONG_SACRUM_DEG and turn_deg <= TURN_DEG:
        return ""
    across, back, up = (abs(one) for one in normal)
    from_coronal = f"{math.degrees(math.acos(min(1.0, back))):.0f}° from coronal"
    if across > up:
        return f"sagittal orientation ({from_coronal})"
    side = ", across the sacrum" if tilt_deg < 0 and round(tilt_deg) > -70 else ""
    return f"axial orientation ({from_coronal}{side})"


def _doubts(
    found: SeriesRole, facts: AcquisitionFacts, words: DescriptionWords
) -> Iterable[SeriesDoubt]:
    if found.role is SequenceRole.OTHER or facts.normal is None:
        return
    if sacral_tilt_deg(facts.normal)[0] < -UNUSUAL_TILT_DEG:
        yield SeriesDoubt.UNUSUAL_TILT
    if facts.description and words.contrast not in _FITTING[found.role]:
        yield SeriesDoubt.DESCRIBED_OTHERWISE


_FITTING = {
    SequenceRole.T1: {DescribedContrast.NONE, DescribedContrast.T1},
    SequenceRole.STIR: {DescribedContrast.NONE, DescribedContrast.STIR, DescribedContrast.T2},
    SequenceRole.T2_FAT_SAT: set(DescribedContrast) - {DescribedContrast.T1},
}
"""What a series with a role may be called."""


def _role_by_times(
    facts: AcquisitionFacts, words: DescriptionWords, tr_ms: float, te_ms: float
) -> SeriesRole:
    times = f"TR {tr_ms:.0f}, TE {te_ms:.0f} ms"
    if facts.inversion_time_ms is not None or "IR" in facts.scanning_sequence:
        return _role_of_inversion(facts, words, tr_ms, times)
    suppressed = is_fat_suppressed(facts) or words.fat_suppressed
    said_t1 = words.contrast is DescribedContrast.T1
    if tr_ms < (T1_DESCRIBED_TR_MS if said_t1 else T1_TR_MS) and te_ms < T1_TE_MS:
        if suppressed:
            return SeriesRole(SequenceRole.OTHER, f"fat-suppressed T1 ({times})")
        return SeriesRole(SequenceRole.T1, times)
    if tr_ms > LONG_TR_MS and words.contrast is DescribedContrast.STIR:
        return _by_description(SequenceRole.STIR, f"no inversion time in the header, {times}")
    if tr_ms > LONG_TR_MS and te_ms > T2_TE_MS and suppressed:
        return SeriesRole(SequenceRole.T2_FAT_SAT, f"{times}, fat-suppressed")
    return SeriesRole(SequenceRole.OTHER, f"not T1, STIR or fat-suppressed T2 ({times})")


def _role_of_inversion(
    facts: AcquisitionFacts, words: DescriptionWords, tr_ms: float, times: str
) -> SeriesRole:
    """A STIR nulls fat, a FLAIR does not. Without TI only the description distinguishes them."""
    ti_ms = facts.inversion_time_ms
    if ti_ms is None:
        if tr_ms > INVERSION_TR_MS and words.contrast is DescribedContrast.STIR:
            return _by_description(SequenceRole.STIR, f"inversion recovery, {times}")
        return SeriesRole(
            SequenceRole.OTHER, f"inversion recovery, inversion time not stated ({times})"
        )
    if tr_ms > INVERSION_TR_MS and STIR_TI_MS[0] <= ti_ms <= STIR_TI_MS[1]:
        return SeriesRole(SequenceRole.STIR, f"{times}, TI {ti_ms:.0f} ms")
    return SeriesRole(
        SequenceRole.OTHER,
        f"inversion recovery without fat nulling ({times}, TI {ti_ms:.0f} ms)",
    )


def _role_by_description(facts: AcquisitionFacts, words: DescriptionWords) -> SeriesRole:
    """Role of a series without TR or TE; the one time that is known must not contradict it."""
    missing = "no TR and TE in the header"
    suppressed = is_fat_suppressed(facts) or words.fat_suppressed
    tr_ms, te_ms = facts.repetition_time_ms, facts.echo_time_ms
    inverted = facts.inversion_time_ms is not None or "IR" in facts.scanning_sequence
    if words.contrast is DescribedContrast.STIR and (tr_ms or math.inf) > INVERSION_TR_MS:
        return _by_description(SequenceRole.STIR, missing)
    if words.contrast is DescribedContrast.T1 and not inverted:
        if suppressed:
            return SeriesRole(SequenceRole.OTHER, "fat-suppressed T1 by its description")
        if (tr_ms or 0) < T1_DESCRIBED_TR_MS and (te_ms or 0) < T1_TE_MS:
            return _by_description(SequenceRole.T1, missing)
    if words.contrast is DescribedContrast.T2 and suppressed and not inverted:
        return _by_description(SequenceRole.T2_FAT_SAT, missing)
    return SeriesRole(SequenceRole.OTHER, f"{missing}, description inconclusive")


def _by_description(role: SequenceRole, reason: str) -> SeriesRole:
    return SeriesRole(role, f"{role} by its description ({reason})", (SeriesDoubt.BY_DESCRIPTION,))


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
    doubts
        What is uncertain about the selected pair, each with T1 or STIR.
    """

    t1_series_uid: str
    stir_series_uid: str
    stand_in: bool
    reasons: Mapping[str, str]
    doubts: tuple[tuple[SeriesDoubt, str], ...] = ()


def choose_pair(series: Mapping[str, AcquisitionFacts]) -> SequenceChoice:
    """Choose the T1 and the STIR of a study.

    Pairs are ranked by: same frame of reference; acquired before any contrast-enhanced series;
    STIR before fat-saturated T2; fewer doubts; more slices; smaller pixels; later acquisition (a
    repeat replaces the original); series UIDs, so that the choice is deterministic.

    Raises
    ------
    PairMissing
        Naming what is missing, and why each series is not used.
    """
    roles = _with_doubt_after_contrast(series, roles_of(series))
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
            sum(SeriesDoubt.AFTER_CONTRAST not in roles[uid].doubts for uid in pair),
            roles[pair[1]].role is SequenceRole.STIR,
            -sum(len(roles[uid].doubts) for uid in pair),
            *_preference(pair, series),
        ),
    )
    chosen = {t1, stir}
    reasons = {uid: _why(found, uid in chosen) for uid, found in roles.items()}
    doubts = tuple(
        (doubt, sequence)
        for uid, sequence in ((t1, "T1"), (stir, "STIR"))
        for doubt in roles[uid].doubts
    )
    return SequenceChoice(t1, stir, roles[stir].role is SequenceRole.T2_FAT_SAT, reasons, doubts)


def _with_doubt_after_contrast(
    series: Mapping[str, AcquisitionFacts], roles: Mapping[str, SeriesRole]
) -> Mapping[str, SeriesRole]:
    """Roles, with the doubt of series acquired after the first contrast-enhanced one."""
    enhanced = [
        series[uid].acquired
        for uid, found in roles.items()
        if found.reason.startswith("contrast-enhanced") and series[uid].acquired
    ]
    if not enhanced:
        return roles
    return {
        uid: replace(found, doubts=(*found.doubts, SeriesDoubt.AFTER_CONTRAST))
        if series[uid].acquired > min(enhanced)
        else found
        for uid, found in roles.items()
    }


def is_pair_complete(series: Iterable[AcquisitionFacts]) -> bool:
    """Whether both a T1 and a STIR have begun to arrive, judged by one image of each series.

    A fat-saturated T2 does not count: the STIR may still arrive.
    """
    roles = roles_of({str(number): facts for number, facts in enumerate(series)})
    return {SequenceRole.T1, SequenceRole.STIR} <= {found.role for found in roles.values()}


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
        against = f"; but {', '.join(found.doubts)}" if found.doubts else ""
        return f"used as {found.role}: {found.reason}{against}"
    return f"not used: another {found.role} series was preferred ({found.reason})"


def _what_is_missing(has_t1: bool, has_stir: bool, roles: Mapping[str, SeriesRole]) -> str:
    missing = " and ".join(
        name for name, there in (("coronal T1", has_t1), ("coronal STIR", has_stir)) if not there
    )
    seen = "; ".join(f"{uid}: {_phrase(found)}" for uid, found in sorted(roles.items()))
    return (
        f"The study has no usable {missing} series; a T1 and a STIR are required. "
        f"Send the missing series.{SERIES_LISTED}{seen or 'none'}."
    )


def _phrase(found: SeriesRole) -> str:
    return found.reason if found.role is SequenceRole.OTHER else f"{found.role} ({found.reason})"
