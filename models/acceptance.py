"""Decides from the contours whether a study shows the sacroiliac joints at all.

Headers can be wrong or missing, and other anatomy occasionally produces a false contour. An SIJ
study shows a joint on several slices; one side may be outside the field of view.
"""

from collections.abc import Sequence

from models.delineation import Delineation
from models.findings import Side

MIN_SLICES = 3

RULE = f"at least one sequence must show a joint on {MIN_SLICES} or more slices"


def shows_joints(delineations: Sequence[Delineation]) -> bool:
    """Whether a study shows the sacroiliac joints.

    Parameters
    ----------
    delineations
        Contours on T1 and on STIR.
    """
    return any(len(one.of(side)) >= MIN_SLICES for one in delineations for side in Side)
