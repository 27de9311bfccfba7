"""A small storage SCP that acts as the originating PACS."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]


class Archive:
    """A storage SCP on loopback that writes each object to a folder.

    Parameters
    ----------
    folder
        Folder for received objects, named by SOP Instance UID.
    ae_title
        Its AE title.
    port
        TCP port on 127.0.0.1; 0 for any free port.
    status
        Status returned to C-STORE; with anything but success, nothing is stored.
    """

    def __init__(self, folder: Path, ae_title: str, port: int = 0, status: int = 0x0000) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.status = status
        self.stores = 0
        self._port = port
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=self.ae_title)
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(Verification)
        server = entity.start_server(
            ("127.0.0.1", self._port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        if server is None:
            raise OSError("the archive could not be started")
        self._server = server
        self._port = server.server_address[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    def objects(self) -> list[Dataset]:
        """The stored objects, sorted by file name."""
        return [dcmread(file) for file in sorted(self.folder.glob("*.dcm"))]

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until it holds `count` objects; False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._held() >= count, timeout_s)

    def _held(self) -> int:
        return sum(1 for _ in self.folder.glob("*.dcm"))

    def _store(self, event: evt.Event) -> int:
        with self._changed:
            self.stores += 1
            if self.status == 0x0000:
                name = f"{event.dataset.SOPInstanceUID}.dcm"
                (self.folder / name).write_bytes(event.encoded_dataset())
            self._changed.notify_all()
        return self.status
