"""The self-check: every result is read back and compared with the findings before delivery.

A DICOM validator does not notice a wrong side, slice or patient, or an offset of half a pixel. So
the encoded files are parsed like a receiver would, by code that shares nothing with the code that
wrote them.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pydicom.uid import SegmentationStorage

from sij_node.dicom.read_back.result_reader import Attributes, read_result
from sij_node.errors import ResultsInconsistent
from sij_node.verify.check_identity import (
    Existing,
    check_belongs,
    check_references,
    check_uids,
    existing,
)
from sij_node.verify.check_pdf_report import check_pdf_report
from sij_node.verify.check_presentation_state import check_presentation
from sij_node.verify.check_secondary_capture import check_capture
from sij_node.verify.check_segmentation import check_masks
from sij_node.verify.check_sides import check_sides_of_findings
from sij_node.verify.check_structured_report import check_report
from sij_node.verify.expected_results import ExpectedResults

__all__ = ["ExpectedResults", "check_results"]

_READING_ERRORS = (struct.error, LookupError, ValueError, RecursionError)
"""Raised when an attribute, an item or a code is missing or malformed."""


def check_results(files: Iterable[bytes], expected: ExpectedResults) -> None:
    """Read results back and compare them with the findings.

    Parameters
    ----------
    files
        All results of the study, encoded as DICOM files.
    expected
        The images, contours, label maps and findings that they must match.

    Raises
    ------
    ResultsInconsistent
        With the object, the difference and its size. Nothing may be sent then.
    """
    with _named("Analysis"):
        check_sides_of_findings(expected)
    results = []
    for number, file in enumerate(files, 1):
        with _named(f"Result {number}"):
            results.append(read_result(file))
    with _named("Results"):
        check_uids(results, expected)
        known = existing(results, expected)
    for result in results:
        with _named(_name_of(result)):
            _check_result(result, known, expected)


def _check_result(
    result: Attributes, known: Mapping[str, Existing], expected: ExpectedResults
) -> None:
    check_belongs(result, expected)
    check_references(result, known, expected)
    if result.text("SOPClassUID") == SegmentationStorage:
        check_masks(result, expected)
    elif result.text("Modality") == "PR":
        check_presentation(result, expected)
    elif result.text("Modality") == "SR":
        check_report(result, expected)
    elif result.text("Modality") == "DOC":
        check_pdf_report(result, expected)
    elif result.text("Modality") == "OT":
        check_capture(result)


def _name_of(result: Attributes) -> str:
    keywords = ("Modality", "SOPInstanceUID", "SeriesDescription")
    return "{} {} ({})".format(*(result.text(keyword) for keyword in keywords))


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Add the object to the error; one that cannot be read is an error too."""
    try:
        yield
    except ResultsInconsistent as error:
        raise _inconsistent(what, str(error)) from error
    except _READING_ERRORS as error:
        raise _inconsistent(what, f"It cannot be read back ({type(error).__name__}).") from error


def _inconsistent(what: str, difference: str) -> ResultsInconsistent:
    return ResultsInconsistent(
        f"{what} does not match the analysis. {difference} Nothing was sent. This is an internal "
        "error of the node: keep the study and report it."
    )
