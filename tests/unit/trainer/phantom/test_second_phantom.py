import numpy as np
import pytest

from models.findings import Side
from trainer.phantom.second_phantom import make_second_case


@pytest.fixture(scope="module")
def case():
    return make_second_case(3)


def test_the_same_seed_gives_the_same_patient(case):
    again = make_second_case(3)

    np.testing.assert_array_equal(case.t1.voxels, again.t1.voxels)
    assert case.severity == again.severity


def test_every_contour_lies_on_its_side_of_the_patient_and_runs_downwards(case):
    middle = np.mean([_in_patient(case, c)[:, 0].mean() for c in case.t1_truth.contours])

    for contour in case.t1_truth.contours:
        places = _in_patient(case, contour)
        assert (places[:, 0].mean() > middle) == (contour.side is Side.LEFT)
        assert places[0, 2] > places[-1, 2]


def test_both_series_see_the_joints_at_the_same_place(case):
    for side in Side:
        t1, stir = (
            np.concatenate([v.to_patient(_indices(c)) for c in truth.of(side)])
            for v, truth in ((case.t1, case.t1_truth), (case.stir, case.stir_truth))
        )
        np.testing.assert_allclose(np.median(t1, axis=0), np.median(stir, axis=0), atol=4)


def _indices(contour):
    return np.insert(contour.points, 0, contour.slice_index, axis=1)


def _in_patient(case, contour):
    return case.t1.to_patient(_indices(contour))
