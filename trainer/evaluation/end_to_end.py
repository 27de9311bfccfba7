"""Both networks run end to end on unseen phantoms, exactly as the node runs them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.analyser import Analyser, Analysis, NoJointSeen
from models.burden_scores import (
    RULES,
    BurdenName,
    BurdenScore,
    SliceChances,
    counted_slices,
    quadrants_of,
)
from models.findings import POSITIONS, Finding, Position, Presence, Sequence, Sight
from models.mri_criteria import Definition, SlicesSeen, any_met, counted_on, definitions
from models.volume import Volume
from trainer.metrics.pointing import Pointing
from trainer.phantom.case import PhantomCase
from trainer.phantom.drawn_lesion import drawn_lesion
from trainer.phantom.second_phantom import SecondCase
from trainer.phantom.simulated_readers import contrasts


@dataclass(frozen=True, eq=False)
class StudyPrediction:
    """The networks' output on one study, together with the truth.

    Parameters
    ----------
    severity
        True Berlin grades in the order of POSITIONS, int8, ``(28,)``.
    contrast
        Contrast of each lesion, ``(28,)``; NaN if the phantom does not provide it.
    probability
        Calibrated, ``(28,)``; NaN if a position was not evaluable.
    pointings
        One per lesion that is present, was found and was localised.
    definitions
        Whether each published definition is met by the network's slices, and by the true ones;
        empty if the phantom does not provide them.
    burden
        The scores of lesion burden, each with the true one.
    """

    severity: NDArray[np.int8]
    contrast: NDArray[np.float64]
    probability: NDArray[np.float64]
    pointings: tuple[Pointing, ...] = ()
    definitions: Mapping[Definition, tuple[bool, bool]] = field(default_factory=dict)
    burden: tuple[tuple[BurdenScore, int], ...] = ()


def predict_phantom(analyser: Analyser, case: PhantomCase) -> StudyPrediction:
    """Analyse the images of a phantom."""
    analysis = _analysed(analyser, case.t1, case.stir)
    findings, drawn = _findings(analysis), drawn_slices(case)
    met = definitions((analysis.slices if analysis else None) or {})
    truly_met = definitions(drawn)
    return StudyPrediction(
        _grades(case),
        contrasts(case),
        _probabilities(findings),
        tuple(pointings_of(case, findings)),
        {one: (any_met(met[one]), any_met(truly_met[one])) for one in Definition},
        _burden(analysis, case.severity, drawn),
    )


def predict_second_phantom(analyser: Analyser, case: SecondCase) -> StudyPrediction:
    """Analyse a second phantom, which provides neither contrast nor lesion locations."""
    analysis = _analysed(analyser, case.t1, case.stir)
    return StudyPrediction(
        _grades(case),
        np.full(len(POSITIONS), np.nan),
        _probabilities(_findings(analysis)),
        burden=_burden(analysis, case.severity, None),
    )


def _grades(case: PhantomCase | SecondCase) -> NDArray[np.int8]:
    return np.array([case.severity[position] for position in POSITIONS], np.int8)


def _probabilities(findings: Iterable[Finding]) -> NDArray[np.float64]:
    said = [finding.probability for finding in findings]
    return np.array([np.nan if one is None else one for one in said])


def _analysed(analyser: Analyser, t1: Volume, stir: Volume) -> Analysis | None:
    """The analysis; None if no joint is seen."""
    try:
        return analyser.analyse(t1, stir)
    except NoJointSeen:
        return None


def _findings(analysis: Analysis | None) -> tuple[Finding, ...]:
    if analysis is None:
        return tuple(Finding(position, None, 0.5) for position in POSITIONS)
    return analysis.findings


def _burden(
    analysis: Analysis | None, severity: Mapping[Position, int], drawn: SlicesSeen | None
) -> tuple[tuple[BurdenScore, int], ...]:
    """The scores that the truth is known of, each with the true one."""
    if analysis is None:
        return ()
    chances = analysis.slice_chances or {}
    found = ((one, true_burden(one.name, severity, drawn, chances)) for one in analysis.burden)
    return tuple((score, true) for score, true in found if true is not None)


def true_burden(
    name: BurdenName,
    severity: Mapping[Position, int],
    drawn: SlicesSeen | None,
    chances: SliceChances,
) -> int | None:
    """A score by the true lesions, on the slices that the node counted.

    Parameters
    ----------
    drawn
        From `drawn_slices`; None if unknown, and with it all but the Berlin sums.
    """
    rule = RULES[name]
    quadrants = quadrants_of(rule.lesion)
    if not rule.slices:
        return sum(severity[one] for one in quadrants)
    if drawn is None:
        return None
    window = counted_slices(rule, chances) or frozenset()
    return sum(len(drawn.get(one, frozenset()) & window) for one in quadrants)


def drawn_slices(case: PhantomCase) -> SlicesSeen:
    """Slices that each graded lesion was drawn on: STIR for oedema, T1 for the others."""
    return {
        position: drawn_lesion(case.patient, position, counted_on(position.head.lesion)).slices
        for position in POSITIONS
        if case.severity[position] >= 1
    }


def pointings_of(case: PhantomCase, findings: Iterable[Finding]) -> list[Pointing]:
    """Localisation of the true positive findings.

    Parameters
    ----------
    findings
        Of this case; false, absent and unlocalised findings are skipped.
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
