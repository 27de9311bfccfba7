"""The content tree of a structured report.

Source: DICOM PS3.3 C.17.3 (SR Document Content), C.18.1 (numeric measurement).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.dicom.read_back.vocabulary import PERCENT, SCORE_UNIT, Code
from sij_node.errors import ResultsInconsistent


@dataclass(frozen=True, eq=False)
class Item:
    """A content item with its children."""

    attributes: Attributes

    @cached_property
    def name(self) -> Code | None:
        """Concept name; None if it has none."""
        names = self.attributes.items("ConceptNameCodeSequence")
        return code_of(names[0]) if names else None

    @property
    def value_type(self) -> str:
        """For instance TEXT, CODE, NUM, SCOORD."""
        return self.attributes.text("ValueType")

    @cached_property
    def children(self) -> tuple["Item", ...]:
        """The child items."""
        return tuple(Item(one) for one in self.attributes.items("ContentSequence"))

    def called(self, name: Code) -> tuple["Item", ...]:
        """The children with a concept name."""
        return tuple(child for child in self.children if child.name == name)

    def only(self, name: Code) -> "Item":
        """The only child with a concept name.

        Raises
        ------
        ResultsInconsistent
            If there are none or several.
        """
        found = self.called(name)
        if len(found) != 1:
            raise ResultsInconsistent(f"There are {len(found)} content items {name[1]}, not one.")
        return found[0]

    def descendants(self) -> Iterator["Item"]:
        """All items below, parents before their children."""
        for child in self.children:
            yield child
            yield from child.descendants()

    @property
    def code(self) -> Code:
        """Value of a CODE item."""
        return code_of(self.attributes.item("ConceptCodeSequence"))

    @property
    def meaning(self) -> str:
        """Code meaning of a CODE item."""
        return self.attributes.item("ConceptCodeSequence").text("CodeMeaning")

    @property
    def text(self) -> str:
        """Value of a TEXT item."""
        return self.attributes.text("TextValue")

    @property
    def percent(self) -> float | None:
        """Value of a NUM item in percent; None if it has a reason instead of a value."""
        return self._number(PERCENT)

    @property
    def score(self) -> int:
        """Value of a NUM item that is a score.

        Raises
        ------
        ResultsInconsistent
            If it is no whole number, or has another unit.
        """
        value = self._number(SCORE_UNIT)
        if value is None or value != int(value):
            raise ResultsInconsistent(f"The score {value} is not a whole number.")
        return int(value)

    def _number(self, unit: Code) -> float | None:
        measured = self.attributes.items("MeasuredValueSequence")
        if not measured:
            return None
        if code_of(measured[0].item("MeasurementUnitsCodeSequence")) != unit:
            raise ResultsInconsistent(f"A value is not in {unit[1]}.")
        (value,) = measured[0].numbers("NumericValue")
        return value


def code_of(item: Attributes) -> Code:
    """Coding scheme designator and code value of a code sequence item."""
    return item.text("CodingSchemeDesignator"), item.text("CodeValue")
