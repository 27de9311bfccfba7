import numpy as np
import pytest

from models.acceptance import MIN_SLICES, shows_joints
from models.delineation import Contour, Delineation
from models.findings import Side

LINE = np.array([[10.0, 20.0], [40.0, 24.0]])


def seen_on(right, left):
    return Delineation(
        tuple(
            Contour(number, side, LINE, 0.9)
            for side, slices in ((Side.RIGHT, right), (Side.LEFT, left))
            for number in slices
        )
    )


NOTHING = seen_on((), ())


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other_side", [(), (5,), range(3, 9)])
def test_a_study_is_accepted_when_one_sequence_shows_a_joint_often_enough(order, other_side):
    enough = seen_on(range(4, 4 + MIN_SLICES), other_side)

    assert shows_joints([enough, NOTHING][::order])


@pytest.mark.parametrize(
    "seen",
    [
        NOTHING,
        seen_on((4,), ()),
        seen_on((3, 9), (3, 9)),
    ],
)
def test_chance_contours_are_no_study_of_the_joints(seen):
    assert not shows_joints([seen, NOTHING])
