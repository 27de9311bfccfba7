"""The text of the PDF report: every score and word is in the column of its side.

Source: DICOM PS3.3 C.24.2 (Encapsulated Document).
"""

import re
from collections.abc import Iterable, Sequence

from models.findings import HEADS, POSITIONS, Position, Presence, Side
from sij_node.dicom.read_back.pdf_text import TextLine, lines_of_text
from sij_node.dicom.read_back.result_reader import Attributes
from sij_node.dicom.read_back.vocabulary import (
    PRESENCE_IN_WORDS,
    names_only,
    percents_in,
    sides_named,
)
from sij_node.errors import ResultsInconsistent
from sij_node.verify.check_scores import shown_percent
from sij_node.verify.expected_results import ExpectedResults

_SAME_ROW_PT = 3.0
_NOW = re.compile(r"\d+[.,]\d %")
_BEFORE = re.compile(r"\((\d+[.,]\d %|–)\)")


def check_pdf_report(document: Attributes, evidence: ExpectedResults) -> None:
    """Compare the text of the PDF with the findings of each side.

    Raises
    ------
    ResultsInconsistent
        If a score, a presence or a column differs, or the patient's identifier is missing.
    """
    length = document.integer("EncapsulatedDocumentLength")
    pdf = document.octets("EncapsulatedDocument")[:length]
    words = lines_of_text(pdf)
    _check_patient(document, words)
    header = _header(words)
    numbers = [one for one in words if one.up_pt < header[Side.LEFT].up_pt]
    _check_numbers(numbers, header, evidence, _NOW)
    if evidence.since.prior:
        _check_numbers(numbers, header, evidence, _BEFORE)
    _check_presences(numbers, header, evidence)
    _check_lesions_in_words(words, evidence)


def _check_patient(document: Attributes, words: Sequence[TextLine]) -> None:
    """An identifier in letters that are written as they are read."""
    identifier = document.text("PatientID")
    said = "".join(one.text for one in words).replace(" ", "")
    if identifier.isascii() and identifier.replace(" ", "") not in said:
        raise ResultsInconsistent("The PDF does not show the Patient ID.")


def _header(words: Iterable[TextLine]) -> dict[Side, TextLine]:
    """The words right and left above the table, lowest on the page; right is on the left."""
    sides = [one for one in words if one.text.isupper() and len(sides_named(one.text)) == 1]
    lowest = min(one.up_pt for one in sides)
    found = {
        sides_named(one.text)[0]: one for one in sides if abs(one.up_pt - lowest) < _SAME_ROW_PT
    }
    if set(found) != set(Side) or found[Side.LEFT].across_pt <= found[Side.RIGHT].across_pt:
        raise ResultsInconsistent("The table of the PDF has no right column beside a left one.")
    return found


def _side_of(one: TextLine, header: dict[Side, TextLine]) -> Side:
    return Side.LEFT if one.across_pt >= header[Side.LEFT].across_pt else Side.RIGHT


def _check_numbers(
    words: Sequence[TextLine],
    header: dict[Side, TextLine],
    evidence: ExpectedResults,
    form: re.Pattern[str],
) -> None:
    """From above to below, the numbers of each side are those of its heads."""
    told = [one for one in words if form.fullmatch(one.text)]
    for side in Side:
        mine = [
            one.text.replace(",", ".") for one in _downwards(told) if _side_of(one, header) is side
        ]
        expected = [_told(Position(side, head), evidence, form) for head in HEADS]
        if mine != [each for each in expected if each]:
            raise ResultsInconsistent(f"The PDF shows other scores for the {side} side.")


def _downwards(words: Iterable[TextLine]) -> list[TextLine]:
    return sorted(words, key=lambda one: -one.up_pt)


def _told(position: Position, evidence: ExpectedResults, form: re.Pattern[str]) -> str:
    if form is _NOW:
        now = shown_percent(evidence.finding_at[position])
        return f"{now} %" if now else ""
    before = evidence.since.before(position)
    then = shown_percent(before) if before else None
    return f"({then} %)" if then else "(–)"


def _check_presences(
    words: Sequence[TextLine], header: dict[Side, TextLine], evidence: ExpectedResults
) -> None:
    told = [one for one in words if one.text in PRESENCE_IN_WORDS]
    for side in Side:
        mine = [
            PRESENCE_IN_WORDS[one.text] for one in _downwards(told) if _side_of(one, header) is side
        ]
        if mine != [evidence.finding_at[Position(side, head)].presence for head in HEADS]:
            raise ResultsInconsistent(f"The PDF shows other presences for the {side} side.")


def _check_lesions_in_words(words: Iterable[TextLine], evidence: ExpectedResults) -> None:
    """What is written below key images is a lesion that is present, with its side and number."""
    present = {
        (p.side, shown_percent(evidence.finding_at[p]))
        for p in POSITIONS
        if evidence.finding_at[p].presence is Presence.PRESENT
    }
    for one in words:
        sides, percents = sides_named(one.text), percents_in(one.text)
        if sides and percents:
            is_found = names_only(one.text, sides[0]) and (sides[0], percents[0]) in present
            if not is_found or len(percents) != 1:
                raise ResultsInconsistent(
                    "A lesion listed below the key images was not found on that side."
                )
