"""The header of a DICOM file that a person uploads, checked as strictly as one from a sender."""

from collections.abc import Container
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import UID, ImplicitVRLittleEndian

from sij_node.dicom.dataset_scan import scan
from sij_node.dicom.headers import READING_ERRORS
from sij_node.dicom.part10 import beginning_of
from sij_node.errors import DatasetUnreadable


def uploaded_header(content: bytes, accepted: Container[str], max_nesting: int) -> Dataset:
    """The header of a file that a person uploads; nothing of it is stored.

    It is walked over first, as by the listener, so that what is hostile about it is found
    before anything is built from it.

    Parameters
    ----------
    accepted
        Transfer syntaxes that are taken.

    Raises
    ------
    DatasetUnreadable
        If it is no DICOM file, or would not be taken from a sender either.
    """
    syntax, offset = beginning_of(content)
    if syntax not in accepted:
        raise DatasetUnreadable(
            f"The file is encoded as {UID(syntax).name}, which the node does not take. "
            "Save it uncompressed, in little endian."
        )
    scan(memoryview(content)[offset:], syntax != ImplicitVRLittleEndian, max_nesting)
    try:
        return dcmread(BytesIO(content), stop_before_pixels=True)
    except READING_ERRORS as error:
        raise DatasetUnreadable(
            f"The file cannot be read ({type(error).__name__}). Check it where it comes from."
        ) from error
