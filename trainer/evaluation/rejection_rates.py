"""Rejection rates: studies of other body regions, and studies of the sacroiliac joints."""

from collections import Counter
from pathlib import Path
from typing import Any

from models.acceptance import RULE, shows_joints
from models.analyser import Analyser
from models.orientation import canonical
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case

FIRST_SEED = 900_000
"""First seed of these studies, which no training uses."""

JOINTS = "sacroiliac joints"


def rejection_rates(weights: Path, studies: int) -> dict[str, Any]:
    """How many studies the contour network rejects, by what they show.

    Parameters
    ----------
    weights
        Folder with both networks.
    studies
        Number of studies of the joints, and of other regions.
    """
    analyser = Analyser.load(weights)
    seen: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for number in range(2 * studies):
        without_joints = number >= studies
        options = PhantomOptions(style="any", without_joints=without_joints)
        case = make_case(FIRST_SEED + number, options)
        shown = str(case.parameters.get("place", "soft tissue")) if without_joints else JOINTS
        seen[shown] += 1
        rejected[shown] += not _accepted(analyser, case)
    return {
        "rule": RULE,
        "studies": {
            shown: {
                "studies": count,
                "refused": rejected[shown],
                "share": round(rejected[shown] / count, 4),
            }
            for shown, count in sorted(seen.items())
        },
    }


def _accepted(analyser: Analyser, case: PhantomCase) -> bool:
    seen = analyser.delineate((canonical(case.t1), canonical(case.stir)))
    return shows_joints([sighting.delineation for sighting in seen])
