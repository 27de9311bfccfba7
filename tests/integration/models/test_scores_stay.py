"""Scores do not depend on how images are encoded or ordered, nor on slight noise."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from scipy.ndimage import shift

from models.analyser import Analyser
from models.volume import Volume
from sij_node.dicom.volumes import volume_from
from tests.support.analysed_once import analysed_once
from tests.support.phantom_studies import STIR, T1, written
from trainer.phantom.case import PhantomOptions, make_case

NOISE_MOVES = 0.03, 0.4
"""Of a probability: mean over three patients and 28 places, and the place that moves most.

A slice that joins or leaves a joint moves single scores; with contour 0.7.0 none moved by .15. The
mean was .022 with lesion 0.6.0, which takes the strongest cell, and below .02 before.
"""

LYING_ELSEWHERE_MOVES = 0.05, 0.6
"""Likewise; a lesion on the border of two quadrants may be counted in the other one."""

SEEDS = 20000, 20003, 20005


@pytest.fixture(scope="module")
def analyser():
    """Images that a way of sending does not change at all are analysed once."""
    with analysed_once():
        yield Analyser.load(Path("models/weights"), "cpu")


@pytest.fixture(scope="module")
def cases():
    options = PhantomOptions(slices=15, matrix=256, disease="advanced")
    return [make_case(seed, options) for seed in SEEDS]


@pytest.fixture(scope="module")
def case(cases):
    return cases[0]


@pytest.fixture(scope="module")
def scores_of_all(analyser, cases):
    return [probabilities(analyser, case.t1, case.stir) for case in cases]


@pytest.fixture(scope="module")
def scores(scores_of_all):
    return scores_of_all[0]


def probabilities(analyser, t1, stir):
    return np.array([one.probability for one in analyser.analyse(t1, stir).findings], float)


SENT = {
    "another maker": {"vendor": "philips"},
    "Enhanced MR": {"enhanced": True},
    "implicit VR": {"transfer_syntax": ImplicitVRLittleEndian},
    "compressed": {"transfer_syntax": RLELossless},
    "Enhanced MR, compressed": {"enhanced": True, "transfer_syntax": RLELossless},
}


@pytest.mark.parametrize("how", SENT.values(), ids=SENT)
def test_no_way_of_sending_changes_a_score(analyser, case, scores, tmp_path, how):
    study = written(case, tmp_path, **how)
    rng = np.random.default_rng(1)
    volumes = []
    for number in (T1, STIR):
        files = study.files_of(number)
        shuffled = [files[at] for at in rng.permutation(len(files))]
        volumes.append(volume_from([dcmread(file) for file in shuffled]).volume)

    again = probabilities(analyser, *volumes)

    np.testing.assert_allclose(again, scores, atol=2e-3)


def changed(volume, change):
    return Volume(change(volume.voxels).astype(np.float32), volume.affine)


def moved(analyser, cases, scores_of_all, change):
    """How far each score moves, ``(patients, 28)``."""
    again = [
        probabilities(analyser, changed(case.t1, change), changed(case.stir, change))
        for case in cases
    ]
    return np.abs(np.array(again) - scores_of_all)


def test_a_little_noise_changes_scores_little(analyser, cases, scores_of_all):
    rng = np.random.default_rng(2)

    def noisy(voxels):
        return np.abs(voxels + rng.normal(0, 0.02 * np.quantile(voxels, 0.95), voxels.shape))

    by = moved(analyser, cases, scores_of_all, noisy)

    assert by.mean() < NOISE_MOVES[0]
    assert by.max() < NOISE_MOVES[1]


@pytest.mark.parametrize("pixels", [(3, -2), (0.4, 0.6)], ids=["whole pixels", "parts of a pixel"])
def test_a_slightly_shifted_patient_has_nearly_the_same_scores(
    analyser, cases, scores_of_all, pixels
):
    def shifted(voxels):
        return shift(voxels, (0, *pixels), order=1, mode="nearest")

    by = moved(analyser, cases, scores_of_all, shifted)

    assert by.mean() < LYING_ELSEWHERE_MOVES[0]
    assert by.max() < LYING_ELSEWHERE_MOVES[1]


def test_a_brighter_scan_has_the_same_scores(analyser, case, scores):
    def brighter(voxels):
        return 3.5 * voxels

    again = probabilities(analyser, changed(case.t1, brighter), changed(case.stir, brighter))

    np.testing.assert_allclose(again, scores, atol=2e-3)
