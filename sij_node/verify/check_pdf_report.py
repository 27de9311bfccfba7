"""Checks the text of the PDF report: every score and word is in the column of its side.

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
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NOW = re.compile(r"\d+[.,]\d %")
_BEFORE = re.compile(r"\((\d+[.,]\d %|–)\)")


def check_pdf_report(document: Attributes, expected: ExpectedResults) -> None:
    """Compare the text of the PDF with the findings of each side.

    Raises
    ------
    ResultsInconsistent
        If a score, a presence or a column differs, or the patient ID is missing.
    """
    length = document.integer("EncapsulatedDocumentLength")
    pdf = document.octets("EncapsulatedDocument")[:length]
    words = lines_of_text(pdf)
    _check_patient(document, words)
    if not expected.series:
        return _check_no_score(words)
    header = _header(words)
    numbers = [one for one in words if one.up_pt < header[Side.LEFT].up_pt]
    _check_numbers(numbers, header, expected, _NOW)
    if expected.since.prior:
        _check_numbers(numbers, header, expected, _BEFORE)
    _check_presences(numbers, header, expected)
    _check_lesions_in_words(words, expected)


def _check_patient(document: Attributes, words: Sequence[TextLine]) -> None:
    """Check that the patient ID is shown; only an ASCII one can be compared.

    Control characters are shown as question marks.
    """
    identifier = _CONTROLS.sub("?", document.text("PatientID"))
    shown = "".join(one.text for one in words).replace(" ", "")
    if identifier.isascii() and identifier.replace(" ", "") not in shown:
        raise ResultsInconsistent("The PDF does not show the Patient ID.")


def _check_no_score(words: Iterable[TextLine]) -> None:
    """Check that the page of a study that was not analysed reports nothing."""
    if any(_NOW.search(one.text) or one.text in PRESENCE_IN_WORDS for one in words):
        raise ResultsInconsistent("The PDF shows a score of a study that was not analysed.")


def _header(words: Iterable[TextLine]) -> dict[Side, TextLine]:
    """The column headings, the lowest words for right and left; right comes first."""
    sides = [one for one in words if one.text.isupper() and len(sides_named(one.text)) == 1]
    lowest = min(one.up_pt for one in sides)
    found = {
        sides_named(one.text)[0]: one for one in sides if abs(one.up_pt - lowest) < _SAME_ROW_PT
    }
    if set(found) != set(Side) or found[Side.LEFT].across_pt <= found[Side.RIGHT].across_pt:
        raise ResultsInconsistent("The table of the PDF has no right column before a left one.")
    return found


def _side_of(one: TextLine, header: dict[Side, TextLine]) -> Side:
    return Side.LEFT if one.across_pt >= header[Side.LEFT].across_pt else Side.RIGHT


def _check_numbers(
    words: Sequence[TextLine],
    header: dict[Side, TextLine],
    expected: ExpectedResults,
    form: re.Pattern[str],
) -> None:
    """Check the numbers of each side from top to bottom."""
    numbers = _downwards(one for one in words if form.fullmatch(one.text))
    for side in Side:
        mine = [one.text.replace(",", ".") for one in numbers if _side_of(one, header) is side]
        wanted = [_expected_text(Position(side, head), expected, form) for head in HEADS]
        if mine != [each for each in wanted if each]:
            raise ResultsInconsistent(f"The PDF shows different scores for the {side} side.")


def _downwards(words: Iterable[TextLine]) -> list[TextLine]:
    return sorted(words, key=lambda one: -one.up_pt)


def _expected_text(position: Position, expected: ExpectedResults, form: re.Pattern[str]) -> str:
    if form is _NOW:
        now = shown_percent(expected.finding_at[position])
        return f"{now} %" if now else ""
    before = expected.since.before(position)
    then = shown_percent(before) if before else None
    return f"({then} %)" if then else "(–)"


def _check_presences(
    words: Sequence[TextLine], header: dict[Side, TextLine], expected: ExpectedResults
) -> None:
    presences = _downwards(one for one in words if one.text in PRESENCE_IN_WORDS)
    for side in Side:
        mine = [PRESENCE_IN_WORDS[one.text] for one in presences if _side_of(one, header) is side]
        if mine != [expected.finding_at[Position(side, head)].presence for head in HEADS]:
            raise ResultsInconsistent(f"The PDF shows different presences for the {side} side.")


def _check_lesions_in_words(words: Iterable[TextLine], expected: ExpectedResults) -> None:
    """Check that each lesion named beside the key images is present, with side and score."""
    present = {
        (p.side, shown_percent(expected.finding_at[p]))
        for p in POSITIONS
        if expected.finding_at[p].presence is Presence.PRESENT
    }
    for words_of_lesion in (part for one in words for part in one.text.split(";")):
        sides, percents = sides_named(words_of_lesion), percents_in(words_of_lesion)
        if sides and percents:
            is_found = names_only(words_of_lesion, sides[0])
            if not is_found or len(percents) != 1 or (sides[0], percents[0]) not in present:
                raise ResultsInconsistent(
                    "A lesion named beside the key images was not found on that side."
                )
