"""The paper's baseline: 21 landmarks per joint, each with its own heatmap.

The network is the same U-Net with more output channels. A contour is the line through the peaks
of its 21 heatmaps in order.

Source: paper, "Performance evaluation & results".
"""

import numpy as np
import torch.nn.functional as nnf
from torch import Tensor

from models.contour_tracing import Maps, WalkedContour, WalkRules
from models.contour_unet import SIDES
from models.heatmap_peaks import peaks
from models.joint_presence import shown
from trainer.contours.contour_training import JointsShown, heat_loss

LANDMARKS = 21
"""Largest number of points of a contour in the paper's data."""


def landmarks(contours: Tensor) -> Tensor:
    """Contours ``(n, points, 2)`` resampled to ``(n, 21, 2)`` by linear interpolation."""
    resampled = nnf.interpolate(
        contours.transpose(1, 2), LANDMARKS, mode="linear", align_corners=True
    )
    return resampled.transpose(1, 2)


def landmark_loss(maps: Tensor, contours: Tensor) -> Tensor:
    """Weighted L2 of the heatmaps of all 21 points.

    Parameters
    ----------
    maps
        ``(n, 42, size, size)``.
    contours
        ``(n, 2, points, 2)``, NaN where there is no joint.
    """
    size_px = maps.shape[-1]
    there = JointsShown.of(contours, size_px)
    wanted = there.heat_of(landmarks(there.lines), size_px)
    return heat_loss(maps.view_as(wanted), wanted, there.judged)


def contours_from_landmarks(maps: Maps, rules: WalkRules) -> tuple[WalkedContour, ...]:
    """All contours in the maps of a baseline network.

    Parameters
    ----------
    maps
        ``(slices, 42, size, size)``: 21 heatmaps of the right joint, then of the left.
    rules
        Only the presence rules apply, to the product of the first and last peak heights.

    Returns
    -------
    tuple of WalkedContour
        One per slice and side where the joint is present, by slice; 21 points each.
    """
    slices, _, size, _ = maps.shape
    places, heights = peaks(maps.reshape(-1, size, size))
    lines = places.reshape(slices, len(SIDES), LANDMARKS, 2)
    ends = heights.clip(0, 1).reshape(slices, len(SIDES), LANDMARKS)[:, :, [0, -1]]
    certainty = ends.prod(axis=2)
    there = np.stack(
        [shown(one, rules.presence_threshold, rules.contiguous) for one in certainty.T], axis=1
    )
    return tuple(
        WalkedContour(
            number,
            SIDES[joint],
            lines[number, joint],
            float(np.sqrt(certainty[number, joint])),
            walked=True,
        )
        for number, joint in np.argwhere(there).tolist()
    )
