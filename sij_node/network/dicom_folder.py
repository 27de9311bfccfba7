"""The DICOM files of a folder, and sending them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial

from sij_node.config.settings import DeliveryConfig, PeerConfig
from sij_node.errors import ConfigurationInvalid
from sij_node.network.store_scu import OutgoingObject, SendResult, StoreScu

_SOP_INSTANCE_UID = 0x00080018


@dataclass(frozen=True)
class FolderContents:
    """The DICOM instances of a folder, and the files that are not DICOM."""

    objects: tuple[OutgoingObject, ...]
    left_out: tuple[Path, ...]


def contents_of(folder: Path) -> FolderContents:
    """Read every file below a folder, or a single file."""
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    found = {file: _outgoing(file) for file in files}
    return FolderContents(
        tuple(item for item in found.values() if item is not None),
        tuple(file for file, item in found.items() if item is None),
    )


def send_contents(
    contents: FolderContents, receiver: str, called: str, calling: str
) -> Iterator[SendResult]:
    """Send the DICOM files of a folder to a Storage SCP.

    Parameters
    ----------
    receiver
        As HOST:PORT.
    called, calling
        AE titles.

    Raises
    ------
    ConfigurationInvalid
        If the receiver is not HOST:PORT, or there is nothing to send.
    DestinationUnavailable
    """
    host, _, port = receiver.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationInvalid(f"--to {receiver} is not HOST:PORT.")
    if not contents.objects:
        raise ConfigurationInvalid("There is no DICOM file to send.")
    peer = PeerConfig(ae_title=called, networks=("127.0.0.1",), host=host, port=int(port))
    yield from StoreScu(calling, DeliveryConfig()).send(peer, contents.objects)


def _outgoing(file: Path) -> OutgoingObject | None:
    """The file as an object to send; None if it is not a DICOM Part 10 instance."""
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
