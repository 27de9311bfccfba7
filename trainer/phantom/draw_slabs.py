"""Draws label slabs into a cache beside training: ``python -m trainer draw-slabs``."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trainer.phantom.label_slabs import Slab, close_slab, field_slab

CHUNK = 50
CACHE = Path(".cache/slabs")
KINDS = {"close": close_slab, "field": field_slab}


def draw_slabs(
    first: Annotated[int, typer.Option(help="Seed of the first slab.")] = 0,
    chunks: Annotated[int, typer.Option(help=f"Files of {CHUNK} slabs each.")] = 100,
    kind: Annotated[str, typer.Option(help="close or field.")] = "close",
    cache: Annotated[Path, typer.Option(help="Folder of the files.")] = CACHE,
) -> None:
    """Draw label slabs; files that are there already are left as they are."""
    folder = cache / kind
    folder.mkdir(parents=True, exist_ok=True)
    for chunk in range(first // CHUNK, first // CHUNK + chunks):
        path = folder / f"{chunk:05d}.npz"
        if not path.exists():
            seeds = range(chunk * CHUNK, (chunk + 1) * CHUNK)
            _write([KINDS[kind](seed) for seed in seeds], path)


def _write(slabs: list[Slab], path: Path) -> None:
    """A half-written file never carries its name."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            labels=np.stack([slab.labels for slab in slabs]),
            lines=np.stack([slab.lines for slab in slabs]),
            visible_mm=np.stack([slab.visible_mm for slab in slabs]),
            distance_mm=np.array([slab.distance_mm for slab in slabs], np.float32),
        )
    partial.rename(path)
