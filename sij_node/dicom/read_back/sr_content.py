"""The content tree of a structured report, as whoever receives it would read it.

Source: DICOM PS3.3 C.17.3 (SR Document Content), C.18.1 (numeric measurement).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.dicom.read_back.vocabulary import PERCENT, Code
from sij_node.errors import ResultsInconsistent


@dataclass(frozen=True, eq=False)
class Item:
    """A content item and what it contains."""

    attributes: Attributes

    @cached_property
    def name(self) -> Code | None:
        """Its concept name; None where it has none."""
        names = self.attributes.items("ConceptNameCodeSequence")
        return code_of(names[0]) if names else None

    @property
    def value_type(self) -> str:
        """For instance TEXT, CODE, NUM, SCOORD."""
        return self.attributes.text("ValueType")

    @cached_property
    def children(self) -> tuple["Item", ...]:
        """The items within."""
        return tuple(Item(one) for one in self.attributes.items("ContentSequence"))

    def called(self, name: Code) -> tuple["Item", ...]:
        """The children of a concept name."""
        return tuple(child for child in self.children if child.name == name)

    def only(self, name: Code) -> "Item":
        """The one child of a concept name.

        Raises
        ------
        ResultsInconsistent
            If there are none or several.
        """
        found = self.called(name)
        if len(found) != 1:
            raise ResultsInconsistent(f"Content item {name[1]} is there {len(found)} times.")
        return found[0]

    def descendants(self) -> Iterator["Item"]:
        """Every item below, parents before their children."""
        for child in self.children:
            yield child
            yield from child.descendants()

    @property
    def code(self) -> Code:
        """Value of a CODE item."""
        return code_of(self.attributes.item("ConceptCodeSequence"))

    @property
    def meaning(self) -> str:
        """Value of a CODE item in words."""
        return self.attributes.item("ConceptCodeSequence").text("CodeMeaning")

    @property
    def text(self) -> str:
        """Value of a TEXT item."""
        return self.attributes.text("TextValue")

    @property
    def percent(self) -> float | None:
        """Value of a NUM item in per cent; None where a reason stands in its place."""
        measured = self.attributes.items("MeasuredValueSequence")
        if not measured:
            return None
        if code_of(measured[0].item("MeasurementUnitsCodeSequence")) != PERCENT:
            raise ResultsInconsistent("A number is not in per cent.")
        (value,) = measured[0].numbers("NumericValue")
        return value


def code_of(item: Attributes) -> Code:
    """Scheme and value of a code sequence's item."""
    return item.text("CodingSchemeDesignator"), item.text("CodeValue")
