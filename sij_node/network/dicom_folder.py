"""The DICOM files of a folder, and sending them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, zip_longest
from pathlib import Path

from pydicom import dcmread

from sij_node.config.settings import DeliveryConfig, PeerConfig
from sij_node.dicom.headers import text
from sij_node.dicom.part10 import read_file_meta
from sij_node.errors import ConfigurationInvalid, DatasetUnreadable
from sij_node.network.store_scu import OutgoingObject, SendResult, StoreScu

_BEGINNING_BYTES = 1 << 16
"""Read of each file; ample for any file meta information."""


class AssociationPer(StrEnum):
    """What is sent on an association of its own, as archives differ in this."""

    FOLDER = "folder"
    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"
    INTERLEAVED = "interleaved"
    """One association that carries an image of each study in turn."""


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
    contents: FolderContents,
    receiver: str,
    called: str,
    calling: str,
    *,
    association_per: AssociationPer = AssociationPer.FOLDER,
    pause_s: float = 0.0,
) -> Iterator[SendResult]:
    """Send the DICOM files of a folder to a Storage SCP.

    Parameters
    ----------
    receiver
        As HOST:PORT.
    called, calling
        AE titles.
    association_per
        How the files are divided into associations.
    pause_s
        Between two associations.

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
    scu = StoreScu(calling, DeliveryConfig())
    for number, objects in enumerate(divided(contents.objects, association_per)):
        time.sleep(pause_s if number else 0)
        yield from scu.send(peer, objects)


def divided(
    objects: Sequence[OutgoingObject], association_per: AssociationPer
) -> list[Sequence[OutgoingObject]]:
    """The objects of each association, in the order in which they are sent."""
    if association_per is AssociationPer.FOLDER:
        return [objects]
    if association_per is AssociationPer.IMAGE:
        return [[one] for one in objects]
    level = "Series" if association_per is AssociationPer.SERIES else "Study"
    groups: dict[str, list[OutgoingObject]] = {}
    for one in objects:
        header = dcmread(one.file, stop_before_pixels=True)
        groups.setdefault(text(header, f"{level}InstanceUID"), []).append(one)
    if association_per is not AssociationPer.INTERLEAVED:
        return list(groups.values())
    in_turn = chain.from_iterable(zip_longest(*groups.values()))
    return [[one for one in in_turn if one is not None]]


def _outgoing(file: Path) -> OutgoingObject | None:
    """The file as an object to send; None if it is not a DICOM Part 10 instance."""
    try:
        with file.open("rb") as opened:
            meta = read_file_meta(opened.read(_BEGINNING_BYTES))
    except (DatasetUnreadable, OSError):
        return None
    if not (meta.sop_class_uid and meta.sop_instance_uid):
        return None
    return OutgoingObject(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, file)
