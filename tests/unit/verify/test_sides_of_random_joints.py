"""Over random joints no right study is stopped, and every swap of sides is found."""

import pytest

from tests.oracle.sides_of_random_joints import outcome


@pytest.mark.parametrize("first", range(0, 500, 50))
def test_no_right_study_is_stopped_and_no_swap_is_missed(first):
    outcomes = {number: outcome(number) for number in range(first, first + 50)}

    assert {number for number, one in outcomes.items() if one != (True, True)} == set()
