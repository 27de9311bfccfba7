"""Generates the small phantom study that `sij-node doctor` sends through the node.

Run ``python -m deploy.doctor_study`` when the phantom or the accepted input has changed; it writes
``sij_node/doctor/study.zip``: the middle slices of a phantom, T1 at half its resolution.
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGLSLossless

SEED = "2"
SLICES = 7
OUT = Path(__file__).parents[1] / "sij_node" / "doctor" / "study.zip"


def main() -> None:
    """Generate the phantom and write the study."""
    with tempfile.TemporaryDirectory() as folder:
        phantom = [sys.executable, "-m", "trainer", "phantom", "--seed", SEED, "--out", folder]
        subprocess.run([*phantom, "--patient-id", "DOCTOR"], check=True)  # noqa: S603
        images = [dcmread(path) for path in sorted(Path(folder).rglob("*.dcm"))]
    with zipfile.ZipFile(OUT, "w", zipfile.ZIP_DEFLATED) as bundle:
        for number, image in enumerate(_middle(images)):
            bundle.writestr(f"{number:02}.dcm", _compressed(_coarse(image)))
    print(f"{OUT}: {OUT.stat().st_size / 1e3:.0f} kB")


def _middle(images: Sequence[Dataset]) -> list[Dataset]:
    """The middle slices of T1 and STIR, without the localizer."""
    series: dict[str, list[Dataset]] = {}
    for image in images:
        series.setdefault(image.SeriesInstanceUID, []).append(image)
    kept = [sorted(one, key=_number) for one in series.values() if len(one) > SLICES]
    return [image for one in kept for image in one[(len(one) - SLICES) // 2 :][:SLICES]]


def _number(image: Dataset) -> int:
    return int(image.InstanceNumber)


def _coarse(image: Dataset) -> Dataset:
    """Halve the resolution of a large image; its position in the patient stays the same."""
    if image.Rows < 400:
        return image
    pixels = image.pixel_array.astype(np.float64)
    halves = pixels.reshape(image.Rows // 2, 2, image.Columns // 2, 2).mean(axis=(1, 3))
    along = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    height, width = map(float, image.PixelSpacing)
    shift = (along[0] * width + along[1] * height) / 2
    place = np.array(image.ImagePositionPatient, float) + shift
    image.ImagePositionPatient = [f"{value:.6f}" for value in place]
    image.PixelSpacing = [f"{2 * height:.8f}", f"{2 * width:.8f}"]
    image.Rows, image.Columns = halves.shape
    image.PixelData = halves.round().astype(np.uint16).tobytes()
    return image


def _compressed(image: Dataset) -> bytes:
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    written = io.BytesIO()
    image.save_as(written, enforce_file_format=True)
    return written.getvalue()


if __name__ == "__main__":
    main()
