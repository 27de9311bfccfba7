"""Training images moved, turned, scaled, mirrored and blurred, and their contours with them.

Source: paper, "Implementation details": translation ±20 %, scale ±20 %, rotation ±15°, left-right
flip, Gaussian noise, Gaussian blur.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor


@dataclass(frozen=True)
class Movement:
    """How far an image may be moved; a share of its side, a share, degrees, a chance."""

    translation: float = 0.2
    scale: float = 0.2
    rotation_deg: float = 15.0
    flip: float = 0.5


def random_moves(
    count: int, movement: Movement, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Similarity transforms about the image's centre.

    Returns
    -------
    tuple
        Matrices ``(count, 2, 3)`` that map centred, side-normalised (row, column) points, and
        True where the move mirrors left and right, ``(count,)``.
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
    """Points ``(n, …, 2)`` as (row, column) pixel indices, carried by each image's move."""
    middle = (size_px - 1) / 2
    flat = ((points - middle) / size_px).reshape(len(points), -1, 2)
    there = flat @ moves[:, :, :2].transpose(1, 2) + moves[:, None, :, 2]
    return (there * size_px + middle).reshape(points.shape)


def moved_images(images: Tensor, moves: Tensor, mode: str = "bilinear") -> Tensor:
    """Images ``(n, channels, size, size)`` carried by their moves; zero comes in at the border."""
    back = torch.linalg.inv(moves[:, :, :2])
    shift = -(back @ (2 * moves[:, :, 2:]))
    by_row = torch.cat([back, shift], dim=2)
    by_column = by_row[:, [1, 0]][:, :, [1, 0, 2]]
    grid = nnf.affine_grid(by_column, list(images.shape), align_corners=False)
    return nnf.grid_sample(images, grid, mode=mode, align_corners=False)


def worsened(images: Tensor, generator: torch.Generator, noise: float = 0.06) -> Tensor:
    """Images ``(n, 1, size, size)`` with another gain, some of them blurred, all of them noisy."""
    count = len(images)
    gain = 1 + 0.2 * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    blurred = torch.rand(count, generator=generator) < 0.3
    images = images * gain
    images[blurred] = _blurred(images[blurred], float(torch.rand(1, generator=generator)) + 0.3)
    level = noise * torch.rand(count, 1, 1, 1, generator=generator)
    return images + level * torch.randn(images.shape, generator=generator)


def _blurred(images: Tensor, spread_px: float) -> Tensor:
    line = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-(line**2) / (2 * spread_px**2))
    kernel = kernel / kernel.sum()
    rows = nnf.conv2d(images, kernel.view(1, 1, -1, 1), padding=(3, 0))
    return nnf.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, 3))
