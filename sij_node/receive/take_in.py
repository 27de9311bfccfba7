"""Takes in a file of the spool that has no row, as if its sender sent it once more.

A database that was restored from a backup does not know what was received since. Every check of a
C-STORE is made again, and its outcome is the same: registered, a correction, or a conflict.
"""

from pathlib import Path

from sij_node.dicom.part10 import FileMeta
from sij_node.errors import SpoolUnavailable
from sij_node.network.association_summary import CallingPeer
from sij_node.network.dimse import StoreRequest
from sij_node.network.pdu import AnsweredContext, ContextResult
from sij_node.receive.c_store import HELD_BYTES, StorageService, StoreOutcome


def take_in(service: StorageService, path: Path, meta: FileMeta) -> StoreOutcome:
    """Receive a stored file again from the peer that sent it."""
    receiver = service.receiver_for(CallingPeer(meta.source_ae, ""))
    context = AnsweredContext(
        1, ContextResult.ACCEPTED, meta.sop_class_uid, meta.transfer_syntax_uid
    )
    request = StoreRequest(1, meta.sop_class_uid, meta.sop_instance_uid, has_dataset=True)
    receiver.begin(request, context)
    try:
        with path.open("rb") as file:
            file.seek(meta.dataset_offset)
            while piece := file.read(HELD_BYTES):
                receiver.take(memoryview(piece))
        return receiver.finish()
    except OSError as error:
        raise SpoolUnavailable(f"{path.name} cannot be read: {error.strerror}.") from error
    finally:
        receiver.end()
