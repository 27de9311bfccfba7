"""Both networks together on phantoms they have never seen, as a hospital would use them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from models.analyser import Analyser, NoJointSeen
from models.findings import HEADS, POSITIONS, Finding, Presence, Sequence, Sight
from trainer.lesion_training import Answers
from trainer.metrics import Pointing
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case
from trainer.phantom.drawn import drawn_lesion


@dataclass(frozen=True, eq=False)
class CascadeAnswers:
    """What was said of some subjects.

    Parameters
    ----------
    answers
        A row for each joint. A joint that was not seen counts as free of lesions: probability 0.
    pointings
        One for each lesion that is there, was found, and was pointed at.
    """

    answers: Answers
    pointings: tuple[Pointing, ...]


def cascade_answers(analyser: Analyser, seeds: Iterable[int]) -> CascadeAnswers:
    """Draw each subject, plausibly, analyse it from its images alone, and keep what was said."""
    truth, said = [], []
    pointings: list[Pointing] = []
    for seed in seeds:
        case = make_case(seed, PhantomOptions(style="plausible"))
        findings = _findings(analyser, case)
        truth.append([case.severity[position] >= 1 for position in POSITIONS])
        said.append([finding.probability or 0.0 for finding in findings])
        pointings += pointings_of(case, findings)
    shape = (-1, len(HEADS))
    answers = Answers(np.array(truth, float).reshape(shape), np.array(said).reshape(shape))
    return CascadeAnswers(answers, tuple(pointings))


def _findings(analyser: Analyser, case: PhantomCase) -> tuple[Finding, ...]:
    try:
        return analyser.analyse(case.t1, case.stir).findings
    except NoJointSeen:
        return tuple(Finding(position, None, 0.5) for position in POSITIONS)


def pointings_of(case: PhantomCase, findings: Iterable[Finding]) -> list[Pointing]:
    """How well the lesions that were rightly found were pointed at.

    Parameters
    ----------
    findings
        Of this case; those that are wrong, absent or point nowhere are passed over.
    """
    return [
        _pointing(case, finding, finding.sight)
        for finding in findings
        if finding.presence is Presence.PRESENT
        and finding.sight is not None
        and case.severity[finding.position] >= 1
    ]


def _pointing(case: PhantomCase, finding: Finding, sight: Sight) -> Pointing:
    on_t1 = sight.sequence is Sequence.T1
    volume, truth = (case.t1, case.t1_truth) if on_t1 else (case.stir, case.stir_truth)
    drawn = drawn_lesion(case.patient, finding.position, sight.sequence)
    shown = [one.slice_index in drawn.slices for one in truth.of(finding.position.side)]
    return Pointing(
        finding.position.head.lesion,
        drawn.slices_off(sight.slice_index),
        drawn.distance_mm(volume.to_patient((sight.slice_index, sight.row, sight.column))),
        float(np.mean(shown)) if shown else 0.0,
    )
