"""The codes and terms for reading results: sides, regions, lesions and their changes.

Deliberately a second list: it reveals a wrong code in `sij_node.dicom.codes`.

Source: DICOM PS3.16, as in `sij_node.dicom.codes`.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from models.burden_scores import BurdenChange, BurdenName
from models.findings import Head, Lesion, OperatingPoint, Presence, Region, Side
from sij_node.domain.prior_comparison import LesionChange

Code = tuple[str, str]
"""Coding scheme designator and code value."""

SIDES: Mapping[Code, Side] = MappingProxyType(
    {("SCT", "7771000"): Side.LEFT, ("SCT", "24028007"): Side.RIGHT}
)
REGIONS: Mapping[tuple[Code, Code | None], Region] = MappingProxyType(
    {
        (("SCT", "22356005"), ("SCT", "264217000")): Region.UPPER_ILIUM,
        (("SCT", "22356005"), ("SCT", "261089000")): Region.LOWER_ILIUM,
        (("SCT", "54735007"), ("SCT", "264217000")): Region.UPPER_SACRUM,
        (("SCT", "54735007"), ("SCT", "261089000")): Region.LOWER_SACRUM,
        (("SCT", "39723000"), None): Region.JOINT,
    }
)
"""Bone or joint, and the part of it."""
LESIONS: Mapping[Code, Lesion] = MappingProxyType(
    {
        ("99SIJNODE", "oedema"): Lesion.OEDEMA,
        ("99SIJNODE", "erosion"): Lesion.EROSION,
        ("99SIJNODE", "fatty-lesion"): Lesion.FATTY_LESION,
        ("99SIJNODE", "sclerosis"): Lesion.SCLEROSIS,
        ("99SIJNODE", "ankylosis"): Lesion.ANKYLOSIS,
    }
)
PRESENCES: Mapping[Code, Presence] = MappingProxyType(
    {
        ("DCM", "121053"): Presence.PRESENT,
        ("DCM", "121054"): Presence.ABSENT,
        ("DCM", "121059"): Presence.UNDETERMINED,
    }
)

SCORES_TITLES: tuple[Code, ...] = (("99SIJNODE", "sij-scores"), ("DCM", "126000"))
"""Title of the node's report, and the generic title of measurement reports."""
CHANGES: Mapping[Code, LesionChange] = MappingProxyType(
    {
        ("99SIJNODE", "new"): LesionChange.NEW,
        ("99SIJNODE", "gone"): LesionChange.RESOLVED,
        ("SCT", "260388006"): LesionChange.UNCHANGED,
        ("99SIJNODE", "not-comparable"): LesionChange.NOT_COMPARABLE,
    }
)
PREVIOUS_FINDINGS: Code = ("LN", "18834-2")
PRIOR_REPORT: Code = ("DCM", "122075")
STUDY_DATE: Code = ("DCM", "111060")
CHANGE_TABLE: Code = ("99SIJNODE", "change-table")
CHANGE: Code = ("99SIJNODE", "change")
PRIOR_PROBABILITY: Code = ("99SIJNODE", "prior-score")
PRIOR_THRESHOLD: Code = ("99SIJNODE", "prior-threshold")
PRIOR_WEIGHTS: Code = ("99SIJNODE", "prior-weights")
OTHER_WEIGHTS: Code = ("99SIJNODE", "other-weights")

PRESENCE_IN_WORDS: Mapping[str, Presence] = MappingProxyType(
    {
        **dict.fromkeys(("present", "new", "vorhanden", "neu"), Presence.PRESENT),
        **dict.fromkeys(("absent", "resolved", "nicht vorhanden", "rückgebildet"), Presence.ABSENT),
        **dict.fromkeys(("not evaluable", "nicht beurteilbar"), Presence.UNDETERMINED),
    }
)
"""English and German; ``new`` and ``resolved`` imply a presence."""

