import numpy as np
import pytest

from models.findings import POSITIONS, Head, Lesion, Position, Region, Side
from trainer.phantom.case import PhantomOptions, make_case
from trainer.phantom.detectability import JointAppearance, auc, expert_score

ILL = [
    Position(Side.LEFT, Head(Lesion.OEDEMA, Region.LOWER_ILIUM)),
    Position(Side.LEFT, Head(Lesion.FATTY_LESION, Region.UPPER_SACRUM)),
    Position(Side.LEFT, Head(Lesion.EROSION, Region.UPPER_ILIUM)),
    Position(Side.RIGHT, Head(Lesion.SCLEROSIS, Region.JOINT)),
]


@pytest.fixture(scope="module")
def cases():
    """The same patient, well and with one severe lesion of each kind."""

    def drawn(ill):
        grades = tuple(3 * (position in ill) for position in POSITIONS)
        return make_case(7, PhantomOptions(slices=14, matrix=256, severity=grades))

    return drawn([]), drawn(ILL)


@pytest.mark.parametrize("position", ILL, ids=str)
def test_the_rule_is_surer_of_a_lesion_that_is_there(cases, position):
    well, ill = (expert_score(JointAppearance(case, position.side), position) for case in cases)

    assert ill > well


def test_auc_is_one_when_separable_and_one_half_by_chance():
    truth = np.array([False, False, True, True])

    assert auc(np.array([1.0, 2, 3, 4]), truth) == 1
    assert auc(np.ones(4), truth) == 0.5
    assert auc(np.array([4.0, 3, 2, 1]), truth) == 0
    assert np.isnan(auc(np.ones(4), np.ones(4, bool)))
