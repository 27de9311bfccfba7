"""Fits the calibration of single slices: whether a lesion that is present shows on a slice.

Scores of lesion burden count slices. The logit of a single slice is compared with the slices that a
phantom's lesion was drawn on, both networks running end to end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.analyser import Analyser, NoJointSeen
from models.burden_scores import SliceChances
from models.calibration import Calibration
from models.findings import HEADS, Position
from models.mri_criteria import SlicesSeen
from trainer.errors import TrainingInputInvalid
from trainer.evaluation.end_to_end import drawn_slices
from trainer.lesions.calibration_fit import Floats, fitted_calibration, log_odds
from trainer.phantom.case import PhantomOptions, make_case


def slice_calibration(weights: Path, seeds: range) -> Calibration:
    """The calibration of single slices, from phantoms not used for training.

    Parameters
    ----------
    weights
        Folder with both networks.
    seeds
        Of the phantoms, drawn in plausible style.
    """
    analyser = Analyser.load(weights, "cpu")
    raw = replace(analyser, rules=replace(analyser.rules, slices=Calibration()))
    samples = [sample for seed in seeds for sample in _samples(raw, seed)]
    return fitted_on_slices(samples, f"phantoms {seeds.start} to {seeds.stop - 1}")


def _samples(analyser: Analyser, seed: int) -> list[tuple[SliceChances, SlicesSeen]]:
    """Uncalibrated chances and drawn slices of one phantom; none if no joint is seen."""
    case = make_case(seed, PhantomOptions(style="plausible"))
    try:
        analysis = analyser.analyse(case.t1, case.stir)
    except NoJointSeen:
        return []
    return [(analysis.slice_chances or {}, drawn_slices(case))]


def fitted_on_slices(
    samples: Iterable[tuple[SliceChances, SlicesSeen]], fitted_on: str
) -> Calibration:
    """The calibration with the lowest cross-entropy over the slices of present lesions.

    Parameters
    ----------
    samples
        Of each study, uncalibrated chances of every quadrant, and the slices that each present
        lesion shows on.
    fitted_on
        Description of the studies.

    Raises
    ------
    TrainingInputInvalid
        If no slice of a lesion was scored.
    """
    rows = [
        _row(HEADS.index(position.head), chance, number in drawn[position])
        for chances, drawn in samples
        for position, of_slices in _present(chances, drawn).items()
        for number, chance in of_slices.items()
    ]
    if not rows:
        raise TrainingInputInvalid(
            f"{fitted_on} show no lesion in a quadrant that was scored: calibrate on more phantoms"
        )
    logits, targets = (np.reshape(part, (-1, len(HEADS))) for part in zip(*rows, strict=True))
    return fitted_calibration(log_odds(logits), targets, fitted_on)


def _present(chances: SliceChances, drawn: SlicesSeen) -> Mapping[Position, Mapping[int, float]]:
    return {position: each for position, each in chances.items() if position in drawn}


def _row(head: int, chance: float, shows: bool) -> Sequence[Floats]:
    """Chance and label of one slice, in the column of its head."""
    chances, labels = np.full(len(HEADS), 0.5), np.full(len(HEADS), np.nan)
    chances[head], labels[head] = chance, shows
    return chances, labels
