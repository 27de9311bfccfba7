"""Before anything is sent, every result is read back and compared with the findings.

What goes wrong between a finding and its object (a side, a slice, half a pixel, another patient)
is not seen by a validator. So the files, as they will be sent, are read as a receiver reads them,
by code that shares nothing with the code that wrote them.
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
"""What reading raises where an attribute, an item or a code is missing or malformed."""


def check_results(files: Iterable[bytes], evidence: ExpectedResults) -> None:
    """Read results back and compare them with the findings.

    Parameters
    ----------
    files
        Every result of the study as a DICOM file.
    evidence
        The images, contours, label maps and findings that they were made from.

    Raises
    ------
    ResultsInconsistent
        Naming the object, what differs and by how much. Nothing may be sent then.
    """
    with _named("Analysis"):
        check_sides_of_findings(evidence)
    results = []
    for number, file in enumerate(files, 1):
        with _named(f"Result {number}"):
            results.append(read_result(file))
    with _named("Results"):
        check_uids(results, evidence)
        known = existing(results, evidence)
    for result in results:
        with _named(_name_of(result)):
            _check_result(result, known, evidence)


def _check_result(
    result: Attributes, known: Mapping[str, Existing], evidence: ExpectedResults
) -> None:
    check_belongs(result, evidence)
    check_references(result, known, evidence)
    if result.text("SOPClassUID") == SegmentationStorage:
        check_masks(result, evidence)
    elif result.text("Modality") == "PR":
        check_presentation(result, evidence)
    elif result.text("Modality") == "SR":
        check_report(result, evidence)
    elif result.text("Modality") == "DOC":
        check_pdf_report(result, evidence)
    elif result.text("Modality") == "OT":
        check_capture(result)


def _name_of(result: Attributes) -> str:
    told = [result.text(keyword) for keyword in ("Modality", "SOPInstanceUID", "SeriesDescription")]
    return "{} {} ({})".format(*told)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say which object differs; one that cannot be read differs too."""
    try:
        yield
    except ResultsInconsistent as error:
        raise _inconsistent(what, str(error)) from error
    except _READING_ERRORS as error:
        raise _inconsistent(what, f"It cannot be read back ({type(error).__name__}).") from error


def _inconsistent(what: str, difference: str) -> ResultsInconsistent:
    return ResultsInconsistent(
        f"{what} differs from what was found. {difference} Nothing was sent; this is an error of "
        "the node: keep the study and report it."
    )
