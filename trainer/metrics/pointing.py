"""How well a finding points at its lesion: the right slice, and the distance to the lesion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.findings import Lesion
from trainer.metrics.contour_error import percentile


@dataclass(frozen=True)
class Pointing:
    """How well one lesion was localised.

    Parameters
    ----------
    slices_off
        Distance to the nearest slice that shows the lesion; 0 if the given slice does.
    distance_mm
        From the point to the lesion.
    by_chance
        Share of the joint's slices that show it: the hit rate of a random slice.
    """

    lesion: Lesion
    slices_off: float
    distance_mm: float
    by_chance: float


def pointing_scores(pointings: Sequence[Pointing]) -> dict[str, dict[str, float]]:
    """How often the right slice was chosen, and the distance of the point to the lesion.

    Returns
    -------
    dict
        By lesion type, and for all lesions; lengths in millimetres.
    """
    groups = {str(one): [p for p in pointings if p.lesion is one] for one in Lesion}
    groups["all"] = list(pointings)
    return {name: _pointing_scores(group) for name, group in groups.items() if group}


def _pointing_scores(group: Sequence[Pointing]) -> dict[str, float]:
    off = np.array([one.slices_off for one in group])
    distance_mm = np.array([one.distance_mm for one in group])
    return {
        "pointed_at": len(group),
        "slice_shows_it": float((off == 0).mean()),
        "any_slice_would": float(np.mean([one.by_chance for one in group])),
        "within_one_slice": float((off <= 1).mean()),
        "distance_mm_p50": percentile(distance_mm, 50),
        "distance_mm_p90": percentile(distance_mm, 90),
    }
