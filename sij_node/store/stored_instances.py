"""Reading stored instances again, and noticing when the disk has changed them."""

import hashlib
from io import BytesIO

from pydicom import Dataset, dcmread

from sij_node.dicom.headers import READING_ERRORS
from sij_node.dicom.part10 import dataset_offset
from sij_node.domain.job import Result
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import DatasetUnreadable, ImagesCleared, StoredCopyDamaged
from sij_node.store.spool import Spool


def read_header(spool: Spool, instance: ReceivedInstance) -> Dataset:
    """A stored instance without its pixel data.

    Raises
    ------
    DatasetUnreadable
        If it cannot be understood.
    SpoolUnavailable
        If it cannot be read from the disk.
    """
    with spool.open(instance.file_name) as file:
        try:
            return dcmread(file, stop_before_pixels=True)
        except READING_ERRORS as error:
            raise _unreadable(instance, error) from error


def read_checked(spool: Spool, instance: ReceivedInstance) -> Dataset:
    """A stored instance, after its bytes were compared with those that were received.

    Raises
    ------
    DatasetUnreadable
        If it cannot be understood.
    StoredCopyDamaged
        If the disk gives back other bytes than were stored.
    SpoolUnavailable
        If it cannot be read from the disk.
    """
    with spool.open(instance.file_name) as file:
        content = file.read()
    offset = dataset_offset(content[:256])
    if hashlib.sha256(memoryview(content)[offset:]).hexdigest() != instance.sha256:
        raise StoredCopyDamaged(
            f"The stored copy of {instance.sop_instance_uid} has changed on the disk. "
            "Check the disk, remove the file and send the instance again."
        )
    try:
        return dcmread(BytesIO(content))
    except READING_ERRORS as error:
        raise _unreadable(instance, error) from error


def read_result(spool: Spool, result: Result) -> bytes:
    """The file of a result, after its bytes were compared with those that were stored.

    Raises
    ------
    ImagesCleared
        If its file was cleared away.
    StoredCopyDamaged
        If the disk gives back other bytes than were stored.
    SpoolUnavailable
        If it cannot be read from the disk.
    """
    if not result.file_name:
        raise ImagesCleared(
            f"The file of {result.sop_instance_uid} was cleared from the spool. The archive has "
            "it, or the study can be sent and analysed again."
        )
    content = spool.read_result(result.file_name)
    if hashlib.sha256(content).hexdigest() != result.sha256:
        raise StoredCopyDamaged(
            f"The file of {result.sop_instance_uid} has changed on the disk. "
            "Check the disk and analyse the study again."
        )
    return content


def _unreadable(instance: ReceivedInstance, error: Exception) -> DatasetUnreadable:
    return DatasetUnreadable(
        f"Instance {instance.sop_instance_uid} cannot be read ({type(error).__name__}). "
        "Check it at the sender and send it again."
    )
