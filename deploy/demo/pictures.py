"""Images of the result: slices with the segmented regions and the true contours."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset
from scipy.ndimage import binary_erosion

WIDTH_PX = 640
MARGIN_MM = 25.0
COLOURS = {
    "upper ilium": (66, 165, 245),
    "lower ilium": (38, 198, 218),
    "upper sacrum": (255, 167, 38),
    "lower sacrum": (255, 238, 88),
    "joint": (236, 64, 122),
}
TRUTH = (255, 255, 255)
Masks = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Picture:
    """A PNG for the demo page."""

    title: str
    png: bytes

    @property
    def as_uri(self) -> str:
        """Data URI for an ``img`` element of a self-contained page."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def key_pictures(
    name: str,
    images: Sequence[Dataset],
    masks: Mapping[str, Masks],
    truth_mm: Mapping[str, Sequence[NDArray[np.float64]]],
    count: int,
) -> list[Picture]:
    """The slices with the largest joint area, from anterior to posterior.

    Parameters
    ----------
    images
        One series, classic MR.
    masks
        By SOP Instance UID, by segment label.
    truth_mm
        By SOP Instance UID, the true contours as LPS points, shape ``(n, 3)``.
    """
    shown = sorted(images, key=lambda image: _area(masks.get(image.SOPInstanceUID, {})))[-count:]
    shown.sort(key=lambda image: float(image.ImagePositionPatient[1]))
    return [
        _picture(
            f"{name}, image {image.InstanceNumber}",
            image,
            masks.get(image.SOPInstanceUID, {}),
            truth_mm.get(image.SOPInstanceUID, ()),
        )
        for image in shown
    ]


def summary_pictures(objects: Sequence[Dataset]) -> list[Picture]:
    """The pictures of the summary (secondary capture), as any viewer shows them."""
    (summary,) = (one for one in objects if one.Modality == "OT")
    frames = summary.pixel_array.reshape(-1, summary.Rows, summary.Columns, 3)
    return [Picture(f"Summary, page {n}", _png(frame)) for n, frame in enumerate(frames, 1)]


def _png(frame: NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    Image.fromarray(frame).save(out, "PNG")
    return out.getvalue()


def _area(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def _picture(
    title: str, image: Dataset, masks: Masks, truth_mm: Sequence[NDArray[np.float64]]
) -> Picture:
    grey = _grey(image.pixel_array)
    colour = np.repeat(grey[:, :, None], 3, axis=2).astype(np.float32)
    for label, mask in masks.items():
        _paint(colour, label, mask)
    top, left, bottom, right = _around(masks, image)
    scale = WIDTH_PX / (right - left)
    canvas = Image.fromarray(colour[top:bottom, left:right].astype(np.uint8)).resize(
        (WIDTH_PX, round((bottom - top) * scale)), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(canvas)
    for line in truth_mm:
        points = (_pixels(image, line) + 0.5 - (left, top)) * scale
        draw.line([(x, y) for x, y in points.tolist()], fill=TRUTH, width=2)
    out = BytesIO()
    canvas.save(out, "PNG")
    return Picture(title, out.getvalue())


def _around(masks: Masks, image: Dataset) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the image area around the joints."""
    marked = np.any([np.zeros((image.Rows, image.Columns), bool), *masks.values()], axis=0)
    if not marked.any():
        return 0, 0, image.Rows, image.Columns
    rows, columns = np.nonzero(marked)
    down, across = (round(MARGIN_MM / float(one)) for one in image.PixelSpacing)
    return (
        max(0, int(rows.min()) - down),
        max(0, int(columns.min()) - across),
        min(image.Rows, int(rows.max()) + down),
        min(image.Columns, int(columns.max()) + across),
    )


def _grey(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    low, high = np.percentile(pixels, (1, 99.5))
    return np.asarray(np.clip((pixels - low) / (high - low), 0, 1) * 255, np.uint8)


def _paint(colour: NDArray[np.float32], label: str, mask: NDArray[np.bool_]) -> None:
    """Tint the region lightly and draw its outline, so that the image stays readable."""
    shade = next(shade for name, shade in COLOURS.items() if name in label.lower())
    outline = mask & ~binary_erosion(mask)
    colour[mask] = 0.82 * colour[mask] + 0.18 * np.array(shade)
    colour[outline] = 0.35 * colour[outline] + 0.65 * np.array(shade)


def _pixels(image: Dataset, line_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """LPS points as (column, row), index-centred (PS3.3 Equation C.7.6.2.1-1)."""
    across, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(one) for one in image.PixelSpacing)
    away = line_mm - np.array(image.ImagePositionPatient, float)
    return np.stack([away @ across / column_mm, away @ down / row_mm], axis=1)
