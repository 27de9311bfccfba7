"""The DICOM files of a folder, ready to be sent."""

from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial

from sij_node.network.store_scu import OutgoingObject

_SOP_INSTANCE_UID = 0x00080018


@dataclass(frozen=True)
class FolderContents:
    """What can be sent, and the files that cannot because they are no DICOM files."""

    objects: tuple[OutgoingObject, ...]
    left_out: tuple[Path, ...]


def contents_of(folder: Path) -> FolderContents:
    """Look at every file below a folder, or at one file."""
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    found = {file: _outgoing(file) for file in files}
    return FolderContents(
        tuple(item for item in found.values() if item is not None),
        tuple(file for file, item in found.items() if item is None),
    )


def _outgoing(file: Path) -> OutgoingObject | None:
    """The file as an object to send; None unless it is a Part 10 file of an instance."""
    try:
        with file.open("rb") as opened:
            dataset = read_partial(opened, stop_when=lambda tag, vr, size: tag > _SOP_INSTANCE_UID)
    except (InvalidDicomError, BytesLengthException, NotImplementedError, OSError, ValueError):
        return None
    uid, sop_class = dataset.get("SOPInstanceUID"), dataset.get("SOPClassUID")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not (uid and sop_class and syntax):
        return None
    return OutgoingObject(str(sop_class), str(uid), str(syntax), file)
