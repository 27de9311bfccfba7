"""What the contour network says of a volume's slices, seen as they are and in the mirror.

A mirrored slice is the slice of a mirrored patient: right and left change places and the field's
columns turn round. The mean of both answers errs less than either.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.contour_unet import FIELD_COLUMN, SIDES, ContourUNet


def with_neighbours(images: Tensor, offsets: Sequence[int]) -> Tensor:
    """Every slice of a volume with the slices around it.

    Parameters
    ----------
    images
        All slices of one volume in order, ``(slices, 1, size, size)``.
    offsets
        As `ContourArchitecture.slice_offsets` gives them.

    Returns
    -------
    Tensor
        ``(slices, offsets, size, size)``; zero where the volume ends.
    """
    count, reach = len(images), max(offsets)
    padding = images.new_zeros(reach, *images.shape[1:])
    padded = torch.cat([padding, images, padding])
    return torch.cat([padded[reach + offset :][:count] for offset in offsets], dim=1)


def contour_maps(
    network: ContourUNet, images: Tensor, mirrored: bool, slices_at_once: int = 8
) -> Tensor:
    """Maps of every slice of a volume.

    Parameters
    ----------
    network
        A contour network in evaluation mode.
    images
        All slices of one volume in order, as `models.preprocess.network_slices` gives them,
        ``(slices, 1, size, size)``.
    mirrored
        Whether the mirrored slices are seen as well, which doubles the time.
    slices_at_once
        Memory grows with it.

    Returns
    -------
    Tensor
        float32 on the CPU, ``(slices, 8, size, size)``.
    """
    place = next(network.parameters()).device
    seen = []
    with torch.inference_mode():
        seen_together = with_neighbours(images, network.architecture.slice_offsets)
        for stack in torch.split(seen_together, slices_at_once):
            there = stack.to(place, memory_format=torch.channels_last)
            maps = network(there).float()
            if mirrored:
                maps = (maps + mirrored_maps(network(there.flip(-1)).float())) / 2
            seen.append(maps.cpu().contiguous())
    return torch.cat(seen)


def mirrored_maps(maps: Tensor) -> Tensor:
    """The maps ``(n, 8, size, size)`` of mirrored slices, as those of the slices themselves."""
    joints = maps.view(len(maps), len(SIDES), -1, *maps.shape[2:]).flip(-1, 1)
    turned = torch.ones(joints.shape[2], device=maps.device)
    turned[FIELD_COLUMN] = -1
    seen: Tensor = (joints * turned[:, None, None]).flatten(1, 2)
    return seen
