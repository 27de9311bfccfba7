"""The text of a PDF page with the position of each line, read by pypdf.

Source: ISO 32000-1 9.4 (text objects).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from sij_node.errors import ResultsInconsistent


@dataclass(frozen=True)
class TextLine:
    """One line of text.

    Parameters
    ----------
    across_pt, up_pt
        Start of the line, from the lower left corner of the page.
    """

    text: str
    across_pt: float
    up_pt: float


def lines_of_text(pdf: bytes) -> list[TextLine]:
    """Every line of text of a one-page PDF, in drawing order.

    Raises
    ------
    ResultsInconsistent
        If it is not a readable PDF of one page.
    """
    found: list[TextLine] = []

    def add(
        text: str,
        _: Sequence[float],
        matrix: Sequence[float],
        __: Mapping[str, object] | None,
        ___: float,
    ) -> None:
        if text.strip():
            found.append(TextLine(text.strip(), matrix[4], matrix[5]))

    try:
        (page,) = PdfReader(BytesIO(pdf), strict=True).pages
        page.extract_text(visitor_text=add)
    except PyPdfError as error:
        raise ResultsInconsistent(f"The PDF cannot be read ({type(error).__name__}).") from error
    return found
