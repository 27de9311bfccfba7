"""The U-Net that all contour networks share: the paper's, folded so that it is fast.

Source: paper, "Delineating the sacroiliac joints"; folding is ours.
"""

from itertools import pairwise

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn


class UNet(nn.Module):
    """A 2D U-Net with batch normalisation and max pooling.

    Parameters
    ----------
    inputs, outputs
        Channels of the images and of the maps.
    width
        Channels of the first level; each level below has twice as many.
    levels
        Resolutions, the first included.
    fold
        ``fold × fold`` pixels become one before the first level and are unfolded at the end.
    """

    def __init__(self, inputs: int, width: int, levels: int, fold: int, outputs: int) -> None:
        super().__init__()
        self._fold = fold
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            map(_double_convolution, [inputs * fold**2, *widths[:-1]], widths)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, here, 2, 2) for here, below in pairwise(widths)
        )
        self.merge = nn.ModuleList(_double_convolution(2 * here, here) for here in widths[:-1])
        self.head = nn.Conv2d(widths[0], outputs * fold**2, 1)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the first level after decoding, and of the deepest level.

        Parameters
        ----------
        images
            ``(batch, inputs, size, size)``; the size must be a multiple of
            ``fold · 2^(levels - 1)``.
        """
        seen = nnf.pixel_unshuffle(images, self._fold)
        kept: list[Tensor] = []
        for depth, block in enumerate(self.down):
            seen = block(nnf.max_pool2d(seen, 2) if depth else seen)
            kept.append(seen)
        for level in reversed(range(len(self.up))):
            raised = self.up[level](seen)
            seen = self.merge[level](torch.cat([raised, kept[level]], dim=1))
        return seen, kept[-1]

    def maps(self, features: Tensor) -> Tensor:
        """The maps ``(batch, outputs, size, size)`` of decoded features."""
        return nnf.pixel_shuffle(self.head(features), self._fold)


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
