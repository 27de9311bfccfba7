"""The rules of the SR templates used by the node, as data, and a check of reports against them.

No validator checks templates, so the rows that our reports use are written down here by hand.
TID 1411 (a volume with measurements) is among them although the node writes no such group: its
regions are separate Segmentations. A group that claims to follow 1411 is checked against its rows.

Source: DICOM PS3.16 TID 1500, 1501, 1410, 1411, 300, 320, 1204, 1001, 1004, 4019; PS3.3 A.35.3.3
and A.35.13.3 (which value types and relationships a class of reports may have).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

HAS_OBS, HAS_MOD = "HAS OBS CONTEXT", "HAS CONCEPT MOD"
CONTAINS, INFERRED, SELECTED = "CONTAINS", "INFERRED FROM", "SELECTED FROM"
MANY = 10_000


@dataclass(frozen=True)
class TemplateRow:
    """A content item that occurs `least` to `most` times.

    Its children are not looked at where they are None.
    """

    relationship: str
    value_type: str
    concept: str
    least: int
    most: int
    children: tuple["TemplateRow", ...] | None = ()
    value: str | None = None


def one(relationship, value_type, concept, *children, value=None) -> TemplateRow:
    return TemplateRow(relationship, value_type, concept, 1, 1, children, value)


def optional(relationship, value_type, concept, *children, value=None) -> TemplateRow:
    return TemplateRow(relationship, value_type, concept, 0, 1, children, value)


def many(relationship, value_type, concept, *children, least=0) -> TemplateRow:
    return TemplateRow(relationship, value_type, concept, least, MANY, children)


IMAGE = one(SELECTED, "IMAGE", "121324")
SITE = one(
    HAS_MOD, "CODE", "363698007", one(HAS_MOD, "CODE", "272741003"),
    optional(HAS_MOD, "CODE", "106233006"),
)  # fmt: skip
TRACKING = (one(HAS_OBS, "TEXT", "112039"), one(HAS_OBS, "UIDREF", "112040"))
ALGORITHM = (
    one(HAS_MOD, "TEXT", "111001"),
    one(HAS_MOD, "TEXT", "111003"),
    many(HAS_MOD, "TEXT", "111002"),
    optional(HAS_MOD, "TEXT", "122405"),
)
OBSERVER = (
    one(HAS_MOD, "CODE", "121049"),
    one(HAS_OBS, "CODE", "121005", value="121007"),
    one(HAS_OBS, "UIDREF", "121012"),
    *(optional(HAS_OBS, "TEXT", f"1210{number}") for number in (13, 14, 15, 16)),
    many(HAS_MOD, "CODE", "121058", least=1),
)
LESION_GROUP = (
    *TRACKING,
    one(CONTAINS, "CODE", "276214006"),
    one(CONTAINS, "CODE", "121071"),
    SITE,
    *ALGORITHM,
    one(CONTAINS, "NUM", "122157", one(INFERRED, "SCOORD", "121112", IMAGE)),
    one(CONTAINS, "CODE", "121052"),
    one(CONTAINS, "TEXT", "121106"),
)
"""TID 1501, with a measurement by TID 300 and its source by TID 320."""
SITES = many(
    HAS_MOD, "CODE", "363698007", optional(HAS_MOD, "CODE", "272741003"),
    optional(HAS_MOD, "CODE", "106233006"), least=1,
)  # fmt: skip
CONTOUR_GROUP = (
    *TRACKING,
    one(CONTAINS, "CODE", "276214006"),
    one(CONTAINS, "CODE", "121071", one(HAS_MOD, "CODE", "272741003")),
    one(HAS_MOD, "CODE", "130400", value="130490"),
    *ALGORITHM,
    one(CONTAINS, "SCOORD", "111030", IMAGE),
)
"""TID 1410; the laterality of the finding is an extension, and there is no finding site."""
GROUP = (CONTAINS, "CONTAINER", "125007")
VOLUME_GROUP = (
    *TRACKING,
    optional(CONTAINS, "CODE", "276214006"),
    optional(CONTAINS, "CODE", "121071"),
    SITES,
    *ALGORITHM,
    one(CONTAINS, "IMAGE", "121191"),
    one(CONTAINS, "IMAGE", "121233"),
    many(CONTAINS, "NUM", "122157"),
)
"""TID 1411, of a segment and the series it was drawn on."""
GROUPS = {"1501": LESION_GROUP, "1410": CONTOUR_GROUP, "1411": VOLUME_GROUP}
SCHEMES = {
    **dict.fromkeys(("363698007", "272741003", "106233006", "276214006"), "SCT"),
    **dict.fromkeys(("55112-7", "18834-2"), "LN"),
}
"""Names of concepts with private codes; all others use DICOM's numbers."""
COMPREHENSIVE, COMPREHENSIVE_3D = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34"
RELATIONS = frozenset(
    {
        *(("CONTAINER", CONTAINS, kind) for kind in (
            "TEXT", "CODE", "NUM", "DATE", "COMPOSITE", "IMAGE", "SCOORD", "CONTAINER",
        )),
        *(("CONTAINER", HAS_OBS, kind) for kind in ("TEXT", "CODE", "UIDREF", "DATE")),
        *((kind, HAS_MOD, value) for kind in ("CONTAINER", "CODE") for value in ("TEXT", "CODE")),
        ("NUM", INFERRED, "SCOORD"),
        ("SCOORD", SELECTED, "IMAGE"),
    }
)  # fmt: skip
"""Parent, relationship and child allowed by both SOP classes and used by the node."""


