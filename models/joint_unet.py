"""The network that delineates one joint at a fixed scale, and the one that finds the joints.

Both are 2D U-Nets over a slice and its two neighbours. The delineating one sees a square of about
100 mm around one joint, mirrored so that the ilium is always on the right of the square, and
answers with heatmaps of both ends, the field that leads from one to the other, a soft mask of the
line, and a number that says whether the slice shows the joint at all.

Source: paper, "Delineating the sacroiliac joints"; square, mask and presence are ours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.precision import mixed_precision
from models.u_net import UNet

SOURCE, SINK, FIELD_ROW, FIELD_COLUMN, LINE = range(5)
SLICES_SEEN = 3
"""The slice before, the slice itself, the slice behind."""

SQUARE_PX, SQUARE_MM = 112, 0.9
"""Side of the delineating network's square and of its pixels."""


@dataclass(frozen=True)
class JointArchitecture:
    """The numbers that fix a network's shape.

    Parameters
    ----------
    width
        Channels of the first level; each level below has twice as many.
    levels
        Resolutions, the first included.
    fold
        ``fold × fold`` pixels become one before the first level and are unfolded at the end.
    channels
        Maps in the answer.
    """

    width: int = 32
    levels: int = 4
    fold: int = 2
    channels: int = 5

    def __post_init__(self) -> None:
        if min(self.width, self.levels, self.fold, self.channels) < 1:
            raise ValueError(f"width, levels, fold and channels must be 1 or more, got {self}")


class JointUNet(UNet):
    """A U-Net with maps and one logit for each image.

    Parameters
    ----------
    architecture
        Its shape.
    """

    def __init__(self, architecture: JointArchitecture) -> None:
        super().__init__(
            inputs=SLICES_SEEN,
            width=architecture.width,
            levels=architecture.levels,
            fold=architecture.fold,
            outputs=architecture.channels,
        )
        self.architecture = architecture
        deepest = architecture.width * 2 ** (architecture.levels - 1)
        self.presence = nn.Linear(2 * deepest + architecture.width, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and presence.

        Parameters
        ----------
        images
            ``(batch, 3, size, size)``, standardised; the size must be a multiple of
            ``fold · 2^(levels - 1)``.

        Returns
        -------
        tuple
            Maps ``(batch, channels, size, size)`` and logits ``(batch,)``.
        """
        features, deepest = self.features(images)
        pooled = [deepest.mean((2, 3)), deepest.amax((2, 3)), features.amax((2, 3))]
        logits = self.presence(torch.cat(pooled, dim=1))[:, 0]
        return self.maps(features), logits


@dataclass(frozen=True)
class JointArchitectures:
    """The shapes of both networks.

    Parameters
    ----------
    members
        Delineating networks, trained from different seeds, whose answers are averaged.
    """

    finder: JointArchitecture = JointArchitecture(width=16, channels=2)
    delineator: JointArchitecture = JointArchitecture()
    members: int = 1

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"members must be 1 or more, got {self.members}")


class JointNetwork(nn.Module):
    """Both networks as one.

    Parameters
    ----------
    architecture
        Their shapes.

    Attributes
    ----------
    half_precision
        Whether `find` and `delineate` compute in the device's half precision.
    """

    half_precision = False

    def __init__(self, architecture: JointArchitectures) -> None:
        super().__init__()
        self.architecture = architecture
        self.finder = JointUNet(architecture.finder)
        self.delineators = nn.ModuleList(
            JointUNet(architecture.delineator) for _ in range(architecture.members)
        )

    def find(self, stacks: Tensor) -> Tensor:
        """Soft masks of the right and left joint on whole slices, ``(n, 2, size, size)``.

        Stacks may lie on any device; float32 masks on the CPU come back.
        """
        placed = self._placed(stacks)
        with mixed_precision(placed.device, self.half_precision):
            maps: Tensor = self.finder(placed)[0]
        return maps.float().cpu()

    def delineate(self, stacks: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(n, 5, size, size)`` and presence ``(n,)`` of one joint's squares.

        Stacks may lie on any device; float32 answers on the CPU come back.
        """
        placed = self._placed(stacks)
        with mixed_precision(placed.device, self.half_precision):
            answers = [delineator(placed) for delineator in self.delineators]
        maps, logits = (torch.stack(one).float().mean(dim=0) for one in zip(*answers, strict=True))
        return maps.cpu(), logits.cpu()

    def _placed(self, stacks: Tensor) -> Tensor:
        device = next(self.finder.parameters()).device
        return stacks.to(device, memory_format=torch.channels_last)


def triples(images: Tensor) -> Tensor:
    """Every slice of ``(slices, size, size)`` between its neighbours, ``(slices, 3, size, size)``.

    At either end of the volume the last slice stands for the one that is missing.
    """
    before = torch.cat([images[:1], images[:-1]])
    behind = torch.cat([images[1:], images[-1:]])
    return torch.stack([before, images, behind], dim=1)


def standardised(stacks: Tensor) -> Tensor:
    """Stacks ``(n, 3, size, size)``, each with mean 0 and deviation 1, cut at ±4."""
    flat = stacks.flatten(1)
    mean, spread = flat.mean(dim=1), flat.std(dim=1).clamp(min=1e-4)
    there = (stacks - mean[:, None, None, None]) / spread[:, None, None, None]
    return there.clamp(-4, 4)
