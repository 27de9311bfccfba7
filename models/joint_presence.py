"""Decides on which slices a joint is visible.

Both sequences show the same anatomy, so the decision for a slice also uses the other sequence at
the same position. A joint occupies one contiguous run of slices.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.contour_unet import SINK, SOURCE
from models.heatmap_peaks import Heights, Maps, peaks
from models.volume import Volume

_PARALLEL = 0.97
"""Minimum cosine of the angle between two sequences' slices for them to be comparable."""

_MAX_RATIO = 4.0
"""Limit to the ratio of both sequences' certainties, so that a sequence with artefacts does not
overrule a good one."""

_MIN_CERTAINTY = 1e-4
_BRIDGED_SLICES = 2
_SHORTEST_RUN = 3
"""Runs shorter than the longest by more than this factor are dropped."""


def presence_certainty(joints: Maps, last: int = SINK) -> Heights:
    """Certainty that each joint is visible, 0 to 1: the product of the peaks at both ends.

    Parameters
    ----------
    joints
        ``(n, channels, size, size)``, the superior end's heatmap first.
    last
        Channel of the inferior end's heatmap.
    """
    heights = [peaks(joints[:, channel])[1].clip(0, 1) for channel in (SOURCE, last)]
    return np.asarray(heights[0] * heights[1])


def slice_places(volumes: Sequence[Volume]) -> tuple[Heights, ...]:
    """Positions of slices along the normal of the first volume.

    Parameters
    ----------
    volumes
        Canonical volumes of one study and frame of reference.

    Returns
    -------
    tuple
        Slice centres of each volume in mm, ascending, ``(slices,)``; NaN if its slices are not
        parallel to the first volume's.
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
    """Unit normal of the slices, pointing from the first to the last."""
    along, row, column = volume.affine[:3, :3].T
    across = np.cross(row, column)
    return np.asarray(across * np.sign(across @ along) / np.linalg.norm(across))


def of_both_sequences(certainties: Sequence[Heights], places: Sequence[Heights]) -> list[Heights]:
    """Combine the certainties of both sequences.

    Parameters
    ----------
    certainties
        By slice and side, ``(slices, 2)``, for one or two sequences.
    places
        Slice positions from `slice_places`.

    Returns
    -------
    list
        Geometric mean of each slice's certainty and the other sequence's at the same position;
        the slice's own certainty where the other sequence has no slice.
    """
    if len(certainties) != 2:
        return list(certainties)
    first, second = zip(certainties, places, strict=True)
    return [_combined(*first, *second), _combined(*second, *first)]


def _combined(own: Heights, places: Heights, other: Heights, others: Heights) -> Heights:
    if np.isnan(places).any() or np.isnan(others).any():
        return own
    half_gap = np.median(np.diff(others)) / 2 if len(others) > 1 else 0.0
    covered = (places >= others[0] - half_gap) & (places <= others[-1] + half_gap)
    logs = np.log(np.maximum(other, _MIN_CERTAINTY)).T
    there = np.exp(np.stack([np.interp(places, others, one) for one in logs], axis=1))
    combined = np.sqrt(own * np.clip(there, own / _MAX_RATIO, own * _MAX_RATIO))
    return np.where(covered[:, None], combined, own)


def shown(certainty: Heights, threshold: float, contiguous: bool) -> NDArray[np.bool_]:
    """Whether each slice shows a joint.

    Parameters
    ----------
    certainty
        By slice, in order, ``(slices,)``.
    threshold
        A slice shows the joint above this certainty.
    contiguous
        Fill gaps of one or two slices, and drop separate runs shorter than a third of the
        longest.
    """
    there = certainty > threshold
    if not contiguous or not there.any():
        return there
    runs = _runs(there, _BRIDGED_SLICES)
    longest = max(last - first for first, last in runs) + 1
    for first, last in runs:
        there[first : last + 1] = (last - first + 1) * _SHORTEST_RUN >= longest
    return there


def _runs(there: NDArray[np.bool_], bridged: int) -> list[tuple[int, int]]:
    """First and last slice of each run; gaps of up to `bridged` slices do not split a run."""
    on = np.flatnonzero(there)
    breaks = np.flatnonzero(np.diff(on) > bridged + 1) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(on, breaks)]
