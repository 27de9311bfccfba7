"""A listener on a free port, with a spool on disk and a job table in memory."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from sij_node.audit.peer_events import PeerEvents
from sij_node.config.settings import ListenerConfig, PeerConfig
from sij_node.domain.study import ReceivedCopy, ReceivedInstance, Refusal, Registration
from sij_node.receive.c_store import StorageService
from sij_node.receive.listener import Listener
from sij_node.store.spool import Spool, instance_file_name
from tests.support.raw_peer import MR, RawPeer
from tests.support.unrecorded_events import no_events


class Register:
    """A job table in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, ReceivedInstance] = {}
        self._lock = Lock()

    def __call__(self, instance: ReceivedInstance) -> Registration:
        with self._lock:
            row = self.rows.setdefault(instance.sop_instance_uid, instance)
        if row is instance:
            return Registration.NEW
        recoded = row.transfer_syntax_uid != instance.transfer_syntax_uid
        same = row.sha256 == instance.sha256 or (recoded and row.patient_id == instance.patient_id)
        return Registration.DUPLICATE if same else Registration.CONFLICT


@dataclass
class Node:
    """The listener and what it stored."""

    listener: Listener
    spool: Spool
    folder: Path
    register: Register
    refusals: list[Refusal] = field(default_factory=list)
    copies: list[ReceivedCopy] = field(default_factory=list)

    def peer(self, source: str = "127.0.0.1") -> RawPeer:
        return RawPeer(self.listener.port, source)

    def associated(self, source: str = "127.0.0.1") -> RawPeer:
        peer = self.peer(source)
        kind, _ = peer.associate()
        assert kind == 2
        return peer

    def kept_files(self) -> list[Path]:
        return sorted(self.folder.glob("instances/*/*"))

    def other_files(self) -> list[Path]:
        return [*self.folder.glob("incoming/*"), *self.folder.glob("quarantine/*")]

    def stored_dataset(self, sop_instance_uid: str) -> bytes:
        path = self.spool.path_of(instance_file_name(sop_instance_uid))
        content = path.read_bytes()
        return content[144 + int.from_bytes(content[140:144], "little") :]


PEERS = (
    PeerConfig(ae_title="MODALITY", networks=("127.0.0.0/24",), host="127.0.0.1", port=104),
    PeerConfig(ae_title="ELSEWHERE", networks=("192.0.2.0/24",), host="192.0.2.1", port=104),
)


@contextmanager
def listening(
    folder: Path,
    *,
    limits: ListenerConfig | None = None,
    spool: Spool | None = None,
    register: Callable[[ReceivedInstance], Registration] | None = None,
    stored: Callable[[str], ReceivedInstance | None] | None = None,
    keep_copy: Callable[[ReceivedCopy], None] | None = None,
    room: Callable[[], bool] = lambda: True,
    events: PeerEvents | None = None,
    peers: Sequence[PeerConfig] = PEERS,
) -> Iterator[Node]:
    """A listener that accepts associations from MODALITY within a ``with`` block."""
    limits = limits or ListenerConfig(max_connections_per_address=32)
    real_spool = Spool(folder / "spool")
    rows = Register()
    refusals: list[Refusal] = []
    copies: list[ReceivedCopy] = []
    service = StorageService(
        spool=spool or real_spool,
        file_name_of=instance_file_name,
        register=register or rows,
        stored=stored or rows.rows.get,
        keep_copy=keep_copy or copies.append,
        refuse=refusals.append,
        room=room,
        max_nesting=limits.max_nesting,
        events=events or no_events(),
    )
    bound = socket.create_server(("127.0.0.1", 0))
    listener = Listener(limits, "SIJ", peers, service, bound=bound)
    listener.start()
    try:
        yield Node(listener, real_spool, folder / "spool", rows, refusals, copies)
    finally:
        listener.stop(drain_s=10)


def mr_image(sop_instance_uid: str = "", pixels: bytes = bytes(128), **changes: object) -> Dataset:
    """A small MR image with all attributes a receiver needs."""
    image = Dataset()
    image.SOPClassUID = MR
    image.SOPInstanceUID = sop_instance_uid or generate_uid()
    image.PatientName = "Canary^Test"
    image.PatientID = "CANARY-1"
    image.StudyInstanceUID = "1.2.826.1"
    image.SeriesInstanceUID = "1.2.826.1.1"
    image.Rows, image.Columns, image.BitsAllocated = 8, 8, 16
    image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 15, 0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.PixelData = pixels
    image["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    return image
