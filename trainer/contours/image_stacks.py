"""Squares of drawn studies for the joint networks: of simulated studies, and of a site's own.

The label slabs (`trainer.phantom.label_slabs`) get their appearance while training; these squares
are cut from complete images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.contour_tracing import evenly_spaced
from models.contour_unet import SIDES
from models.delineation import Delineation
from models.findings import Side
from models.joint_delineation import FIELD_MM, FIELD_PX, resampled
from models.joint_unet import SQUARE_MM
from models.roi import Sighting
from models.volume import Volume
from trainer.phantom.draw_slabs import SlabKind, write_arrays
from trainer.phantom.label_slabs import CLOSE_PX, POINTS

CENTRE_SD_MM, FIELD_SD_MM = 7.0, 20.0
"""How far a square's middle lies from the joint's, and from the image's."""

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


Stacks = dict[SlabKind, list[ImageStack]]


def image_stacks(sightings: Sequence[Sighting], rng: np.random.Generator) -> Stacks:
    """One square of each joint in each series, and the whole field of view of each series.

    Parameters
    ----------
    sightings
        Canonical volumes with their true contours.
    """
    stacks: Stacks = {SlabKind.CLOSE: [], SlabKind.FIELD: []}
    for sighting in sightings:
        seen, drawn = sighting.volume, sighting.delineation
        middle = (np.array(seen.voxels.shape[1:]) - 1) / 2
        for side in SIDES:
            shift = rng.normal(0, CENTRE_SD_MM, 2) / seen.spacing_mm[1:]
            centre = _centre(seen, drawn, side) + shift
            stacks[SlabKind.CLOSE].append(_stack(seen, drawn, (side,), centre, SQUARE_MM, CLOSE_PX))
        shift = rng.normal(0, FIELD_SD_MM, 2) / seen.spacing_mm[1:]
        stacks[SlabKind.FIELD].append(
            _stack(seen, drawn, SIDES, middle + shift, FIELD_MM, FIELD_PX)
        )
    return stacks


def stacks_folder(folder: Path, kind: SlabKind) -> Path:
    """Where the squares of one kind lie."""
    return folder / f"{kind}_stacks"


def stacks_path(folder: Path, kind: SlabKind, number: int) -> Path:
    """The file of one study's squares."""
    return stacks_folder(folder, kind) / f"{number:05d}.npz"


def write_stacks(stacks: Stacks, folder: Path, number: int) -> None:
    """Write the squares of one study."""
    for kind, of_kind in stacks.items():
        stacks_folder(folder, kind).mkdir(parents=True, exist_ok=True)
        write_arrays(
            stacks_path(folder, kind, number),
            images=np.concatenate([stack.images for stack in of_kind]),
            lines=np.concatenate([stack.lines for stack in of_kind]),
            visible_mm=np.concatenate([stack.visible_mm for stack in of_kind]),
            stack=np.repeat(np.arange(len(of_kind)), [len(stack.images) for stack in of_kind]),
        )


def read_stacks(path: Path) -> list[ImageStack]:
    """The squares of one study."""
    with np.load(path) as arrays:
        number = arrays["stack"]
        images, lines, visible = (arrays[name] for name in ("images", "lines", "visible_mm"))
    chosen = (number == one for one in range(int(number.max()) + 1))
    return [ImageStack(images[at], lines[at], visible[at]) for at in chosen]


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
    visible[_beside(visible > 0)] = BESIDE_MM
    return ImageStack(_as_grey(images), lines, visible)


def _as_grey(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    brightest = float(np.quantile(images, 0.995)) or 1.0
    grey: NDArray[np.uint8] = np.clip(images * (BRIGHT_GREY / brightest), 0, 255).astype(np.uint8)
    return grey


def _beside(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Slices without a joint whose neighbour shows it, shape as given ``(slices, sides)``."""
    padded = np.pad(seen, ((1, 1), (0, 0)))
    return (padded[:-2] | padded[2:]) & ~seen
