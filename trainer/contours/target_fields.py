"""Targets of the contour network: heatmaps of both ends, and the direction field between them.

There are two fields. The literal one of the paper points to the nearest annotated vertex and, on
the contour, to the next one. The blended one points to the nearest point of the whole line and
turns smoothly into the direction of the line close to it, which makes tracing much more stable.

Source: paper, "Delineating the sacroiliac joints".
"""

import torch
from torch import Tensor

from models.vector_field import TINY, Grid, blended_field, segment_offset
from trainer.experiment import Field

VARIANCE_PER_SACRUM_AREA = 0.00625
SPREAD_PER_LENGTH = 0.09
SMALLEST_SPREAD_PX, LARGEST_SPREAD_PX = 2.0, 8.0


def spread_px(contours: Tensor, sacrum_area: Tensor) -> Tensor:
    """Standard deviation of the heatmaps' Gaussians.

    Parameters
    ----------
    contours
        ``(n, points, 2)``.
    sacrum_area
        Square pixels between the two joints, shape ``(n,)``; 0 if only one is visible.

    Returns
    -------
    Tensor
        ``(n,)``, in pixels: variance proportional to the sacrum's area, otherwise the
        deviation proportional to the contour's length; limited to 2 to 8.
    """
    length = (contours[:, 1:] - contours[:, :-1]).norm(dim=-1).sum(dim=1)
    by_area = (VARIANCE_PER_SACRUM_AREA * sacrum_area).sqrt()
    spread = torch.where(sacrum_area > 0, by_area, SPREAD_PER_LENGTH * length)
    return spread.clamp(SMALLEST_SPREAD_PX, LARGEST_SPREAD_PX)


def heatmaps(ends: Tensor, spread: Tensor, size_px: int) -> Tensor:
    """Gaussians of peak 1.

    Parameters
    ----------
    ends
        ``(n, 2)``, (row, column).
    spread
        Standard deviations, ``(n,)``.

    Returns
    -------
    Tensor
        ``(n, size_px, size_px)``.
    """
    line = torch.arange(size_px, dtype=torch.float32)
    along = torch.exp(-((line - ends[..., None]) ** 2) / (2 * spread[:, None, None] ** 2))
    return along[:, 0, :, None] * along[:, 1, None, :]


def training_field(kind: Field, contours: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The field of the given kind; see `blended_field`."""
    return (literal_field if kind is Field.LITERAL else blended_field)(contours, grid)


def literal_field(vertices: Tensor, grid: Grid, on_line_px: float = 0.5) -> tuple[Tensor, Tensor]:
    """The paper's field: towards the nearest annotated vertex; on the contour, to the next.

    Parameters
    ----------
    vertices
        ``(n, points, 2)`` as annotated.
    on_line_px
        A pixel this close to the line counts as on it.

    Returns
    -------
    tuple
        See `blended_field`.
    """
    pixels = grid.places(len(vertices))
    nearest = torch.cdist(pixels, vertices).argmin(dim=2)
    segments = [
        segment_offset(pixels, vertices, torch.full_like(nearest, first))[0].norm(dim=-1)
        for first in range(vertices.shape[1] - 1)
    ]
    later_first = TINY * torch.arange(len(segments), dtype=torch.float32)[:, None, None]
    distance, segment = (torch.stack(segments) - later_first).min(dim=0)
    goal = torch.where(distance <= on_line_px, segment + 1, nearest)
    offset = vertices.gather(1, goal.unsqueeze(-1).expand(-1, -1, 2)) - pixels
    field = offset / offset.norm(dim=-1, keepdim=True).clamp(min=TINY)
    return grid.as_images(field), grid.as_images(distance.unsqueeze(-1))[:, 0]


def area_between(right: Tensor, left: Tensor) -> Tensor:
    """Area of the sacrum between two contours, in square pixels.

    Parameters
    ----------
    right, left
        ``(n, points, 2)``, each from superior to inferior.
    """
    outline = torch.cat([right, left.flip(1)], dim=1)
    after = outline.roll(-1, dims=1)
    cross = outline[..., 0] * after[..., 1] - outline[..., 1] * after[..., 0]
    return cross.sum(dim=1).abs() / 2
