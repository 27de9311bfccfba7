"""The yardstick tells different images apart, and alike ones not, on patients it never saw."""

import numpy as np
import torch

from models.delineation import Contour, Delineation
from models.findings import Side
from models.joint_unet import SQUARE_PX
from models.volume import Volume
from trainer.evaluation.evaluate_realism import realism_auc, squares


def patients(count, seed, grain):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, 1, SQUARE_PX, SQUARE_PX, generator=generator)
    blurred = torch.nn.functional.avg_pool2d(noise.flatten(0, 1), grain, 1, grain // 2)
    return list(blurred[:, 0, :SQUARE_PX, :SQUARE_PX].unflatten(0, (count, 3)))


def test_coarser_images_are_distinguished():
    assert realism_auc(patients(8, 0, 5), patients(8, 1, 1)) > 0.95


def test_images_of_one_kind_are_not_distinguished():
    assert 0.15 < realism_auc(patients(8, 0, 1), patients(8, 1, 1)) < 0.85


def test_squares_show_slices_from_the_middle_of_both_joints():
    voxels = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 200, 200)).astype(np.float32)
    line = np.stack([np.linspace(60, 140, 9), np.full(9, 100.0)], axis=1)
    contours = [Contour(n, side, line, 0.9) for n in range(2, 10) for side in Side]

    shown = squares(Volume(voxels, np.eye(4)), Delineation(tuple(contours)))

    assert shown.shape == (8, SQUARE_PX, SQUARE_PX)
    assert set(shown.mean(dim=(1, 2)).round().int().tolist()) == {4, 5, 6, 7}
    assert len(squares(Volume(voxels, np.eye(4)), Delineation(()))) == 0
