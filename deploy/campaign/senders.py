"""Senders that try until every image is acknowledged, and write down what was."""

import hashlib
import json
import random
import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE
from pynetdicom.dsutils import encode

from deploy.bench.instances import mr_image
from deploy.trial import NODE

SENDER = "CAMPAIGN"
IMAGES = 4
_SIZE_PX = 64


class Ledger:
    """Acknowledged images, one JSON line each; continues after an interruption."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def add(self, dataset: Dataset, seconds: float) -> None:
        """Note an acknowledged image with the digest of its bytes."""
        line = {
            "uid": dataset.SOPInstanceUID,
            "study": dataset.StudyInstanceUID,
            "sha256": hashlib.sha256(encode(dataset, False, True) or b"").hexdigest(),
            "seconds": seconds,
        }
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, str]]:
        """Everything noted so far."""
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]


def small_study(numbers: random.Random) -> Iterator[Dataset]:
    """Four small images of a T1 series; without a STIR series, the node answers with a report."""
    study, series = _uid(numbers), _uid(numbers)
    pattern = mr_image()
    for number in range(IMAGES):
        image = deepcopy(pattern)
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.SOPInstanceUID, image.PatientID = _uid(numbers), study[-12:]
        image.InstanceNumber = str(number + 1)
        image.ImagePositionPatient = ["-150", str(-60 + 4.4 * number), "150"]
        image.Rows = image.Columns = _SIZE_PX
        image.PixelData = numbers.randbytes(2 * _SIZE_PX * _SIZE_PX)
        image.ensure_file_meta()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        yield image


def _uid(numbers: random.Random) -> str:
    return f"2.25.{numbers.getrandbits(120)}"


def send_until_acknowledged(
    images: list[Dataset], port: int, ledger: Ledger, stop: threading.Event
) -> int:
    """Send images until each is acknowledged; returns how many associations that took."""
    left, associations = list(images), 0
    while left and not stop.is_set():
        associations += 1
        entity = AE(ae_title=SENDER)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        entity.connection_timeout = 5
        entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", port, ae_title=NODE)
        if association.is_established:
            left = _send(association, left, ledger)
            association.release()
        if left:
            stop.wait(0.5)
    return associations


def _send(association: object, images: list[Dataset], ledger: Ledger) -> list[Dataset]:
    """Send until the first image that is not acknowledged; returns those that are left."""
    for number, image in enumerate(images):
        began = time.monotonic()
        try:
            status = association.send_c_store(image)  # type: ignore[attr-defined]
        except (RuntimeError, ValueError):
            return images[number:]
        if status.get("Status") != 0x0000:
            return images[number:]
        ledger.add(image, time.monotonic() - began)
    return []
