"""A contact sheet: many phantoms with their true contours, for visual inspection."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.delineation import Delineation
from models.findings import Side
from models.volume import Volume
from trainer.phantom.case import PhantomOptions, make_case

TILE_PX = 156
COLOURS = {Side.RIGHT: (255, 80, 80), Side.LEFT: (60, 220, 220)}
GREYS = 24
"""Number of grey levels, small to keep the file small."""


def tile(volume: Volume, truth: Delineation, with_contours: bool) -> Image.Image:
    """The middle one of the slices that show a joint, as a square image."""
    numbers = [contour.slice_index for contour in truth.contours] or [len(volume.voxels) // 2]
    middle = sorted(numbers)[len(numbers) // 2]
    picture = _grey(volume.voxels[middle])
    scale = TILE_PX / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    square = Image.new("RGB", (TILE_PX, TILE_PX))
    corner = ((TILE_PX - size[0]) // 2, (TILE_PX - size[1]) // 2)
    square.paste(picture.resize(size, Image.Resampling.BICUBIC), corner)
    if with_contours:
        draw = ImageDraw.Draw(square)
        for contour in truth.contours:
            if contour.slice_index == middle:
                at = (contour.points[:, ::-1] + 0.5) * scale + corner
                draw.line([(x, y) for x, y in at], fill=COLOURS[contour.side])
    return square


def _grey(image: NDArray[np.float32]) -> Image.Image:
    bright = float(np.quantile(image, 0.992)) or 1.0
    shade = np.rint(np.clip(image / bright, 0, 1) * GREYS) * (255 / GREYS)
    return Image.fromarray(shade.astype(np.uint8), "L").convert("RGB")


def _palette() -> Image.Image:
    """Grey levels and the two contour colours."""
    greys = [3 * (round(shade * 255 / GREYS),) for shade in range(GREYS + 1)]
    colours = [*greys, *COLOURS.values()]
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for colour in colours for level in colour])
    return palette


def sheet(cases: list[tuple[int, PhantomOptions]], columns: int, contours: bool) -> Image.Image:
    """T1 and STIR of each case side by side, `columns` cases per row."""
    rows = -(-len(cases) // columns)
    page = Image.new("RGB", (columns * 2 * TILE_PX, rows * TILE_PX), "white")
    for place, (seed, options) in enumerate(cases):
        case = make_case(seed, options)
        left, top = place % columns * 2 * TILE_PX, place // columns * TILE_PX
        page.paste(tile(case.t1, case.t1_truth, contours), (left, top))
        page.paste(tile(case.stir, case.stir_truth, contours), (left + TILE_PX, top))
    return page


def contact_sheet(
    out: Annotated[Path, typer.Argument(help="PNG file to write.")],
    first_seed: Annotated[int, typer.Option(help="Seed of the first case.")] = 300,
    plausible: Annotated[int, typer.Option(help="Number of plausible cases.")] = 4,
    randomised: Annotated[int, typer.Option(help="Number of randomised cases.")] = 8,
    columns: Annotated[int, typer.Option(help="Cases per row.")] = 3,
    contours: Annotated[bool, typer.Option(help="Draw the true contours.")] = True,
) -> None:
    """Draw phantoms of both styles in one image, T1 and STIR side by side."""
    styles = ["plausible"] * plausible + ["randomised"] * randomised
    cases = [
        (first_seed + number, PhantomOptions(style=style, disease="balanced"))
        for number, style in enumerate(styles)
    ]
    page = sheet(cases, columns, contours).quantize(palette=_palette(), dither=Image.Dither.NONE)
    page.save(out, optimize=True)
    typer.echo(f"{len(cases)} cases written to {out}, {out.stat().st_size // 1000} kB")
