"""Squares of the first phantom's slices for training: ``python -m trainer draw-stacks``.

The label slabs (`trainer.phantom.label_slabs`) resemble real images; these squares come from
complete simulated studies, so that the networks know other anatomy and other contrasts as well.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from models.contour_tracing import evenly_spaced
from models.contour_unet import SIDES
from models.delineation import Delineation
from models.findings import Side
from models.joint_delineation import FIELD_MM, FIELD_PX, resampled
from models.joint_unet import SQUARE_MM
from models.volume import Volume
from trainer.phantom.case import make_case, training_options
from trainer.phantom.draw_slabs import CACHE, SlabKind, write_arrays
from trainer.phantom.label_slabs import CLOSE_PX, POINTS
from trainer.prepared_cases import canonical_sighting

BRIGHT_GREY = 160
"""Grey level of a volume's 99.5th percentile."""
BESIDE_MM = 3.0
"""Visible length that is assumed on the slice next to a joint's first and last."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Squares of neighbouring slices of one volume and what is true of them.

    Parameters
    ----------
    images
        Grey levels, uint8, ``(slices, size, size)``.
    lines
        As in `trainer.phantom.label_slabs.LabelSlab`, ``(slices, sides, 16, 2)``.
    visible_mm
        ``(slices, sides)``.
    """

    images: NDArray[np.uint8]
    lines: NDArray[np.float32]
    visible_mm: NDArray[np.float32]


def draw_stacks(
    first: Annotated[int, typer.Option(help="Seed of the first study.")] = 0,
    studies: Annotated[int, typer.Option(help="Studies of the first phantom.")] = 200,
    cache: Annotated[Path, typer.Option(help="Folder of the files.")] = CACHE,
) -> None:
    """Draw squares of the first phantom's studies; files that are there already stay."""
    for kind in SlabKind:
        (cache / f"phantom_{kind}").mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + studies):
        paths = [cache / f"phantom_{kind}" / f"{seed:05d}.npz" for kind in SlabKind]
        if not all(path.exists() for path in paths):
            for stacks, path in zip(phantom_stacks(seed), paths, strict=True):
                _write_stacks(stacks, path)


def phantom_stacks(seed: int) -> tuple[list[ImageStack], list[ImageStack]]:
    """One square of each joint in each sequence, and the whole field of view of each sequence."""
    case = make_case(seed, training_options(seed))
    rng = np.random.default_rng([seed, 29])
    close, whole = [], []
    for volume, truth in ((case.t1, case.t1_truth), (case.stir, case.stir_truth)):
        sighting = canonical_sighting(volume, truth)
        seen, drawn = sighting.volume, sighting.delineation
        middle = (np.array(seen.voxels.shape[1:]) - 1) / 2
        for side in SIDES:
            centre = _centre(seen, drawn, side) + rng.normal(0, 7, 2) / seen.spacing_mm[1:]
            close.append(_stack(seen, drawn, (side,), centre, SQUARE_MM, CLOSE_PX))
        shift = rng.normal(0, 20, 2) / seen.spacing_mm[1:]
        whole.append(_stack(seen, drawn, SIDES, middle + shift, FIELD_MM, FIELD_PX))
    return close, whole


def _centre(volume: Volume, truth: Delineation, side: Side) -> Floats:
    """The mean of a joint's contours, (row, column); a likely place where there are none."""
    points = [one.points for one in truth.contours if one.side is side]
    if points:
        return np.asarray(np.concatenate(points).mean(axis=0))
    rows, columns = volume.voxels.shape[1:]
    at = [rows / 2, columns * (0.3 if side is Side.RIGHT else 0.7)]
    return np.array(at)


def _stack(
    volume: Volume,
    truth: Delineation,
    sides: tuple[Side, ...],
    centre: Floats,
    step_mm: float,
    size_px: int,
) -> ImageStack:
    mirrored = sides == (Side.RIGHT,)
    images = resampled(volume, centre, step_mm, size_px, mirrored).numpy()
    brightest = float(np.quantile(images, 0.995)) or 1.0
    grey = np.clip(images * (BRIGHT_GREY / brightest), 0, 255).astype(np.uint8)
    count = len(images)
    lines = np.full((count, len(sides), POINTS, 2), np.nan, np.float32)
    visible = np.zeros((count, len(sides)), np.float32)
    per_px = np.array(volume.spacing_mm[1:]) / step_mm * [1, -1 if mirrored else 1]
    for contour in truth.contours:
        if contour.side in sides:
            at = contour.slice_index, sides.index(contour.side)
            lines[at] = evenly_spaced(
                (contour.points - centre) * per_px + (size_px - 1) / 2, POINTS
            )
            steps = np.diff(contour.points * volume.spacing_mm[1:], axis=0)
            visible[at] = np.linalg.norm(steps, axis=1).sum()
    beside = np.pad(visible > 0, ((1, 1), (0, 0)))
    beside = (beside[:-2] | beside[2:]) & (visible == 0)
    visible[beside] = BESIDE_MM
    return ImageStack(grey, lines, visible)


def _write_stacks(stacks: list[ImageStack], path: Path) -> None:
    write_arrays(
        path,
        images=np.concatenate([stack.images for stack in stacks]),
        lines=np.concatenate([stack.lines for stack in stacks]),
        visible_mm=np.concatenate([stack.visible_mm for stack in stacks]),
        stack=np.repeat(np.arange(len(stacks)), [len(stack.images) for stack in stacks]),
    )
