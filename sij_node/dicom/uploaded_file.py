"""The header of an uploaded DICOM file, checked as strictly as a received instance."""

from collections.abc import Container
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import UID, ImplicitVRLittleEndian

from sij_node.dicom.dataset_scan import scan
from sij_node.dicom.headers import READING_ERRORS
from sij_node.dicom.part10 import read_file_meta
from sij_node.errors import DatasetUnreadable


def uploaded_header(content: bytes, accepted: Container[str], max_nesting: int) -> Dataset:
    """The header of an uploaded file, which is not stored.

    Like a received instance it is scanned first, so that a malicious file is rejected before a
    dataset is built from it.

    Parameters
    ----------
    accepted
        Accepted transfer syntaxes.

    Raises
    ------
    DatasetUnreadable
        If it is not a DICOM file, or the listener would reject it.
    """
    meta = read_file_meta(content)
    syntax = meta.transfer_syntax_uid
    if syntax not in accepted:
        raise DatasetUnreadable(
            f"The transfer syntax {UID(syntax).name} is not accepted. "
            "Save the file uncompressed, in little endian."
        )
    scan(memoryview(content)[meta.dataset_offset :], syntax != ImplicitVRLittleEndian, max_nesting)
    try:
        return dcmread(BytesIO(content), stop_before_pixels=True)
    except READING_ERRORS as error:
        raise DatasetUnreadable(
            f"The file cannot be read ({type(error).__name__}). Check it at its source."
        ) from error
