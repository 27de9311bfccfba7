"""Draws label slabs into a cache beside training: ``python -m trainer draw-slabs``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from trainer.phantom.label_slabs import LabelSlab, close_slab, field_slab

CHUNK = 50
CACHE = Path(".cache/slabs")


class SlabKind(StrEnum):
    """What a slab shows, and so which of the joint networks learns from it."""

    CLOSE = "close"
    """One joint, for the network that delineates it."""
    FIELD = "field"
    """A whole field of view, for the network that finds both joints."""


_DRAW = {SlabKind.CLOSE: close_slab, SlabKind.FIELD: field_slab}


def draw_slabs(
    first: Annotated[int, typer.Option(help="Seed of the first slab.")] = 0,
    chunks: Annotated[int, typer.Option(help=f"Files of {CHUNK} slabs each.")] = 100,
    kind: Annotated[SlabKind, typer.Option(help="What they show.")] = SlabKind.CLOSE,
    cache: Annotated[Path, typer.Option(help="Folder of the files.")] = CACHE,
) -> None:
    """Draw label slabs; files that are there already are left as they are."""
    folder = cache / kind
    folder.mkdir(parents=True, exist_ok=True)
    for chunk in range(first // CHUNK, first // CHUNK + chunks):
        path = folder / f"{chunk:05d}.npz"
        if not path.exists():
            seeds = range(chunk * CHUNK, (chunk + 1) * CHUNK)
            _write([_DRAW[kind](seed) for seed in seeds], path)


def _write(slabs: list[LabelSlab], path: Path) -> None:
    write_arrays(
        path,
        labels=np.stack([slab.labels for slab in slabs]),
        lines=np.stack([slab.lines for slab in slabs]),
        visible_mm=np.stack([slab.visible_mm for slab in slabs]),
        distance_mm=np.array([slab.distance_mm for slab in slabs], np.float32),
    )


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays to a compressed file; a half-written file never carries its name."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    partial.rename(path)