def violations_of_class(report: Dataset) -> list[str]:
    """Violations of the SOP class: relationships, coding schemes, root template."""
    assert report.SOPClassUID in (COMPREHENSIVE, COMPREHENSIVE_3D)
    (template,) = report.ContentTemplateSequence
    found = [] if template.MappingResource == "DCMR" else ["root: not of DCMR"]
    if template.TemplateIdentifier != "1500":
        found.append(f"root: template {template.TemplateIdentifier}")
    for parent, child in _edges(report):
        edge = (parent.ValueType, child.RelationshipType, child.ValueType)
        if edge not in RELATIONS:
            found.append(f"{' '.join(edge)} is not allowed")
        name = child.ConceptNameCodeSequence[0]
        usual = "DCM" if name.CodeValue.isdigit() else "99SIJNODE"
        if name.CodingSchemeDesignator != SCHEMES.get(name.CodeValue, usual):
            found.append(f"{name.CodeValue} in scheme {name.CodingSchemeDesignator}")
    return found


def _edges(parent: Dataset) -> Iterator[tuple[Dataset, Dataset]]:
    for child in parent.get("ContentSequence", ()):
        yield parent, child
        yield from _edges(child)


MEASUREMENTS = TemplateRow(CONTAINS, "CONTAINER", "126010", 1, 1, None)
REPORT = (*OBSERVER, optional(CONTAINS, "TEXT", "121106"), MEASUREMENTS)
"""TID 1500 without its groups; it is extensible, and the comment is an extension."""


SCORE_GROUP = (
    *TRACKING,
    one(CONTAINS, "CODE", "276214006"),
    one(CONTAINS, "CODE", "121071"),
    SITE,
    *ALGORITHM,
    one(CONTAINS, "NUM", "122157"),
    one(CONTAINS, "NUM", "threshold"),
    one(CONTAINS, "CODE", "operating-point"),
    optional(CONTAINS, "NUM", "prior-score"),
    optional(CONTAINS, "NUM", "prior-threshold"),
    optional(CONTAINS, "CODE", "change"),
    one(CONTAINS, "CODE", "121052"),
    one(CONTAINS, "TEXT", "121106"),
)
"""TID 1501 without coordinates; it is extensible, and the prior value is an extension."""
BURDENS = ("sparcc-inflamm", "sss-fat", "sss-erosion", "berlin-oedema", "berlin-fat")


def _burden(name: str) -> TemplateRow:
    """A score of lesion burden with its band, and the prior one."""
    numbers = (f"burden-{part}" for part in ("value", "low", "high", "most"))
    return optional(
        CONTAINS, "CONTAINER", name,
        *(one(CONTAINS, "NUM", number) for number in numbers),
        optional(CONTAINS, "NUM", "prior-burden"),
        optional(CONTAINS, "CODE", "change"),
    )  # fmt: skip


