"""Judges by the delineated joints whether planes in doubt lie along the sacrum.

Along the sacrum the joints converge towards the feet; across it they are parallel or diverge. A
header cannot always tell the two apart: a plane tilted slightly across the sacrum of one patient
lies along that of another.

Measurements are in docs/decisions/analyse.md.
"""

from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from models.analyser import Analysis
from models.delineation import Delineation
from models.findings import Side
from models.volume import Volume
from sij_node.dicom.series_roles import SequenceChoice, SeriesDoubt
from sij_node.errors import PairMissing

CONVERGENCE_MM = 15.0
"""Joints converge by at least this from their upper to their lower ends, if along the sacrum."""


def check_planes(choice: SequenceChoice, analysis: Analysis, t1: Volume, stir: Volume) -> None:
    """Refuse planes that lie across the sacrum, where the header leaves that in doubt.

    Raises
    ------
    PairMissing
        If orientation is a doubt, and the joints do not converge towards the feet.
    """
    in_doubt = {name for doubt, name in choice.doubts if doubt is SeriesDoubt.UNUSUAL_TILT}
    if not in_doubt or is_along_sacrum(((analysis.t1, t1), (analysis.stir, stir))):
        return
    raise PairMissing(
        f"The slices of {' and '.join(sorted(in_doubt, reverse=True))} lie across the sacrum: they "
        "are not tilted forward at the top, and the delineated joints do not converge caudally. "
        "Send a coronal oblique T1 and a coronal oblique STIR, parallel to the sacrum."
    )


def is_along_sacrum(delineations: Sequence[tuple[Delineation, Volume]]) -> bool:
    """Whether the joints converge as they do in planes along the sacrum."""
    found_mm = convergence_mm(delineations)
    return found_mm is not None and found_mm >= CONVERGENCE_MM


def convergence_mm(delineations: Sequence[tuple[Delineation, Volume]]) -> float | None:
    """How much closer together the joints' lower ends lie than their upper ends.

    Parameters
    ----------
    delineations
        Contours of T1 and STIR, each with the volume in whose indices they are.

    Returns
    -------
    float or None
        In mm, negative if they diverge; twice the half of one joint if only one is seen, None if
        neither is.
    """
    drifts = [
        [drift for each in delineations for drift in _medial_drifts_mm(*each, side)]
        for side in Side
    ]
    medians = [median(of_side) for of_side in drifts if of_side]
    return 2 * float(np.mean(medians)) if medians else None


def _medial_drifts_mm(delineation: Delineation, volume: Volume, side: Side) -> Iterator[float]:
    """How much closer to the midline the lower end of each contour lies than its upper end."""
    lateral = 1.0 if side is Side.LEFT else -1.0
    for contour in delineation.of(side):
        ends = np.insert(contour.points[[0, -1]], 0, contour.slice_index, axis=1)
        upper, lower = volume.to_patient(ends)
        yield lateral * float(upper[0] - lower[0])
