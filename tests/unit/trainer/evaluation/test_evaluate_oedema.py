"""Oedema compared with readers' outlines."""

from dataclasses import dataclass

import numpy as np
import pytest

from models.findings import POSITIONS, Finding, Lesion, Region, Side
from models.regions import REGION_LABELS
from models.volume import Volume
from trainer.evaluation.evaluate_oedema import (
    QuadrantOedema,
    kappa,
    oedema_numbers,
    oedema_page,
    quadrants_of,
)
from trainer.evaluation.real_scans import RealScan

WHERE = REGION_LABELS[Side.LEFT, Region.LOWER_SACRUM]


@dataclass
class Analysed:
    findings: tuple[Finding, ...]
    stir_regions: np.ndarray


def findings(probability):
    return tuple(Finding(position, probability, 0.5) for position in POSITIONS)


def quadrant(outlined_ml, probability):
    position = next(p for p in POSITIONS if p.head.lesion is Lesion.OEDEMA)
    return QuadrantOedema("1", outlined_ml, Finding(position, probability, 0.5))


def test_an_outline_counts_for_the_quadrant_in_which_it_lies_and_not_outside():
    regions = np.zeros((4, 20, 20), np.uint8)
    regions[1:3, 5:15, 5:15] = WHERE
    outline = np.zeros(regions.shape, bool)
    outline[1, 5:15, 5:15] = outline[:, :3] = True
    stir = RealScan(
        "7",
        "STIR",
        Volume(np.zeros(regions.shape, np.float32), np.diag([4.0, 2.0, 2.0, 1.0])),
        None,
        frozenset(),
        None,
        (outline, outline & False),
    )

    found = quadrants_of(stir, Analysed(findings(0.2), regions))

    volumes = {(q.finding.position.side, q.finding.position.head.region): q for q in found}
    assert len(found) == 8
    assert volumes[Side.LEFT, Region.LOWER_SACRUM].outlined_ml == pytest.approx((1.6, 0))
    assert sum(sum(q.outlined_ml) for q in found) == pytest.approx(1.6)


def test_quadrants_are_counted_that_all_or_none_outlined():
    numbers = oedema_numbers(
        [
            quadrant((0.8, 0.6), 0.9),
            quadrant((0.8, 0.7), 0.1),
            quadrant((0.8, 0.0), 0.9),
            quadrant((0.0, 0.0), 0.9),
            quadrant((0.0, 0.0), 0.1),
            quadrant((0.0, 0.0), None),
        ]
    )

    assert numbers["outlined by all with more than 0.5 ml"] == 2
    assert numbers["of these called"] == 1
    assert numbers["outlined by nobody"] == 3
    assert numbers["of those called"] == 1
    assert numbers["kappa between outlines"] == [0.67]


def test_kappa_is_agreement_beyond_chance():
    one, other = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)

    assert kappa(one, one) == 1
    assert kappa(one, ~one) == -1
    assert kappa(one, other) == pytest.approx(0.5)
    assert kappa(one & False, one & False) == 1


def test_the_page_lists_every_quadrant_with_what_was_outlined_and_found():
    quadrants = [quadrant((0.8, 0.6), 0.9), quadrant((0.0, 0.0), None)]

    page = oedema_page(quadrants, oedema_numbers(quadrants))

    assert "| 1 | right upper ilium oedema | 0.8, 0.6 | .90 | present |" in page
    assert "| 1 | right upper ilium oedema | 0.0, 0.0 | – | undetermined |" in page
