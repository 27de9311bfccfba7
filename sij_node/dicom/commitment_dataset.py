"""Datasets of storage commitment: action information and event information.

Source: DICOM PS3.4 Tables J.3-1 and J.3-2.
"""

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import TypeVar

from pydicom import Dataset
from pydicom.filereader import read_dataset

from sij_node.dicom.dataset_scan import check_structure, is_uid
from sij_node.dicom.headers import READING_ERRORS
from sij_node.domain.storage_commitment import (
    PROCESSING_FAILURE,
    CommitmentReport,
    CommitmentRequest,
    ObjectReference,
)
from sij_node.errors import DatasetUnreadable

Content = TypeVar("Content")

MAX_NESTING = 4
MAX_OBJECTS = 20_000


def request_dataset(request: CommitmentRequest) -> Dataset:
    """Action information of an N-ACTION."""
    dataset = Dataset()
    dataset.TransactionUID = request.transaction_uid
    dataset.ReferencedSOPSequence = [_reference(one) for one in request.objects]
    return dataset


def report_dataset(
    report: CommitmentReport, objects: Iterable[ObjectReference], ae_title: str
) -> Dataset:
    """Event information of an N-EVENT-REPORT.

    Parameters
    ----------
    objects
        As requested, with their SOP classes.
    ae_title
        Retrieve AE Title.
    """
    objects = tuple(objects)
    dataset = Dataset()
    dataset.TransactionUID = report.transaction_uid
    dataset.RetrieveAETitle = ae_title
    committed = [one for one in objects if one[1] in report.committed]
    if committed:
        dataset.ReferencedSOPSequence = [_reference(one) for one in committed]
    if report.failed:
        failed = [_reference(one) for one in objects if one[1] in report.failed]
        for item in failed:
            item.FailureReason = report.failed[item.ReferencedSOPInstanceUID]
        dataset.FailedSOPSequence = failed
    return dataset


def _reference(one: ObjectReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one
    return item


def read_request(content: bytes, explicit_vr: bool) -> CommitmentRequest:
    """The action information of an N-ACTION, from its bytes.

    Raises
    ------
    DatasetUnreadable
        If it is malformed, or requests nothing.
    """
    return _read(content, explicit_vr, request_of)


def read_report(content: bytes, explicit_vr: bool) -> CommitmentReport:
    """The event information of an N-EVENT-REPORT, from its bytes.

    Raises
    ------
    DatasetUnreadable
        If it is malformed.
    """
    return _read(content, explicit_vr, report_of)


def _read(content: bytes, explicit_vr: bool, convert: Callable[[Dataset], Content]) -> Content:
    check_structure(content, explicit_vr, MAX_NESTING)
    try:
        return convert(read_dataset(BytesIO(content), not explicit_vr, is_little_endian=True))
    except READING_ERRORS as error:
        raise DatasetUnreadable(
            f"The storage commitment dataset cannot be read ({type(error).__name__})."
        ) from error


def request_of(dataset: Dataset) -> CommitmentRequest:
    """The action information of an N-ACTION; raises `DatasetUnreadable`."""
    objects = tuple(_referenced(item) for item in _items(dataset, "ReferencedSOPSequence"))
    if not objects:
        raise DatasetUnreadable("The request for storage commitment references no instance.")
    return CommitmentRequest(_uid(dataset, "TransactionUID"), objects)


def report_of(dataset: Dataset) -> CommitmentReport:
    """The event information of an N-EVENT-REPORT; raises `DatasetUnreadable`."""
    failed = {
        _referenced(item)[1]: int(item.get("FailureReason") or PROCESSING_FAILURE)
        for item in _items(dataset, "FailedSOPSequence")
    }
    named = {_referenced(item)[1] for item in _items(dataset, "ReferencedSOPSequence")}
    return CommitmentReport(
        _uid(dataset, "TransactionUID"), frozenset(named - failed.keys()), failed
    )


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    items = dataset.get(keyword) or ()
    if len(items) > MAX_OBJECTS:
        raise DatasetUnreadable(f"{keyword} has more than {MAX_OBJECTS} items.")
    return tuple(items)


def _referenced(item: Dataset) -> ObjectReference:
    return _uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")


def _uid(dataset: Dataset, keyword: str) -> str:
    uid = str(dataset.get(keyword) or "")
    if not is_uid(uid):
        raise DatasetUnreadable(f"{keyword} is missing or not a valid UID.")
    return uid
