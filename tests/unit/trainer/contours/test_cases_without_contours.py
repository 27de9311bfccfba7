"""Own cases may have contours on one sequence only, or on none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contour_unet import ContourArchitecture, ContourUNet
from models.delineate import walk_rules
from tests.support.untrained_networks import SMALL_CONTOUR, experiment
from trainer.contours.contour_run import trained_contour
from trainer.contours.contour_training import best_presence_threshold
from trainer.distributed import SINGLE_PROCESS
from trainer.experiment import ExperimentInvalid
from trainer.prepared_cases import stored, write_case

RULES = walk_rules({"presence_threshold": 0.5, "walk": "best"})
UNDRAWN = stored(
    0, [], stir_from=0, style="own data", rois={}, severity=[0] * 28, lesions_readable=True
)
T1_ALONE = replace(
    UNDRAWN,
    seed=1,
    images=np.zeros((3, 224, 224), np.uint8),
    contours=np.full((3, 2, 16, 2), np.nan, np.float32),
    pixel_mm=np.ones(3, np.float32),
    native_mm=np.ones(3, np.float32),
    place_mm=np.full(3, np.nan),
    stir_from=3,
)


def test_the_presence_threshold_is_chosen_on_the_sequences_that_were_drawn(tmp_path):
    for case in (UNDRAWN, T1_ALONE):
        write_case(case, tmp_path)
    torch.manual_seed(0)
    network = ContourUNet(ContourArchitecture(width=2, levels=3, fold=2))

    assert 0 < best_presence_threshold(network, tmp_path, range(2), RULES) < 1


def test_contours_are_not_trained_without_any(tmp_path):
    (tmp_path / "cases").mkdir()
    write_case(UNDRAWN, tmp_path / "cases")

    with pytest.raises(ExperimentInvalid, match="have no contours"):
        trained_contour(experiment(SMALL_CONTOUR, tmp_path), tmp_path, SINGLE_PROCESS)
