"""Measures image quality, and how far a study is from the training cases.

Source: noise after Immerkær (CVIU 1996); the distance from the training cases is ours.
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
        The sequence and its contours.
    squares, zones
        The lesion network's input, both ``(slices, size, size)``.
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
    """Standard deviation of noise within the zones, relative to their mean intensity.

    Parameters
    ----------
    squares, zones
        ``(slices, size, size)``; zones are 0 in the background.

    Returns
    -------
    float
        0 if there are no zones, or they are black.
    """
    inside = zones > 0
    if not bool(inside.any()):
        return 0.0
    line = torch.tensor([1.0, -2.0, 1.0], device=squares.device)
    kernel = torch.outer(line, line)[None, None]
    rough = nnf.conv2d(squares.float().unsqueeze(1), kernel, padding=1)[:, 0].abs()
    level = float(squares[inside].mean())
    # The median ignores edges; 6 is the kernel's gain, 0.6745 the median of |N(0, 1)|.
    return float(rough[inside].median()) / (6 * 0.6745) / level if level > 0 else 0.0


@dataclass(frozen=True)
class Reference:
    """Distribution of the lesion network's embeddings of reference cases.

    Parameters
    ----------
    centre, spread
        Mean and standard deviation of each component.
    limit
        99th percentile of the root mean square of standardised components, over joints.
    """

    centre: tuple[float, ...]
    spread: tuple[float, ...]
    limit: float

    def strangeness(self, embedding: Tensor) -> float:
        """Distance of an embedding ``(n,)`` from the reference cases; 1 at the limit."""
        return _distance(embedding, self.centre, self.spread) / self.limit


def whole_joint(embeddings: Sequence[Tensor]) -> Tensor:
    """T1's and STIR's embeddings of a whole joint, concatenated: ``(2 · embedding,)``.

    Parameters
    ----------
    embeddings
        Of one joint, from `LesionResNet34.encode`.
    """
    return torch.cat([one[0, -1] for one in embeddings]).cpu()


def reference_of(embeddings: Tensor) -> Reference:
    """Reference from the embeddings ``(joints, n)`` of cases held out from training."""
    centre = embeddings.mean(dim=0)
    spread = embeddings.std(dim=0).clamp(min=1e-3)
    rounded = [tuple(round(x, 3) for x in numbers.tolist()) for numbers in (centre, spread)]
    distances = [_distance(one, rounded[0], rounded[1]) for one in embeddings]
    return Reference(rounded[0], rounded[1], round(float(np.quantile(distances, 0.99)), 3))


def reference_from(settings: Mapping[str, object]) -> Reference | None:
    """The reference stored in a model card's settings, or None."""
    stored = settings.get("reference")
    if not isinstance(stored, Mapping):
        return None
    return Reference(tuple(stored["centre"]), tuple(stored["spread"]), float(stored["limit"]))


def _distance(embedding: Tensor, centre: Sequence[float], spread: Sequence[float]) -> float:
    standardised = (embedding.cpu() - torch.tensor(centre)) / torch.tensor(spread)
    return float(standardised.square().mean().sqrt())
