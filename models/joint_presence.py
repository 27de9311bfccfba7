"""On which slices a joint is.

The joints lie where they lie in both sequences, so each slice of one is judged with what the
other shows in the same place. A joint is also one piece.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.contour_unet import SINK, SOURCE
from models.heatmap_peaks import Heights, Maps, peaks
from models.volume import Volume

_PARALLEL = 0.97
"""Cosine of the angle between slices that still show the same place."""

_MOST_SAY = 4.0
"""The other sequence may see a joint as this many times as sure, or unsure: a spoilt sequence
does not take away what a good one shows."""

_LEAST = 1e-4
_BRIDGED_SLICES = 2
_LONE_SHARE = 3


def presence_certainty(joints: Maps, last: int = SINK) -> Heights:
    """How surely each joint is there: the product of its ends' highest heat, 0 to 1.

    Parameters
    ----------
    joints
        ``(n, channels, size, size)``, the heatmap of the superior end first.
    last
        The channel of the inferior end's heatmap.
    """
    heights = [peaks(joints[:, channel])[1].clip(0, 1) for channel in (SOURCE, last)]
    return np.asarray(heights[0] * heights[1])


def slice_places(volumes: Sequence[Volume]) -> tuple[Heights, ...]:
    """Where slices lie along the normal of the first volume's, so that they can be compared.

    Parameters
    ----------
    volumes
        Canonical, of one study and frame of reference.

    Returns
    -------
    tuple
        For each volume its slices' centres in mm, ascending, ``(slices,)``; NaN where its slices
        are not parallel to those of the first.
    """
    return tuple(_places(volume, volumes[0]) for volume in volumes)


def _places(volume: Volume, first: Volume) -> Heights:
    slices, rows, columns = volume.voxels.shape
    normal = _normal(first)
    if _normal(volume) @ normal < _PARALLEL:
        return np.full(slices, np.nan)
    centres = np.full((slices, 3), [0, (rows - 1) / 2, (columns - 1) / 2])
    centres[:, 0] = np.arange(slices)
    return np.asarray(volume.to_patient(centres) @ normal)


def _normal(volume: Volume) -> Heights:
    """Across the slices' planes, from the first slice to the last."""
    along, row, column = volume.affine[:3, :3].T
    across = np.cross(row, column)
    return np.asarray(across * np.sign(across @ along) / np.linalg.norm(across))


def of_both_sequences(certainties: Sequence[Heights], places: Sequence[Heights]) -> list[Heights]:
    """How surely each joint is on each slice by what both sequences show there.

    Parameters
    ----------
    certainties
        Of one sequence or two: of each slice and side, ``(slices, 2)``.
    places
        As `slice_places` gives them.

    Returns
    -------
    list
        The geometric mean of a slice's own certainty and of the other sequence's in its place;
        its own alone where the other sequence has no slice.
    """
    if len(certainties) != 2:
        return list(certainties)
    first, second = zip(certainties, places, strict=True)
    return [_agreed(*first, *second), _agreed(*second, *first)]


def _agreed(own: Heights, places: Heights, other: Heights, others: Heights) -> Heights:
    if np.isnan(places).any() or np.isnan(others).any():
        return own
    half_gap = np.median(np.diff(others)) / 2 if len(others) > 1 else 0.0
    covered = (places >= others[0] - half_gap) & (places <= others[-1] + half_gap)
    logs = np.log(np.maximum(other, _LEAST)).T
    seen = np.exp(np.stack([np.interp(places, others, one) for one in logs], axis=1))
    agreed = np.sqrt(own * np.clip(seen, own / _MOST_SAY, own * _MOST_SAY))
    return np.where(covered[:, None], agreed, own)


def shown(certainty: Heights, threshold: float, contiguous: bool) -> NDArray[np.bool_]:
    """On which slices a joint is.

    Parameters
    ----------
    certainty
        Of each slice of a volume in order, ``(slices,)``.
    threshold
        Above this a slice shows the joint.
    contiguous
        A joint is one piece: holes of one or two slices are filled, and what is less than a third
        as long as the longest stretch and apart from it is dropped.
    """
    there = certainty > threshold
    if not contiguous or not there.any():
        return there
    runs = _runs(there, _BRIDGED_SLICES)
    longest = max(last - first for first, last in runs) + 1
    for first, last in runs:
        there[first : last + 1] = (last - first + 1) * _LONE_SHARE >= longest
    return there


def _runs(there: NDArray[np.bool_], bridged: int) -> list[tuple[int, int]]:
    """First and last slice of each stretch; stretches this close to each other are one."""
    on = np.flatnonzero(there)
    breaks = np.flatnonzero(np.diff(on) > bridged + 1) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(on, breaks)]
