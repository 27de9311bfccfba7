"""What the contour network is taught: heatmaps of both ends, and the field that leads along.

Two fields are offered. The literal one of the paper points to the nearest annotated vertex and,
on the contour, to the next one. The blended one points to the nearest point of the whole line
and turns gently into the line's own direction near it, which makes walks far steadier.

Source: paper, "Delineating the sacroiliac joints".
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Field(StrEnum):
    """Which field is taught."""

    BLENDED = "blended"
    LITERAL = "literal"


BLEND_PX = 1.0
"""Distance over which the blended field turns into the line's direction."""

VARIANCE_PER_SACRUM_AREA = 0.00625
SPREAD_PER_LENGTH = 0.09
SMALLEST_SPREAD_PX, LARGEST_SPREAD_PX = 2.0, 8.0

_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Grid:
    """The rows and columns at which a field is wanted, float32 pixel indices."""

    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, size_px: int, stride: int = 1, first: tuple[int, int] = (0, 0)) -> "Grid":
        """Every `stride`-th pixel of a square image, starting at `first`."""
        line = torch.arange(size_px, dtype=torch.float32)
        return cls(line[first[0] :: stride], line[first[1] :: stride])

    def places(self, count: int) -> Tensor:
        """(row, column) of every pixel for each of `count` images, ``(count, pixels, 2)``."""
        return torch.cartesian_prod(self.rows, self.columns).expand(count, -1, -1)

    def as_images(self, per_pixel: Tensor) -> Tensor:
        """``(n, pixels, channels)`` as ``(n, channels, rows, columns)``."""
        shape = (len(per_pixel), per_pixel.shape[2], len(self.rows), len(self.columns))
        return per_pixel.transpose(1, 2).reshape(shape)


def spread_px(contours: Tensor, sacrum_area: Tensor) -> Tensor:
    """Standard deviation of the heatmaps' Gaussians.

    Parameters
    ----------
    contours
        ``(n, points, 2)``.
    sacrum_area
        Square pixels between the two joints, shape ``(n,)``; 0 where only one is seen.

    Returns
    -------
    Tensor
        ``(n,)``, in pixels: variance proportional to the sacrum's area, else the deviation to
        the contour's length, within 2 to 8.
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


def blended_field(contours: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Unit vectors to the nearest point of each line, blended into its direction near it.

    Parameters
    ----------
    contours
        ``(n, points, 2)``, points from superior to inferior.

    Returns
    -------
    tuple
        Vectors ``(n, 2, rows, columns)`` as (row, column), and the distance of every pixel of the
        grid to the line, ``(n, rows, columns)``.
    """
    pixels = grid.places(len(contours))
    nearest = torch.cdist(pixels, contours).argmin(dim=2)
    before = _segment_offset(pixels, contours, (nearest - 1).clamp(min=0))
    after = _segment_offset(pixels, contours, nearest.clamp(max=contours.shape[1] - 2))
    closer = (before[0].square().sum(-1) < after[0].square().sum(-1)).unsqueeze(-1)
    offset = torch.where(closer, before[0], after[0])
    tangent = torch.where(closer, before[1], after[1])
    distance = offset.norm(dim=-1, keepdim=True)
    share = torch.exp(-distance.square() / (2 * BLEND_PX**2))
    field = share * tangent + (1 - share) * offset / distance.clamp(min=_TINY)
    field = field / field.norm(dim=-1, keepdim=True).clamp(min=_TINY)
    return grid.as_images(field), grid.as_images(distance)[:, 0]


def _segment_offset(pixels: Tensor, contours: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """From each pixel to the closest point of a segment, and the segment's direction."""
    steps = contours[:, 1:] - contours[:, :-1]
    index = first.unsqueeze(-1).expand(-1, -1, 2)
    start, step = contours.gather(1, index), steps.gather(1, index)
    length2 = step.square().sum(-1, keepdim=True).clamp(min=_TINY)
    share = (((pixels - start) * step).sum(-1, keepdim=True) / length2).clamp(0, 1)
    return start + share * step - pixels, step / length2.sqrt()


def taught_field(kind: Field, contours: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The field of one kind, as `blended_field`."""
    return (literal_field if kind is Field.LITERAL else blended_field)(contours, grid)


def literal_field(vertices: Tensor, grid: Grid, on_line_px: float = 0.5) -> tuple[Tensor, Tensor]:
    """The paper's field: to the nearest annotated vertex; on the contour, to the next one.

    Parameters
    ----------
    vertices
        ``(n, points, 2)`` as annotated.
    on_line_px
        A pixel this close to the line counts as on it.

    Returns
    -------
    tuple
        As `blended_field`.
    """
    pixels = grid.places(len(vertices))
    nearest = torch.cdist(pixels, vertices).argmin(dim=2)
    segments = [
        _segment_offset(pixels, vertices, torch.full_like(nearest, first))[0].norm(dim=-1)
        for first in range(vertices.shape[1] - 1)
    ]
    later_first = _TINY * torch.arange(len(segments), dtype=torch.float32)[:, None, None]
    distance, segment = (torch.stack(segments) - later_first).min(dim=0)
    goal = torch.where(distance <= on_line_px, segment + 1, nearest)
    offset = vertices.gather(1, goal.unsqueeze(-1).expand(-1, -1, 2)) - pixels
    field = offset / offset.norm(dim=-1, keepdim=True).clamp(min=_TINY)
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
