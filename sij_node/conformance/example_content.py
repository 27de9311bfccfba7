"""Attributes and content items of the objects that the node writes.

Both are read from example objects; nothing is listed by hand.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from sij_node.dicom import codes
from sij_node.results.provenance import COPIED_WHERE_GIVEN, EMPTY_WHERE_UNKNOWN

Row = tuple[str, ...]
_SHOWN_BY_VALUE = frozenset(("CS", "LO", "SH", "US", "LT", "ST"))
_NEVER_SHOWN = frozenset(
    ("SeriesDescription", "SoftwareVersions", "DeviceSerialNumber", "Rows", "Columns")
)
"""Attributes that differ between results."""
_LONGEST = 40


def attributes(made: Dataset) -> list[Row]:
    """Attribute, tag, VR, and its value or source."""
    return [
        (str(each.keyword), str(each.tag), each.VR, _value_or_source(each))
        for each in made
        if each.keyword not in {*EMPTY_WHERE_UNKNOWN, *COPIED_WHERE_GIVEN, "ContentSequence"}
    ]


def _value_or_source(element: DataElement) -> str:
    if element.is_empty:
        return "empty"
    if element.VR == "SQ":
        return ", ".join(dict.fromkeys(each.keyword for item in element.value for each in item))
    value = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)
    if (
        element.keyword in _NEVER_SHOWN
        or element.VR not in _SHOWN_BY_VALUE
        or len(value) > _LONGEST
    ):
        return "generated"
    return value


def items(report: Dataset) -> list[Row]:
    """Nesting, relationship, value type, concept and coded values of a report's content tree.

    Items that differ only in their values are listed once.
    """
    root = ("", "", "CONTAINER", _code(report.ConceptNameCodeSequence[0]), "")
    return [root, *_below([report], 1)]


def _below(parents: Sequence[Dataset], depth: int) -> Iterator[Row]:
    alike: dict[tuple[str, str, str], list[Dataset]] = {}
    for parent in parents:
        for item in parent.get("ContentSequence", ()):
            name = _code(*item.get("ConceptNameCodeSequence", ())[:1])
            alike.setdefault((str(item.RelationshipType), str(item.ValueType), name), []).append(
                item
            )
    for (relationship, value_type, name), found in alike.items():
        yield (">" * depth, relationship, value_type, name, _values(found))
        yield from _below(found, depth + 1)


def _values(alike: Iterable[Dataset]) -> str:
    """Coded values, units and shapes."""
    shown = []
    for item in alike:
        shown += [_code(each) for each in item.get("ConceptCodeSequence", ())]
        for measured in item.get("MeasuredValueSequence", ()):
            shown.append(_code(measured.MeasurementUnitsCodeSequence[0]))
        shown += [_code(each) for each in item.get("NumericValueQualifierCodeSequence", ())]
        shown += [str(item.GraphicType)] if "GraphicType" in item else []
        shown += [
            f"TID {each.TemplateIdentifier}" for each in item.get("ContentTemplateSequence", ())
        ]
    return ", ".join(dict.fromkeys(shown))


def _code(item: Dataset | None = None) -> str:
    if item is None:
        return ""
    return f"({item.CodeValue}, {item.CodingSchemeDesignator}, {item.CodeMeaning})"


def own_codes() -> list[Row]:
    """Value and meaning of every code of the private scheme."""
    named = {
        code.value: code.meaning for code in _all_codes() if code.scheme_designator == codes.SCHEME
    }
    return sorted({**named, **codes.REASONS}.items())


def public_codes() -> list[Row]:
    """Value, scheme and meaning of every other code."""
    found = {
        (code.value, code.scheme_designator, code.meaning)
        for code in _all_codes()
        if code.scheme_designator != codes.SCHEME
    }
    return sorted(found, key=lambda code: (code[1], code[0]))


def _all_codes() -> Iterator[Code]:
    for stated in vars(codes).values():
        yield from _codes_in(stated)


def _codes_in(stated: object) -> Iterator[Code]:
    if isinstance(stated, Code):
        yield stated
    elif isinstance(stated, Mapping):
        yield from (code for value in stated.values() for code in _codes_in(value))
    elif isinstance(stated, tuple):
        yield from (code for value in stated for code in _codes_in(value))
