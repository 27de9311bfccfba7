"""Whether a study shows the sacroiliac joints at all, by what the contour network saw.

Headers can be wrong or missing, and another part of the body may give a chance contour here and
there. A real study shows a joint on a row of neighbouring slices; one side may lie outside the
images.
"""

from collections.abc import Sequence

from models.delineation import Delineation
from models.findings import Side

LEAST_SLICES = 3

RULE = f"one sequence must show a joint on {LEAST_SLICES} slices or more"


def shows_joints(delineations: Sequence[Delineation]) -> bool:
    """Whether a study is one of the sacroiliac joints.

    Parameters
    ----------
    delineations
        Of its T1 and its STIR.
    """
    return any(len(one.of(side)) >= LEAST_SLICES for one in delineations for side in Side)
