"""Data augmentation: geometric and intensity transforms of training images and their contours.

Source: paper, "Implementation details": translation ±20 %, scale ±20 %, rotation ±15°, left-right
flip, Gaussian noise, Gaussian blur. Beyond the paper: elastic deformation, intensity curves, coil
inhomogeneity, coarse pixels and empty borders, so that a network relies on shape rather than on
the appearance of one scanner.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor

BRIGHTEST = 2.0
"""Upper limit of normalised intensities."""

KNOTS = 8


@dataclass(frozen=True)
class Movement:
    """Limits of geometric augmentation; translation and scale are shares, flip a probability."""

    translation: float = 0.2
    scale: float = 0.2
    rotation_deg: float = 15.0
    flip: float = 0.5
    bending_px: float = 0.0


def random_moves(
    count: int, movement: Movement, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Similarity transforms about the image's centre.

    Returns
    -------
    tuple
        Matrices ``(count, 2, 3)`` for centred, side-normalised (row, column) points, and True
        where the transform mirrors left and right, ``(count,)``.
    """
    draw = 2 * torch.rand(4, count, generator=generator) - 1
    angle = torch.deg2rad(draw[0] * movement.rotation_deg)
    scale = 1 + draw[1] * movement.scale
    flipped = torch.rand(count, generator=generator) < movement.flip
    mirror = torch.where(flipped, -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    turn = torch.stack([torch.stack([cos, sin * mirror]), torch.stack([-sin, cos * mirror])])
    shift = draw[2:4] * movement.translation
    return torch.cat([turn, shift[:, None]], dim=1).permute(2, 0, 1), flipped


def moved_points(points: Tensor, moves: Tensor, size_px: int) -> Tensor:
    """Points ``(n, …, 2)`` as (row, column) pixel indices under each image's transform."""
    middle = (size_px - 1) / 2
    flat = ((points - middle) / size_px).reshape(len(points), -1, 2)
    there = flat @ moves[:, :, :2].transpose(1, 2) + moves[:, None, :, 2]
    return (there * size_px + middle).reshape(points.shape)


def moved_images(images: Tensor, moves: Tensor, mode: str = "bilinear") -> Tensor:
    """Images ``(n, channels, size, size)`` under their transforms, zero-padded at the border."""
    back = torch.linalg.inv(moves[:, :, :2])
    shift = -(back @ (2 * moves[:, :, 2:]))
    by_row = torch.cat([back, shift], dim=2)
    by_column = by_row[:, [1, 0]][:, :, [1, 0, 2]]
    grid = nnf.affine_grid(by_column, list(images.shape), align_corners=False)
    return nnf.grid_sample(images, grid, mode=mode, align_corners=False)


@dataclass(frozen=True)
class Degradation:
    """Limits of intensity augmentation; 0 turns each one off.

    Parameters
    ----------
    gain
        Intensities are multiplied by up to 1 ± this value.
    curve
        Deviation of the intensity curve from a straight line; 0.5 doubles or halves a contrast.
    reversal
        Probability that part of the intensity curve falls instead of rising.
    bias
        Coil inhomogeneity, as the exponent at the image border.
    blur, coarse
        Probabilities of blur, and of pixels up to three times as large in one direction.
    noise
        Largest standard deviation.
    border
        Probability of empty strips on two opposite sides, as in an image padded to a square.
    """

    gain: float = 0.2
    curve: float = 0.0
    reversal: float = 0.0
    bias: float = 0.0
    blur: float = 0.3
    coarse: float = 0.0
    noise: float = 0.06
    border: float = 0.0


PAPER = Degradation()
"""Blur and noise only."""

BEYOND = Degradation(
    gain=0.3, curve=0.5, reversal=0.15, bias=0.5, blur=0.35, coarse=0.3, noise=0.2, border=0.2
)
"""For contours: appearances that no scanner produces."""

LIKELY = Degradation(gain=0.2, curve=0.2, bias=0.3, blur=0.3, coarse=0.2, noise=0.12)
"""For lesions: their distinguishing features must survive."""


def degraded(images: Tensor, degradation: Degradation, generator: torch.Generator) -> Tensor:
    """Apply intensity augmentation; all channels of an image alike except for the noise.

    Parameters
    ----------
    images
        ``(n, channels, size, size)``, 0 to 2.
    """
    images = _through_grey_curves(images, degradation, generator)
    images = _unevenly_lit(images, degradation.bias, generator)
    images = images * (1 + degradation.gain * _signed(len(images), generator))
    images = _coarsened(images, degradation.coarse, generator)
    images = _some_blurred(images, degradation.blur, generator)
    level = degradation.noise * torch.rand(len(images), 1, 1, 1, generator=generator).square()
    images = (images + level * torch.randn(images.shape, generator=generator)).clamp(min=0)
    return _bordered(images, degradation.border, generator)


def _signed(count: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(count, 1, 1, 1, generator=generator) - 1


def _through_grey_curves(
    images: Tensor, degradation: Degradation, generator: torch.Generator
) -> Tensor:
    """Apply a random piecewise linear curve to each image; the 99th percentile is kept."""
    if not degradation.curve:
        return images
    count = len(images)
    rises = torch.exp(degradation.curve * torch.randn(count, KNOTS, generator=generator))
    falls = torch.rand(count, generator=generator) < degradation.reversal
    start = torch.randint(1, KNOTS // 2, (count, 1), generator=generator)
    at = torch.arange(KNOTS)[None]
    falling = falls[:, None] & (at >= start) & (at < start + KNOTS // 4)
    rises = torch.where(falling, -rises, rises)
    heights = nnf.pad(rises.cumsum(dim=1), (1, 0)) * (BRIGHTEST / KNOTS)
    place = (images * (KNOTS / BRIGHTEST)).clamp(0, KNOTS - 1e-4)
    low = place.long()
    flat = low.flatten(1)
    below = heights.gather(1, flat).view_as(images)
    above = heights.gather(1, flat + 1).view_as(images)
    curved = (below + (above - below) * (place - low)).clamp(min=0)
    return curved * (_brightest(images) / _brightest(curved).clamp(min=1e-3))


def _brightest(images: Tensor) -> Tensor:
    """The 99th percentile of each image, ``(n, 1, 1, 1)``, from every third pixel."""
    return images[:, :, ::3, ::3].flatten(1).quantile(0.99, dim=1)[:, None, None, None]


def _unevenly_lit(images: Tensor, bias: float, generator: torch.Generator) -> Tensor:
    if not bias:
        return images
    line = torch.linspace(-1, 1, images.shape[-1])
    down, across = line[:, None], line[None, :]
    shapes = torch.stack(
        [
            down + 0 * across,
            across + 0 * down,
            down * across,
            down**2 - across**2,
            down**2 + across**2,
        ]
    )
    weights = bias * (2 * torch.rand(len(images), len(shapes), generator=generator) - 1) / 2
    return images * torch.exp(torch.einsum("nk,krc->nrc", weights, shapes))[:, None]


def _coarsened(images: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Some images as if acquired with fewer rows or columns, then interpolated."""
    chosen = torch.rand(len(images), generator=generator) < chance
    if not bool(chosen.any()):
        return images
    size = images.shape[-1]
    drawn = torch.rand(2, generator=generator)
    few = int(size / (1.2 + 1.8 * float(drawn[0])))
    shape = (few, size) if drawn[1] < 0.5 else (size, few)
    small = nnf.interpolate(images[chosen], size=shape, mode="area")
    images = images.clone()
    images[chosen] = nnf.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    return images


def _bordered(images: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Some images with empty strips of up to an eighth at two opposite sides."""
    chosen = torch.rand(len(images), generator=generator) < chance
    width = int(images.shape[-1] / 8 * float(torch.rand(1, generator=generator)))
    if not width or not bool(chosen.any()):
        return images
    inner = torch.zeros(images.shape[-2:])
    inner[width:-width] = 1
    if torch.rand(1, generator=generator) < 0.5:
        inner = inner.T
    return torch.where(chosen[:, None, None, None], images * inner, images)


def _some_blurred(images: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    chosen = torch.rand(len(images), generator=generator) < chance
    spread_px = float(torch.rand(1, generator=generator)) + 0.3
    if not bool(chosen.any()):
        return images
    images = images.clone()
    images[chosen] = _blurred(images[chosen], spread_px)
    return images


def deformed(
    images: Tensor, points: Tensor, reach_px: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Elastic deformation of images and their points.

    Parameters
    ----------
    images
        ``(n, channels, size, size)``.
    points
        (row, column) pixel indices, ``(n, …, 2)``; NaN stays NaN.
    reach_px
        Approximate largest displacement.

    Returns
    -------
    tuple
        Images and points; points follow the image to about a hundredth of `reach_px`.
    """
    if not reach_px:
        return images, points
    count, size = len(images), images.shape[-1]
    coarse = (2 * torch.rand(count, 2, 5, 5, generator=generator) - 1) * reach_px
    drift = nnf.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    index = torch.arange(size, dtype=torch.float32)
    here = torch.stack(torch.meshgrid(index, index, indexing="ij"))
    from_where = (here + drift).permute(0, 2, 3, 1)
    seen = nnf.grid_sample(images, _grid(from_where, size), align_corners=True)
    flat = points.reshape(count, -1, 1, 2)
    there = flat
    for _ in range(4):  # where p + drift(p) is the point
        at = nnf.grid_sample(drift, _grid(there.nan_to_num(), size), align_corners=True)
        there = flat - at.permute(0, 2, 3, 1)
    return seen, there.reshape(points.shape)


def _grid(rows_columns: Tensor, size: int) -> Tensor:
    """Pixel indices in the coordinates of grid_sample with aligned corners."""
    return (2 * rows_columns / (size - 1) - 1).flip(-1)


def _blurred(images: Tensor, spread_px: float) -> Tensor:
    line = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-(line**2) / (2 * spread_px**2))
    kernel = kernel / kernel.sum()
    flat = images.flatten(0, 1).unsqueeze(1)
    rows = nnf.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(3, 0))
    return nnf.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, 3)).view_as(images)
