from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contour_tracing import WalkRules, evenly_spaced
from models.findings import Side
from trainer.contours.contour_training import JointsShown
from trainer.contours.landmark_baseline import (
    LANDMARKS,
    contours_from_landmarks,
    landmark_loss,
    landmarks,
)
from trainer.metrics.contour_error import contour_error

SIZE = 64
RULES = replace(WalkRules(), presence_threshold=0.3)
LINE = evenly_spaced(np.array([[12.0, 20.0], [30.0, 26.0], [50.0, 24.0]]), 16)


def contours_of_right():
    contours = torch.full((1, 2, 16, 2), float("nan"))
    contours[0, 0] = torch.from_numpy(LINE)
    return contours


def true_maps():
    points = landmarks(contours_of_right()[:, 0])
    return JointsShown.of(contours_of_right(), SIZE).heat_of(points, SIZE).flatten(1, 2)


def test_the_truth_is_resampled_to_21_points_with_the_same_ends():
    points = landmarks(torch.from_numpy(LINE)[None])[0].numpy()

    assert points.shape == (LANDMARKS, 2)
    np.testing.assert_allclose(points[[0, -1]], LINE[[0, -1]])
    np.testing.assert_allclose(points, evenly_spaced(LINE, LANDMARKS), atol=0.3)


def test_a_contour_goes_through_the_peaks_in_order():
    (contour,) = contours_from_landmarks(true_maps().numpy(), RULES)

    assert (contour.slice_index, contour.side) == (0, Side.RIGHT)
    assert contour.points.shape == (LANDMARKS, 2)
    assert contour_error(LINE, contour.points).symmetric_rms < 0.3


def test_without_heat_there_is_no_contour():
    assert contours_from_landmarks(true_maps().numpy() * 0, RULES) == ()


def test_the_loss_is_lowest_where_every_point_has_its_heat():
    there = landmark_loss(true_maps(), contours_of_right())
    swapped = landmark_loss(
        true_maps().unflatten(1, (2, -1)).flip(2).flatten(1, 2), contours_of_right()
    )

    assert there < 1e-6 < swapped


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_a_joint_that_is_not_there_must_stay_cold(scale):
    contours = torch.full((1, 2, 16, 2), float("nan"))

    loss = landmark_loss(scale * true_maps(), contours)

    assert (loss > 0) == (scale > 0)
