"""Contact sheets of a scan with predicted contours and hand-drawn lines."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.delineation import Delineation
from models.findings import Side
from models.preprocess import normalised
from models.volume import Volume

TILE_PX, COLUMNS = 400, 6
FOUND, DRAWN = (255, 60, 0), (0, 220, 90)


def write_sheet(
    volume: Volume,
    delineation: Delineation,
    lines: Mapping[tuple[int, Side], NDArray[np.float64]],
    path: Path,
) -> None:
    """Every slice of a volume as one PNG: contours in red, hand-drawn lines in green."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = normalised(volume.voxels).clip(0, 1)
    sheet = Image.new("RGB", (COLUMNS * TILE_PX, -(-len(grey) // COLUMNS) * TILE_PX))
    for number, image in enumerate(grey):
        tile = Image.fromarray((image * 255).astype(np.uint8)).convert("RGB")
        tile = tile.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC)
        scale = TILE_PX / np.array(image.shape)
        for side in Side:
            contour = delineation.on(number, side)
            _draw(tile, lines.get((number, side)), scale, DRAWN)
            _draw(tile, None if contour is None else contour.points, scale, FOUND)
        sheet.paste(tile, (number % COLUMNS * TILE_PX, number // COLUMNS * TILE_PX))
    sheet.save(path)


def _draw(
    tile: Image.Image,
    points: NDArray[np.float64] | None,
    scale: NDArray[np.float64],
    colour: tuple[int, int, int],
) -> None:
    if points is None:
        return
    at = (points + 0.5) * scale
    line = [(float(column), float(row)) for row, column in at]
    ImageDraw.Draw(tile).line(line, fill=colour, width=1)
