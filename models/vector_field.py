"""The vector field of a contour: unit vectors that point to it and, close by, along it.

It is the contour network's training target, and predicted fields are compared with it.

Source: paper, "Delineating the sacroiliac joints"; the blending is ours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BLEND_PX = 1.0
"""Standard deviation of the blending weight, by distance from the line."""

TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Grid:
    """Rows and columns at which to compute a field, as float32 pixel indices."""

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
        """Reshape ``(n, pixels, channels)`` to ``(n, channels, rows, columns)``."""
        shape = (len(per_pixel), per_pixel.shape[2], len(self.rows), len(self.columns))
        return per_pixel.transpose(1, 2).reshape(shape)


def blended_field(contours: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Unit vectors to the nearest point of each contour, blended into its tangent close to it.

    Parameters
    ----------
    contours
        ``(n, points, 2)``, points from superior to inferior.

    Returns
    -------
    tuple
        Vectors as (row, column), ``(n, 2, rows, columns)``, and the distance of every grid pixel
        from the contour, ``(n, rows, columns)``.
    """
    pixels = grid.places(len(contours))
    nearest = torch.cdist(pixels, contours).argmin(dim=2)
    before = segment_offset(pixels, contours, (nearest - 1).clamp(min=0))
    after = segment_offset(pixels, contours, nearest.clamp(max=contours.shape[1] - 2))
    closer = (before[0].square().sum(-1) < after[0].square().sum(-1)).unsqueeze(-1)
    offset = torch.where(closer, before[0], after[0])
    tangent = torch.where(closer, before[1], after[1])
    distance = offset.norm(dim=-1, keepdim=True)
    share = torch.exp(-distance.square() / (2 * BLEND_PX**2))
    field = share * tangent + (1 - share) * offset / distance.clamp(min=TINY)
    field = field / field.norm(dim=-1, keepdim=True).clamp(min=TINY)
    return grid.as_images(field), grid.as_images(distance)[:, 0]


def segment_offset(pixels: Tensor, contours: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Offset from each pixel to the closest point of a segment, and the segment's direction.

    Parameters
    ----------
    pixels
        ``(n, pixels, 2)``.
    contours
        ``(n, points, 2)``.
    first
        Index of the segment's first point for each pixel, ``(n, pixels)``.

    Returns
    -------
    tuple
        Offsets and unit vectors, both ``(n, pixels, 2)``.
    """
    steps = contours[:, 1:] - contours[:, :-1]
    index = first.unsqueeze(-1).expand(-1, -1, 2)
    start, step = contours.gather(1, index), steps.gather(1, index)
    length2 = step.square().sum(-1, keepdim=True).clamp(min=TINY)
    share = (((pixels - start) * step).sum(-1, keepdim=True) / length2).clamp(0, 1)
    return start + share * step - pixels, step / length2.sqrt()