IMAGING_MEASUREMENTS: Code = ("DCM", "126010")
MEASUREMENT_GROUP: Code = ("DCM", "125007")
TRACKING_IDENTIFIER: Code = ("DCM", "112039")
TRACKING_UID: Code = ("DCM", "112040")
FINDING: Code = ("DCM", "121071")
FINDING_SITE: Code = ("SCT", "363698007")
LATERALITY: Code = ("SCT", "272741003")
TOPOGRAPHICAL_MODIFIER: Code = ("SCT", "106233006")
PROBABILITY: Code = ("DCM", "122157")
THRESHOLD: Code = ("99SIJNODE", "threshold")
PRESENCE: Code = ("DCM", "121052")
COMMENT: Code = ("DCM", "121106")
SUMMARY: Code = ("LN", "55112-7")
PERCENT: Code = ("UCUM", "%")
OPERATING_POINT: Code = ("99SIJNODE", "operating-point")
OPERATING_POINTS: Mapping[Code, OperatingPoint] = MappingProxyType(
    {
        ("99SIJNODE", "balanced"): OperatingPoint.BALANCED,
        ("99SIJNODE", "sensitive"): OperatingPoint.SENSITIVE,
        ("99SIJNODE", "specific"): OperatingPoint.SPECIFIC,
    }
)
BURDEN_SCORES: Code = ("99SIJNODE", "burden-scores")
BURDENS: Mapping[Code, BurdenName] = MappingProxyType(
    {
        ("99SIJNODE", "sparcc-inflamm"): BurdenName.SPARCC_INFLAMMATION,
        ("99SIJNODE", "sss-fat"): BurdenName.SSS_FAT,
        ("99SIJNODE", "sss-erosion"): BurdenName.SSS_EROSION,
        ("99SIJNODE", "berlin-oedema"): BurdenName.BERLIN_OEDEMA,
        ("99SIJNODE", "berlin-fat"): BurdenName.BERLIN_FAT,
    }
)
BURDEN_LIMITS: tuple[Code, Code, Code] = (
    ("99SIJNODE", "burden-value"),
    ("99SIJNODE", "burden-low"),
    ("99SIJNODE", "burden-high"),
)
BURDEN_MOST: Code = ("99SIJNODE", "burden-most")
PRIOR_BURDEN: Code = ("99SIJNODE", "prior-burden")
BURDEN_CHANGES: Mapping[Code, BurdenChange] = MappingProxyType(
    {
        ("99SIJNODE", "increased"): BurdenChange.INCREASED,
        ("99SIJNODE", "decreased"): BurdenChange.DECREASED,
        ("99SIJNODE", "within-error"): BurdenChange.WITHIN_ERROR,
    }
)
SCORE_UNIT: Code = ("UCUM", "{score}")

_LESION_WORDS: Mapping[str, Lesion] = MappingProxyType(
    {
        **dict.fromkeys(("oedema", "Knochenmarködem"), Lesion.OEDEMA),
        **dict.fromkeys(("erosion", "Erosion"), Lesion.EROSION),
        **dict.fromkeys(("fatty lesion", "Fettläsion"), Lesion.FATTY_LESION),
        **dict.fromkeys(("sclerosis", "Sklerose"), Lesion.SCLEROSIS),
        **dict.fromkeys(("ankylosis", "Ankylose"), Lesion.ANKYLOSIS),
    }
)
_UPPER, _LOWER = ("upper", "kranial"), ("lower", "kaudal")
_BONES: Mapping[str, tuple[Region, Region]] = MappingProxyType(
    {
        "ilium": (Region.UPPER_ILIUM, Region.LOWER_ILIUM),
        "sacrum": (Region.UPPER_SACRUM, Region.LOWER_SACRUM),
    }
)
_ALL_QUADRANTS = re.compile(r"\b(all 4 quadrants|allen 4 Quadranten)\b")
_SIDE = re.compile(
    r"\b(?:(left|links|linke[rsnm]?)|(?:right|rechts|rechte[rsnm]?))\b", re.IGNORECASE
)
"""English and German."""
_PERCENT = re.compile(r"(\d+[.,]\d)\s*%")


def sides_named(text: str) -> list[Side]:
    """The sides that a text names, in its order."""
    return [Side.LEFT if found[1] else Side.RIGHT for found in _SIDE.finditer(text)]


def percents_in(text: str) -> list[str]:
    """The percentages with one decimal that a text tells, with a point."""
    return [found.replace(",", ".") for found in _PERCENT.findall(text)]


def names_only(text: str, side: Side) -> bool:
    """Whether a text names this side and not the other."""
    return set(sides_named(text)) == {side}


def heads_named(sentence: str) -> set[Head]:
    """The lesions and regions that a conclusion names, in English or German.

    Lesions are separated by semicolons, the bones of a lesion by commas.
    """
    clauses = sentence.partition(":")[2].rstrip(".").split(";")
    return {head for clause in clauses for head in _heads_in(clause.strip())}


def _heads_in(clause: str) -> set[Head]:
    word = next((word for word in _LESION_WORDS if clause.startswith(word)), None)
    if word is None:
        return set()
    return {Head(_LESION_WORDS[word], region) for region in _regions_in(clause)}


def _regions_in(clause: str) -> set[Region]:
    if _ALL_QUADRANTS.search(clause):
        return {region for parts in _BONES.values() for region in parts}
    named = {
        region
        for phrase in clause.lower().split(",")
        for bone, parts in _BONES.items()
        if bone in phrase
        for words, region in zip((_UPPER, _LOWER), parts, strict=True)
        if any(word in phrase for word in words)
    }
    return named or {Region.JOINT}
