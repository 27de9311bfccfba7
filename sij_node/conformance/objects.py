"""What is in the objects that the node writes: their attributes, and the items of their reports.

Nothing is listed by hand; everything is read from examples of the objects themselves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from sij_node.dicom import codes
from sij_node.results.provenance import COPIED_WHERE_GIVEN, EMPTY_WHERE_UNKNOWN

Row = tuple[str, ...]
_TOLD_BY_VALUE = frozenset(("CS", "LO", "SH", "US", "LT", "ST"))
_NEVER_TOLD = frozenset(
    ("SeriesDescription", "SoftwareVersions", "DeviceSerialNumber", "Rows", "Columns")
)
"""What differs from result to result."""
_LONGEST = 40


def attributes(made: Dataset) -> list[Row]:
    """Attribute, tag, VR, and where its value comes from."""
    return [
        (str(each.keyword), str(each.tag), each.VR, _whence(each))
        for each in made
        if each.keyword not in {*EMPTY_WHERE_UNKNOWN, *COPIED_WHERE_GIVEN, "ContentSequence"}
    ]


def _whence(element: DataElement) -> str:
    if element.is_empty:
        return "empty"
    if element.VR == "SQ":
        return ", ".join(dict.fromkeys(each.keyword for item in element.value for each in item))
    value = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)
    if element.keyword in _NEVER_TOLD or element.VR not in _TOLD_BY_VALUE or len(value) > _LONGEST:
        return "generated"
    return value


def items(report: Dataset) -> list[Row]:
    """Nesting, relationship, value type, concept and coded values of a report's content tree.

    Items that differ in nothing but their values stand once.
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
    said = []
    for item in alike:
        said += [_code(each) for each in item.get("ConceptCodeSequence", ())]
        for measured in item.get("MeasuredValueSequence", ()):
            said.append(_code(measured.MeasurementUnitsCodeSequence[0]))
        said += [_code(each) for each in item.get("NumericValueQualifierCodeSequence", ())]
        said += [str(item.GraphicType)] if "GraphicType" in item else []
        said += [
            f"TID {each.TemplateIdentifier}" for each in item.get("ContentTemplateSequence", ())
        ]
    return ", ".join(dict.fromkeys(said))


def _code(item: Dataset | None = None) -> str:
    if item is None:
        return ""
    return f"({item.CodeValue}, {item.CodingSchemeDesignator}, {item.CodeMeaning})"


def own_codes() -> list[Row]:
    """Value and meaning of every code of the private scheme."""
    named = {
        code.value: code.meaning for code in _all_codes() if code.scheme_designator == codes.SCHEME
    }
    sides = {value: f"{side} sacroiliac joint" for side, value in codes.SIDED_JOINTS.items()}
    return sorted({**named, **codes.REASONS, **sides}.items())


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