PREVIOUS = optional(
    CONTAINS, "CONTAINER", "18834-2",
    one(CONTAINS, "COMPOSITE", "122075"),
    one(CONTAINS, "DATE", "111060"),
    one(CONTAINS, "CODE", "prior-weights"),
    one(CONTAINS, "TEXT", "change-table"),
)  # fmt: skip
SCORES = (
    *OBSERVER,
    one(CONTAINS, "TEXT", "55112-7"),
    one(CONTAINS, "TEXT", "121071"),
    PREVIOUS,
    MEASUREMENTS,
    optional(CONTAINS, "CONTAINER", "burden-scores", *map(_burden, BURDENS)),
)


REFUSED_GROUP = (
    *TRACKING,
    one(CONTAINS, "CODE", "276214006"),
    one(CONTAINS, "CODE", "121071"),
    SITE,
    one(CONTAINS, "CODE", "121052", value="121059"),
    one(CONTAINS, "TEXT", "121106"),
)
"""TID 1501 without a measurement, as nothing was analysed."""
REFUSAL = (
    *OBSERVER,
    one(CONTAINS, "TEXT", "55112-7"),
    one(CONTAINS, "CODE", "reason"),
    MEASUREMENTS,
)


def violations_of_refusal(report: Dataset) -> list[str]:
    """Violations in a "not analysed" report and its groups."""
    found = violations_of_class(report) + violations(report, REFUSAL)
    (heading,) = [item for item in report.ContentSequence if _is(item, MEASUREMENTS)]
    for number, group in enumerate(heading.ContentSequence):
        found += _template(group, "1501", number)
        found += violations(group, REFUSED_GROUP, f"group {number}")
    return found


def violations_of_scores(report: Dataset) -> list[str]:
    """Violations in a report of all scores and its groups."""
    found = violations_of_class(report) + violations(report, SCORES)
    (heading,) = [item for item in report.ContentSequence if _is(item, MEASUREMENTS)]
    for number, group in enumerate(heading.ContentSequence):
        found += _template(group, "1501", number)
        found += violations(group, SCORE_GROUP, f"group {number}")
    return found


def _template(group: Dataset, identifier: str, number: int) -> list[str]:
    (said,) = group.ContentTemplateSequence
    follows = (said.TemplateIdentifier, said.MappingResource) == (identifier, "DCMR")
    return [] if follows else [f"group {number}: not by TID {identifier}"]


def violations_of_report(report: Dataset) -> list[str]:
    """Violations of TID 1500 and its groups' templates in a report."""
    found = violations_of_class(report) + violations(report, REPORT)
    (heading,) = [item for item in report.ContentSequence if _is(item, MEASUREMENTS)]
    for number, group in enumerate(heading.ContentSequence):
        template = group.ContentTemplateSequence[0].TemplateIdentifier
        if (group.RelationshipType, group.ValueType, _name(group)) != GROUP:
            found.append(f"{number} is no measurement group")
        found += violations(group, GROUPS[template], f"group {number} (TID {template})")
    return found


def violations(parent: Dataset, rows: tuple[TemplateRow, ...], where: str = "") -> list[str]:
    """Violations of a template's rows in an item's children."""
    rest = list(parent.get("ContentSequence", ()))
    found: list[str] = []
    for row in rows:
        mine = [item for item in rest if _is(item, row)]
        rest = [item for item in rest if not _is(item, row)]
        place = f"{where}/{row.concept}"
        if not row.least <= len(mine) <= row.most:
            found.append(f"{place}: {len(mine)} times")
        for item in mine:
            if row.children is not None:
                found += violations(item, row.children, place)
            if row.value and item.ConceptCodeSequence[0].CodeValue != row.value:
                found.append(f"{place}: another value")
    return found + [f"{where}: {item.ValueType} {_name(item)} has no row" for item in rest]


def _is(item: Dataset, row: TemplateRow) -> bool:
    return (item.RelationshipType, item.ValueType, _name(item)) == (
        row.relationship,
        row.value_type,
        row.concept,
    )


def _name(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeValue
