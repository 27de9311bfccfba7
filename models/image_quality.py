"""Measures whether images are good enough, and like enough to those of training, to be trusted.

Source: noise after Immerkær (CVIU 1996); the distance to the training cases is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from models.delineation import Delineation
from models.findings import Sequence as Kind
from models.findings import Side
from models.quality_limits import ImageQuality
from models.volume import Volume


def image_quality(
    kind: Kind,
    side: Side,
    volume: Volume,
    delineation: Delineation,
    *,
    squares: Tensor,
    zones: Tensor,
    strangeness: float | None = None,
) -> ImageQuality:
    """Measure one joint on one sequence.

    Parameters
    ----------
    volume, delineation
        The sequence and the contours on it.
    squares, zones
        What the lesion network sees of the joint, both ``(slices, size, size)``.
    strangeness
        As in `ImageQuality`.
    """
    contours = delineation.of(side)
    slice_mm, row_mm, column_mm = volume.spacing_mm
    return ImageQuality(
        kind,
        side,
        max(row_mm, column_mm),
        slice_mm,
        len(contours),
        noise_share(squares, zones),
        float(np.mean([contour.quality for contour in contours])) if contours else 0.0,
        strangeness,
    )


def noise_share(squares: Tensor, zones: Tensor) -> float:
    """Standard deviation of noise within the zones over their mean intensity.

    Parameters
    ----------
    squares, zones
        ``(slices, size, size)``; 0 outside the zones.

    Returns
    -------
    float
        0 where there are no zones or they are black.
    """
    inside = zones > 0
    if not bool(inside.any()):
        return 0.0
    line = torch.tensor([1.0, -2.0, 1.0], device=squares.device)
    kernel = torch.outer(line, line)[None, None]
    rough = nnf.conv2d(squares.float().unsqueeze(1), kernel, padding=1)[:, 0].abs()
    level = float(squares[inside].mean())
    # The median leaves out edges; 6 is the kernel's gain, 0.6745 the median of |N(0, 1)|.
    return float(rough[inside].median()) / (6 * 0.6745) / level if level > 0 else 0.0


@dataclass(frozen=True)
class Reference:
    """Where the network's descriptions of its training cases lie.

    Parameters
    ----------
    centre, spread
        Mean and standard deviation of each number of a description.
    limit
        Root mean square of standardised numbers that one joint in a hundred exceeds.
    """

    centre: tuple[float, ...]
    spread: tuple[float, ...]
    limit: float

    def strangeness(self, description: Tensor) -> float:
        """How far a description ``(n,)`` lies away; 1 at the limit."""
        return _distance(description, self.centre, self.spread) / self.limit


def whole_joint(described: Sequence[Tensor]) -> Tensor:
    """T1's and STIR's description of a joint's regions together, ``(2 · embedding,)``.

    Parameters
    ----------
    described
        As `LesionResNet34.encode` gives them for one joint.
    """
    return torch.cat([one[0, -1] for one in described]).cpu()


def reference_of(descriptions: Tensor) -> Reference:
    """The reference that descriptions ``(joints, n)`` of cases that training did not see make."""
    centre = descriptions.mean(dim=0)
    spread = descriptions.std(dim=0).clamp(min=1e-3)
    kept = [tuple(round(x, 3) for x in numbers.tolist()) for numbers in (centre, spread)]
    distances = [_distance(one, kept[0], kept[1]) for one in descriptions]
    return Reference(kept[0], kept[1], round(float(np.quantile(distances, 0.99)), 3))


def reference_from(settings: Mapping[str, object]) -> Reference | None:
    """The reference that a card keeps, or None."""
    kept = settings.get("reference")
    if not isinstance(kept, Mapping):
        return None
    return Reference(tuple(kept["centre"]), tuple(kept["spread"]), float(kept["limit"]))


def _distance(description: Tensor, centre: Sequence[float], spread: Sequence[float]) -> float:
    away = (description.cpu() - torch.tensor(centre)) / torch.tensor(spread)
    return float(away.square().mean().sqrt())
