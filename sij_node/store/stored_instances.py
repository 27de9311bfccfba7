"""Reads stored instances and results, with detection of files changed on disk."""

import hashlib
from io import BytesIO

from pydicom import Dataset, dcmread
from sqlalchemy import select

from sij_node.dicom.character_sets import repair_texts
from sij_node.dicom.headers import READING_ERRORS
from sij_node.dicom.part10 import FILE_META_BYTES, read_file_meta
from sij_node.domain.job import Result
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import DatasetUnreadable, ImagesCleared, StoredCopyDamaged
from sij_node.store.database import Database
from sij_node.store.spool import Spool
from sij_node.store.tables import results


def read_header(spool: Spool, instance: ReceivedInstance) -> Dataset:
    """A stored instance without its pixel data.

    Raises
    ------
    DatasetUnreadable
        If it is not valid DICOM.
    SpoolUnavailable
        If it cannot be read from disk.
    """
    with spool.open(instance.file_name) as file:
        try:
            return repair_texts(dcmread(file, stop_before_pixels=True))
        except READING_ERRORS as error:
            raise _unreadable(instance, error) from error


def read_checked(spool: Spool, instance: ReceivedInstance) -> Dataset:
    """A stored instance, after its digest was compared with that of the received bytes.

    Raises
    ------
    DatasetUnreadable
        If it is not valid DICOM.
    StoredCopyDamaged
        If the file has changed on disk.
    SpoolUnavailable
        If it cannot be read from disk.
    """
    with spool.open(instance.file_name) as file:
        content = file.read()
    offset = read_file_meta(content[:FILE_META_BYTES]).dataset_offset
    if hashlib.sha256(memoryview(content)[offset:]).hexdigest() != instance.sha256:
        raise StoredCopyDamaged(
            f"The stored copy of {instance.sop_instance_uid} has changed on disk. "
            "Check the disk, remove the file and send the instance again."
        )
    try:
        return repair_texts(dcmread(BytesIO(content)))
    except READING_ERRORS as error:
        raise _unreadable(instance, error) from error


def read_result(spool: Spool, result: Result) -> bytes:
    """The file of a result, after its digest was compared with that of the stored bytes.

    Raises
    ------
    ImagesCleared
        If its file was cleared from the spool.
    StoredCopyDamaged
        If the file has changed on disk.
    SpoolUnavailable
        If it cannot be read from disk.
    """
    if not result.file_name:
        raise ImagesCleared(
            f"The file of {result.sop_instance_uid} was cleared from the spool. Retrieve it from "
            "the archive, or send the study again."
        )
    content = spool.read_result(result.file_name)
    if hashlib.sha256(content).hexdigest() != result.sha256:
        raise StoredCopyDamaged(
            f"The file of {result.sop_instance_uid} has changed on disk. "
            "Check the disk and analyse the study again."
        )
    return content


def _unreadable(instance: ReceivedInstance, error: Exception) -> DatasetUnreadable:
    return DatasetUnreadable(
        f"Instance {instance.sop_instance_uid} cannot be read ({type(error).__name__}). "
        "Check it at the sender and send it again."
    )


def own_result(database: Database, spool: Spool, sop_instance_uid: str) -> bytes | None:
    """Content of a result of the node; None if there is none, or its file was cleared."""
    of_uid = select(results.c.file_name).where(results.c.sop_instance_uid == sop_instance_uid)
    row = database.row(of_uid)
    if row is None or not spool.path_of_result(row.file_name or "-").is_file():
        return None
    return spool.read_result(row.file_name)
