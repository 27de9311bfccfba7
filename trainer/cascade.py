"""Both networks together on phantoms they have never seen, as a hospital would use them."""

from collections.abc import Iterable

import numpy as np

from models.analyser import Analyser, NoJointSeen
from models.findings import HEADS, POSITIONS, Side
from models.volume import Volume
from trainer.lesion_training import Answers
from trainer.phantom.case import make_case


def cascade_answers(analyser: Analyser, seeds: Iterable[int]) -> Answers:
    """Draw each subject, analyse it from its images alone, and keep what was said.

    Returns
    -------
    Answers
        A row for each joint. A joint that was not seen counts as free of lesions: probability 0.
    """
    truth, said = [], []
    for seed in seeds:
        case = make_case(seed)
        truth.append([case.severity[position] >= 1 for position in POSITIONS])
        said.append(_probabilities(analyser, case.t1, case.stir))
    shape = (-1, len(HEADS))
    return Answers(np.array(truth).reshape(shape), np.array(said).reshape(shape))


def _probabilities(analyser: Analyser, t1: Volume, stir: Volume) -> list[float]:
    try:
        return [finding.probability or 0.0 for finding in analyser.analyse(t1, stir).findings]
    except NoJointSeen:
        return [0.0] * len(HEADS) * len(Side)
