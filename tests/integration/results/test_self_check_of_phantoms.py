"""The self-check passes correct results and detects every swap, on phantoms of all styles."""

import pytest

from tests.oracle.self_check_of_phantoms import STYLES, outcomes


@pytest.mark.parametrize("number", range(3), ids=STYLES)
def test_a_right_study_passes_and_its_swapped_sides_do_not(number):
    found = [outcome for _, outcome in outcomes(number)]

    assert found[0] == "passed"
    assert "swap missed" not in found
