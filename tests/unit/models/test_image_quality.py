from dataclasses import replace

import numpy as np
import pytest
import torch

from models.findings import Sequence, Side
from models.image_quality import noise_share, reference_from, reference_of
from models.quality_limits import ImageQuality, LowConfidence

GOOD = ImageQuality(Sequence.T1, Side.LEFT, 0.7, 4.4, 10, 0.08, 0.9, 0.6)


def test_good_images_give_no_reason_for_low_confidence():
    assert GOOD.low_confidence() == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pixel_mm": 1.6}, LowConfidence.COARSE_PIXELS),
        ({"slice_mm": 8.0}, LowConfidence.THICK_SLICES),
        ({"slices": 2}, LowConfidence.FEW_SLICES),
        ({"noise": 0.4}, LowConfidence.NOISY),
        ({"certainty": 0.2}, LowConfidence.UNSURE_CONTOURS),
        ({"strangeness": 1.3}, LowConfidence.UNLIKE_TRAINING),
    ],
)
def test_each_limit_that_is_exceeded_is_named(change, reason):
    assert replace(GOOD, **change).low_confidence() == (reason,)


def test_a_joint_that_is_not_seen_gives_no_reason():
    assert replace(GOOD, slices=0, certainty=0.0, noise=0.0).low_confidence() == ()


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_noise_is_measured_against_the_bone_whatever_lies_around_it(share):
    rng = torch.Generator().manual_seed(1)
    squares = torch.full((6, 64, 64), 3.0)
    squares[:, :, 32:] = 0.8
    squares += 0.8 * share * torch.randn(squares.shape, generator=rng)
    zones = torch.zeros(squares.shape, dtype=torch.uint8)
    zones[:, 8:56, 33:60] = 2

    assert noise_share(squares, zones) == pytest.approx(share, rel=0.1)


def test_without_zones_there_is_no_noise_to_measure():
    assert noise_share(torch.rand(2, 8, 8), torch.zeros(2, 8, 8)) == 0


def test_one_in_a_hundred_own_joints_is_unusual_and_foreign_ones_are():
    descriptions = torch.randn(400, 32, generator=torch.Generator().manual_seed(2)) * 2 + 5
    reference = reference_of(descriptions)

    strange = np.mean([reference.strangeness(one) > 1 for one in descriptions])
    assert 0 < strange <= 0.012
    assert reference.strangeness(descriptions[0] + 9) > 1.5


def test_a_reference_is_read_back_from_a_card():
    reference = reference_of(torch.randn(50, 4, generator=torch.Generator().manual_seed(3)))
    card = {"reference": {"centre": list(reference.centre), "spread": list(reference.spread)}}
    card["reference"]["limit"] = reference.limit

    assert reference_from(card) == reference
    assert reference_from({}) is None
